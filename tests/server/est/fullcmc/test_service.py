"""fullcmc over real connections: requests, batches, questions, and whatever is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from pyasn1.codec.der.decoder import decode
from pyasn1.type import char, univ

from server.est.linking import OTP_CHALLENGE
from server.store.certificates import list_certificates
from server.store.requests import list_requests
from tests.server.est import cmc_client as client
from tests.server.est.fullcmc.sending import EST_GUARDED, Sender, by, by_itself, new_key
from tests.server.est.lab import CHALLENGE_PASSWORD, Holder, csr

if TYPE_CHECKING:
    import pytest

    from tests.server.est.cmc_client import Told


def told(*statuses: Told) -> list[tuple[str, tuple[int, ...], str | None]]:
    return [(each.status, each.parts, each.fail) for each in statuses]


async def test_a_request_of_pkcs10_and_one_of_crmf_get_a_certificate_each(sender: Sender) -> None:
    first, second = new_key(), new_key()
    requests = [
        client.pkcs10(1, csr("pump-1", dns=("pump-1.example",), key=first)),
        client.crmf(2, second, "pump-2", ["pump-2.example"]),
    ]
    data_return = client.control(9, 4, univ.OctetString(b"mine"))
    message = by_itself(requests, first, client.transaction(7, 99), client.nonce(8, b"nonce"), data_return)
    basic = await sender.one_time_password(uses_left=2)
    response = await sender.ask(message, basic=basic)
    assert told(*response.statuses) == [("success", (1,), None), ("success", (2,), None)]
    for name, key in (("pump-1", first), ("pump-2", second)):
        issued = response.issued_for(key)
        assert issued.subject.rfc4514_string() == f"CN={name}"
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"{name}.example"]
    assert decode(response.controls[5])[0] == 99
    assert len(bytes(decode(response.controls[6])[0])) == 16
    assert bytes(decode(response.controls[7])[0]) == b"nonce"
    assert bytes(decode(response.controls[4])[0]) == b"mine"
    assert {each.transaction for each in await sender.store.read(list_requests)} == {"63"}

    again = await sender.ask(message, basic=basic)  # a lost reply costs nothing
    assert again.issued_for(first) == response.issued_for(first)
    assert len(await sender.store.read(list_certificates)) == 2


async def test_each_request_is_judged_for_itself(sender: Sender) -> None:
    key = new_key()
    broken = bytearray(csr("pump-3"))
    broken[-1] ^= 1
    requests = [
        client.pkcs10(1, csr("pump-1", key=key)),
        client.pkcs10(2, csr("pump-2", dns=("www.google.com",))),
        client.pkcs10(3, bytes(broken)),
        client.crmf(4, new_key(), "pump-4", pop="raVerified"),
        client.crmf(5, new_key(), "pump-5", issuer=x509.Name.from_rfc4514_string("CN=Another CA")),
    ]
    response = await sender.ask(by_itself(requests, key), basic=await sender.one_time_password(uses_left=5))
    assert sorted(told(*response.statuses), key=lambda each: each[1]) == [
        ("success", (1,), None),
        ("failed", (2,), "badRequest"),
        ("failed", (3,), "popFailed"),
        ("failed", (4,), "popFailed"),
        ("failed", (5,), "badRequest"),
    ]
    assert "www.google.com" in next(each.text for each in response.statuses if each.parts == (2,))
    refused = [each for each in await sender.store.read(list_requests) if each.state == "refused"]
    assert len(refused) == 4
    assert {each.requester for each in refused} == {"password:pump"}


async def test_the_event_of_a_full_request_names_every_record_and_every_reason(
    sender: Sender, capsys: pytest.CaptureFixture[str]
) -> None:
    """`certwright request show` takes each of the identifiers."""
    key = new_key()
    requests = [
        client.pkcs10(1, csr("pump-1", key=key)),
        client.pkcs10(2, csr("pump-2", dns=("www.google.com",))),
        client.crmf(3, new_key(), "pump-3", pop="raVerified"),
    ]
    capsys.readouterr()
    await sender.ask(by_itself(requests, key), basic=await sender.one_time_password(uses_left=3))
    (event,) = [line for line in "".join(capsys.readouterr()).splitlines() if "operation=fullcmc" in line]
    assert {each.id for each in await sender.store.read(list_requests)} == set(field(event, "enrollment").split(","))
    assert sorted(field(event, "outcome").split(",")) == ["failed", "failed", "success"]
    assert set(field(event, "reason").split(",")) == {"policy", "bad-proof"}


def field(event: str, name: str) -> str:
    return event.partition(f" {name}=")[2].partition(" ")[0]


async def test_what_can_be_used_once_is_used_by_the_first_request(sender: Sender) -> None:
    key = new_key()
    requests = [client.pkcs10(n, csr(f"pump-{n}", key=key if n == 1 else None)) for n in (1, 2)]
    response = await sender.ask(by_itself(requests, key), basic=await sender.one_time_password())
    assert told(*response.statuses) == [("success", (1,), None), ("failed", (2,), "badIdentity")]


async def test_a_one_time_password_may_stand_in_the_request_itself(sender: Sender) -> None:
    await sender.one_time_password("inside", "pump")
    key = new_key()
    request = client.crmf(1, key, "pump", controls=[(OTP_CHALLENGE, char.UTF8String("inside"))])
    assert (await sender.ask(by_itself([request], key))).issued_for(key).subject
    stored = (await sender.store.read(list_requests))[0]
    assert b"inside" not in (stored.csr or b"")


async def test_who_says_nothing_of_itself_is_asked_for_a_password_and_leaves_no_record(sender: Sender) -> None:
    key = new_key()
    answer = await sender.post(by_itself([client.pkcs10(1, csr("pump", key=key))], key))
    assert (answer.status, answer.fields["WWW-Authenticate"]) == (401, 'Basic realm="est/default"')
    assert told(*client.opened(answer).statuses) == [("failed", (1,), "badIdentity")]
    assert (await sender.post(b"junk")).status == 400
    assert await sender.store.read(list_requests) == ()


async def test_a_wrong_password_is_refused_and_recorded(sender: Sender) -> None:
    key = new_key()
    message = by_itself([client.pkcs10(1, csr("pump", key=key))], key)
    response = await sender.ask(message, 401, basic=("pump", "wrong"))
    assert told(*response.statuses) == [("failed", (0,), "badIdentity")]
    (refused,) = await sender.store.read(list_requests)
    assert refused.requester == "password:pump"
    question = client.signed(client.pki_data((), [client.query(1, refused.id.encode())]), None)
    assert (await sender.ask(question, 404)).statuses[0].fail == "badRequest"  # nothing waits under that identifier


NO_FULL_REQUESTS: dict[str, tuple[bytes, str | None]] = {
    "no DER": (b"junk", "badRequest"),
    "a simple request": (csr("pump"), "badRequest"),
    "nothing asked": (client.signed(client.pki_data(), new_key()), "badRequest"),
    "unknown signer": (client.signed(client.pki_data((), [client.query(1, b"x")]), new_key()), "badMessageCheck"),
    "SHA-1": (client.signed(client.pki_data((), [client.query(1, b"x")]), new_key(), digest="sha1"), "badAlg"),
    "unknown control": (client.signed(client.pki_data((), [client.control(1, 15, univ.Null(""))]), None), None),
}


async def test_what_is_no_full_request_gets_a_signed_error_of_cmc(sender: Sender) -> None:
    for body, fail in NO_FULL_REQUESTS.values():
        response = await sender.ask(body, 400, basic=("pump", "x"))
        (status,) = response.statuses
        assert (status.status, status.fail) == ("failed" if fail else "noSupport", fail)
        assert status.text


async def test_an_error_about_the_whole_message_repeats_what_tells_the_client_that_it_is_the_answer(
    sender: Sender,
) -> None:
    """RFC 5272 section 6.6: a response MUST have the transactionId and the nonce that came."""
    marks = [client.transaction(7, 99), client.nonce(8, b"nonce"), client.control(9, 4, univ.OctetString(b"mine"))]
    query, unknown = client.query(1, b"x"), client.control(2, 15, univ.Null(""))
    twice, broken = client.query(7, b"x"), client.control(2, 2, univ.Null(""))
    for wrong in ([query, unknown], [query, twice], [query, broken], [query, client.nonce(3, b"n" * 2000)], []):
        message = client.signed(client.pki_data((), [*marks, *wrong]), None)
        response = await sender.ask(message, 400, basic=("pump", "x"))
        assert response.statuses[0].parts in {(0,), (2,), (3,)}
        assert decode(response.controls[5])[0] == 99
        assert bytes(decode(response.controls[7])[0]) == b"nonce"
        assert bytes(decode(response.controls[4])[0]) == b"mine"
    (first, *_) = await sender.store.read(list_requests)
    assert first.transaction == "63"


async def test_other_media_types_methods_and_sizes_are_refused_as_http_says(sender: Sender) -> None:
    answer = await sender.running.post("fullcmc", b"junk", content_type="application/json")
    assert (answer.status, answer.fields["Accept"]) == (415, "application/pkcs7-mime")
    assert client.opened(answer).statuses[0].fail == "badRequest"
    assert (await sender.post(b"0" * 70_000)).status == 413
    assert (await sender.post(b"junk", label="closed")).status == 404


async def test_a_person_approves_and_the_client_asks_for_the_outcome(sender: Sender) -> None:
    key, basic = new_key(), await sender.one_time_password()
    await sender.one_time_password(endpoint=EST_GUARDED)
    message = by_itself([client.pkcs10(1, csr("pump", key=key))], key, client.transaction(2, 5))
    answer = await sender.post(message, label="guarded", basic=basic)
    (status,) = client.opened(answer).statuses
    assert (answer.status, status.status, status.parts) == (202, "pending", (1,))
    assert int(answer.fields["Retry-After"]) > 0
    assert status.token is not None

    question = client.pki_data((), [client.query(3, status.token)])
    by_key = client.signed(question, key)
    assert client.opened(await sender.post(by_key, label="guarded")).statuses[0].status == "pending"
    strangers = [
        client.signed(question, new_key()),
        client.signed(question, None),
        client.signed(client.pki_data((), [client.query(3, b"another")]), None),
    ]
    for stranger in strangers:
        assert (await sender.post(stranger, label="guarded")).status in {400, 401, 404}
    assert (await sender.post(by_key, label="default")).status == 400  # the token of another endpoint: nobody's key
    somebody = await sender.one_time_password("others", "valve", endpoint=EST_GUARDED)
    for who, label in ((somebody, "guarded"), (basic, "default")):  # who is known, and has not asked for it there
        told_off = await sender.ask(client.signed(question, None), 404, label=label, basic=who)
        assert told(*told_off.statuses) == [("failed", (3,), "badRequest")]

    (waiting,) = [each for each in await sender.store.read(list_requests) if each.state == "pending"]
    assert waiting.id.encode() == status.token
    await sender.running.application.services.enrollment.approve(waiting.id, "alice")
    response = await sender.ask(by_key, label="guarded")
    assert told(*response.statuses) == [("success", (3,), None)]
    found = response.issued_for(key)
    assert (await sender.ask(client.signed(question, None), label="guarded", basic=basic)).issued_for(key) == found
    assert (await sender.ask(message, label="guarded", basic=basic)).issued_for(key) == found


async def test_what_a_person_refuses_has_failed(sender: Sender) -> None:
    key, basic = new_key(), await sender.one_time_password(endpoint=EST_GUARDED)
    message = by_itself([client.pkcs10(1, csr("pump", key=key))], key)
    await sender.ask(message, 202, label="guarded", basic=basic)
    (waiting,) = await sender.store.read(list_requests)
    await sender.running.application.services.enrollment.reject(waiting.id, "alice", "stolen")
    question = client.signed(client.pki_data((), [client.query(3, waiting.id.encode())]), key)
    response = await sender.ask(question, 403, label="guarded")
    assert told(*response.statuses) == [("failed", (3,), "badRequest")]


async def test_a_registration_authority_asks_for_several_others_and_each_is_judged(sender: Sender) -> None:
    ra, keys = new_key(), [new_key() for _ in range(3)]
    authority = await sender.certificate("gateway-1", ra, label="gateways", profile="gateway")
    requests = [
        client.pkcs10(1, csr("valve-1", key=keys[0])),
        client.crmf(2, keys[1], "valve-2"),
        client.pkcs10(3, csr("pump-3", key=keys[2])),
    ]
    response = await sender.ask(by(authority, ra, requests), label="gateways")
    assert told(*response.statuses) == [
        ("success", (1,), None),
        ("success", (2,), None),
        ("failed", (3,), "badRequest"),
    ]
    stored = {each.subject: each for each in await sender.store.read(list_certificates)}
    assert {stored[f"CN=valve-{n}"].requester for n in (1, 2)} == {f"certificate:{authority.serial_number:x}"}
    assert stored["CN=valve-1"].profile == "behind-gateway"
    refused = await sender.ask(by(authority, ra, requests[:1]), 401)  # issued for another endpoint
    assert told(*refused.statuses) == [("failed", (0,), "badIdentity")]


async def test_who_is_no_registration_authority_gets_nothing_for_others(sender: Sender) -> None:
    key = new_key()
    plain = await sender.certificate("gateway-1", key, label="gateways", profile="iot-device")
    response = await sender.ask(by(plain, key, [client.pkcs10(1, csr("valve-1"))]), 403, label="gateways")
    assert told(*response.statuses) == [("failed", (1,), "badRequest")]


async def test_a_challenge_password_that_is_not_of_this_connection_is_a_failed_proof(sender: Sender) -> None:
    key = new_key()
    bound = csr("pump", key=key, attributes={CHALLENGE_PASSWORD: "another connection"})
    response = await sender.ask(by_itself([client.pkcs10(1, bound)], key), 400, basic=await sender.one_time_password())
    assert told(*response.statuses) == [("failed", (1,), "popFailed")]


async def test_where_the_record_can_not_be_read_the_client_tries_later(sender: Sender) -> None:
    message = client.signed(client.pki_data((), [client.query(1, b"x")]), None)
    await sender.store.close()
    answer = await sender.post(message)
    assert (answer.status, answer.fields["Retry-After"]) == (503, "5")
    assert client.opened(answer).statuses[0].fail == "tryLater"


async def test_a_certificate_of_the_connection_renews_through_a_message_of_the_new_key(sender: Sender) -> None:
    old, key = new_key(), new_key()
    first = await sender.certificate("pump-1", old)
    message = by_itself([client.pkcs10(1, csr("pump-1", key=key))], key)
    response = await sender.ask(message, holder=Holder(old, (first,)))
    stored = {each.serial: each for each in await sender.store.read(list_certificates)}
    assert stored[response.issued_for(key).serial_number].renews == first.serial_number
