"""Who sends a message: signatures, shared secrets, and what links a request to who sends it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from pyasn1.type import univ

from policies.request import EndpointName
from server.clock import system_clock
from server.est.linking import OTP_CHALLENGE
from server.est.problems import CERTIFICATE_FIRST
from server.store.certificates import list_certificates
from tests.fakes.credential import kept
from tests.fakes.manufacturer import make
from tests.server.est import cmc_client as client
from tests.server.est.fullcmc.sending import Sender, by, by_itself, new_key
from tests.server.est.lab import Holder, csr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

OTP = x509.ObjectIdentifier(OTP_CHALLENGE)
RANDOM = b"r" * 64


def proven(
    requests: list[object],
    key: ec.EllipticCurvePrivateKey | None,
    secret: str,
    *,
    username: str | None = "pump",
    over: list[object] | None = None,
) -> bytes:
    """Return a message with identification and identityProofV2."""
    sequence = client.request_sequence(requests if over is None else over)
    witness = client.witness(secret, sequence, identification=username or "")
    controls = [client.control(91, 34, witness), client.control(92, 22, univ.OctetString(RANDOM))]
    if username is not None:
        controls.append(client.identification(93, username))
    return client.signed(client.pki_data(requests, controls), key)


async def test_who_knows_the_shared_secret_gets_one_certificate_for_it(sender: Sender) -> None:
    secret, key = await sender.shared_secret(device="pump"), new_key()
    message = proven([client.pkcs10(1, csr("pump", key=key))], key, secret)
    found = (await sender.ask(message)).issued_for(key)
    assert (await kept(sender.store, "shared-pump")).uses_left == 0
    (stored,) = await sender.store.read(list_certificates)
    assert stored.requester == "password:pump"

    assert (await sender.ask(message)).issued_for(key) == found  # a lost reply costs nothing
    other = new_key()
    response = await sender.ask(proven([client.pkcs10(1, csr("pump", key=other))], other, secret), 401)
    assert response.statuses[0].fail == "badIdentity"


async def test_it_is_enough_without_a_signature_for_each_request_has_its_own(sender: Sender) -> None:
    secret, key = await sender.shared_secret(), new_key()
    message = proven([client.crmf(1, key, "pump")], None, secret)
    assert (await sender.ask(message)).issued_for(key).subject


async def test_it_is_bound_to_its_device(sender: Sender) -> None:
    secret, key = await sender.shared_secret(device="pump"), new_key()
    response = await sender.ask(proven([client.pkcs10(1, csr("valve", key=key))], key, secret), 403)
    assert "for another device" in response.statuses[0].text
    assert (await kept(sender.store, "shared-pump")).uses_left == 1


async def test_a_proof_that_does_not_hold_is_a_bad_identity(sender: Sender) -> None:
    past, key = system_clock() - timedelta(days=2), new_key()
    await sender.shared_secret("right", "pump")
    await sender.shared_secret("right", "expired", expires_at=past)
    await sender.shared_secret("right", "withdrawn", revoked_at=past)
    await sender.shared_secret("right", "moved", id="another")  # sealed under another identifier: it can't be opened
    requests, others = ([client.pkcs10(1, csr(name, key=key))] for name in ("pump", "valve"))
    messages = [
        proven(requests, key, "wrong"),
        proven(requests, key, "right", over=others),
        proven(requests, key, "right", username=None),
        *(proven(requests, key, "right", username=name) for name in ("nobody", "expired", "withdrawn", "moved")),
    ]
    for message in messages:
        response = await sender.ask(message, 401)
        assert [(each.parts, each.fail) for each in response.statuses] == [((0,), "badIdentity")]
    assert await sender.store.read(list_certificates) == ()
    assert (await sender.ask(proven(requests, key, "right"))).issued_for(key).subject


async def test_an_endpoint_without_a_sealing_key_takes_no_shared_secret(sender: Sender) -> None:
    secret = await sender.shared_secret(endpoint=EndpointName.parse("est/gateways"))
    key = new_key()
    message = proven([client.pkcs10(1, csr("pump", key=key))], key, secret)
    assert (await sender.ask(message, 401, label="gateways")).statuses[0].fail == "badIdentity"


async def test_two_secrets_at_once_are_refused(sender: Sender) -> None:
    secret, key, basic = await sender.shared_secret(), new_key(), await sender.one_time_password()
    message = proven([client.pkcs10(1, csr("pump", key=key))], key, secret)
    assert "Two one-time" in (await sender.ask(message, 401, basic=basic)).statuses[0].text


async def test_where_both_are_wanted_no_secret_is_told_to_be_right_without_a_certificate(sender: Sender) -> None:
    """Whichever way it comes: beside the message, as its proof, or in the request."""
    strict, key = EndpointName.parse("est/strict"), new_key()
    await sender.one_time_password("right", "pump", endpoint=strict, uses_left=9)
    await sender.shared_secret("right", "pump", endpoint=strict, uses_left=9)
    plain = client.pkcs10(1, csr("pump", key=key))
    for secret in ("right", "wrong"):
        inside = client.pkcs10(1, csr("pump", key=key, attributes={OTP: secret}))
        basic = ("pump", secret)
        for message, beside in (
            (by_itself([plain], key), basic),
            (proven([plain], key, secret), None),
            (proven([plain], key, secret, username=None), None),
            (by_itself([inside], key), None),
        ):
            (status,) = (await sender.ask(message, 403, label="strict", basic=beside)).statuses
            assert (status.fail, status.text) == ("badIdentity", CERTIFICATE_FIRST.message)
    assert (await kept(sender.store, "shared-pump")).uses_left == 9


async def test_a_pop_link_witness_shows_that_the_request_is_of_who_sends_it(sender: Sender) -> None:
    label, endpoint = "linked", EndpointName.parse("est/linked")
    secret, key = await sender.shared_secret(endpoint=endpoint, uses_left=2), new_key()
    plain, linked, stolen = (
        client.crmf(1, key, "pump", controls=[] if witness is None else [(f"{client.CMC}33", witness)])
        for witness in (None, client.witness(secret, RANDOM), client.witness("another's", RANDOM))
    )
    for request in (plain, stolen):
        response = await sender.ask(proven([request], key, secret), 400, label=label)
        assert response.statuses[0].fail == "popFailed"
    assert (await sender.ask(proven([linked], key, secret), label=label)).issued_for(key).subject


async def test_a_signed_message_renews_the_certificate_that_it_is_signed_with_and_no_other(sender: Sender) -> None:
    old, key = new_key(), new_key()
    first = await sender.certificate("pump-1", old, dns=("pump-1.example",))
    request = client.pkcs10(1, csr("pump-1", dns=("pump-1.example",), key=key))
    renewed = (await sender.ask(by(first, old, [request]))).issued_for(key)
    stored = {each.serial: each for each in await sender.store.read(list_certificates)}
    assert stored[renewed.serial_number].renews == first.serial_number
    response = await sender.ask(by(first, old, [client.pkcs10(1, csr("pump-2", key=new_key()))]), 403)
    assert response.statuses[0].fail == "badRequest"


async def test_a_signature_must_be_of_now_or_of_the_connection(sender: Sender) -> None:
    old, key, now = new_key(), new_key(), system_clock()
    first = await sender.certificate("pump-1", old)
    content = client.pki_data([client.pkcs10(1, csr("pump-1", key=key))])
    for time in (None, now - timedelta(hours=25), now + timedelta(hours=1)):
        response = await sender.ask(client.signed(content, old, first, time=time), 400)
        assert [(each.parts, each.fail) for each in response.statuses] == [((0,), "badTime")]
    undated = client.signed(content, old, first)
    assert (await sender.ask(undated, holder=Holder(old, (first,)))).issued_for(key).subject


async def test_the_signers_certificate_counts_in_place_of_that_of_the_connection(sender: Sender) -> None:
    old, key = new_key(), new_key()
    first = await sender.certificate("pump-1", old)
    proxy = new_key()
    between = await sender.certificate("proxy", proxy)
    message = by(first, old, [client.pkcs10(1, csr("pump-1", key=key))])
    renewed = (await sender.ask(message, holder=Holder(proxy, (between,)))).issued_for(key)
    assert renewed.subject == first.subject


async def test_a_certificate_of_another_ca_proves_nothing(sender: Sender) -> None:
    stranger = make("pump", make("Another CA", ca=True))
    message = by(stranger.certificate, stranger.key, [client.pkcs10(1, csr("pump"))])
    response = await sender.ask(message, 401)
    assert (response.statuses[0].fail, response.statuses[0].parts) == ("badIdentity", (0,))


async def test_a_certificate_that_is_revoked_proves_nothing_any_more(sender: Sender) -> None:
    old = new_key()
    first = await sender.certificate("pump", old)
    enrollment = sender.running.application.services.enrollment
    await enrollment.revoke(first.serial_number, x509.ReasonFlags.key_compromise, "admin:test")
    response = await sender.ask(by(first, old, [client.pkcs10(1, csr("pump"))]), 401)
    assert "revoked" in response.statuses[0].text


async def test_a_message_with_a_changed_request_is_a_bad_message_check(sender: Sender) -> None:
    old, key = new_key(), new_key()
    first = await sender.certificate("pump", old)
    message = by(first, old, [client.pkcs10(1, csr("pump", key=key))], client.transaction(2, 0x11223344))
    changed = message.replace(bytes.fromhex("11223344"), bytes.fromhex("11223345"))
    response = await sender.ask(changed, 400)
    assert response.statuses[0].fail == "badMessageCheck"
