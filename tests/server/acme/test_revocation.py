"""revokeCert: who may, what for, and what is refused (RFC 8555 section 7.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags

from ca.names import DnsName, Uri
from policies.request import EndpointName
from server.acme.service import AcmeProfile, Proofs
from server.store.certificates import find_by_serial
from server.store.tables import certificates
from tests.fakes.acme import Signer, b64, json_bytes, new_key
from tests.fakes.door import Door, ask
from tests.fakes.earlier import issued_earlier
from tests.fakes.issuer import make_issuer
from tests.fakes.record import issued
from tests.server.acme.lab import ORIGIN, Client, make_csr

if TYPE_CHECKING:
    from cryptography import x509

    from ca.names import GeneralName
    from server.store.certificates import StoredCertificate
    from tests.server.acme.lab import Answer, Lab

URL = f"{ORIGIN}/acme/revoke-cert"


async def revoke(client: Client, certificate: x509.Certificate | bytes, **payload: object) -> Answer:
    der = certificate if isinstance(certificate, bytes) else certificate.public_bytes(Encoding.DER)
    return await client.post(URL, {"certificate": b64(der), **payload})


async def stored(lab: Lab, certificate: x509.Certificate) -> StoredCertificate:
    found = await lab.store.read(lambda c: find_by_serial(c, certificate.serial_number))
    assert found is not None
    return found


async def test_the_account_that_got_it_revokes_a_certificate(lab: Lab) -> None:
    client = await lab.client()
    certificate = await client.issue("mine.localhost")
    done = await revoke(client, certificate)
    assert (done.status, done.body) == (200, b"")
    assert (await stored(lab, certificate)).revoked_at is not None
    again = await revoke(client, certificate)
    assert (again.status, again.error) == (400, "alreadyRevoked")


async def test_the_key_of_the_certificate_revokes_it_without_any_account(lab: Lab) -> None:
    key = new_key()
    certificate = await (await lab.client()).issue("key.localhost", key=key)
    stranger = Client(lab, signer=Signer(key))
    assert (await revoke(stranger, certificate, reason=1)).status == 200
    assert (await stored(lab, certificate)).revocation_reason == "keyCompromise"


async def test_another_key_revokes_nothing(lab: Lab) -> None:
    certificate = await (await lab.client()).issue("other.localhost")
    refused = await revoke(Client(lab), certificate)
    assert (refused.status, refused.error) == (403, "unauthorized")
    assert (await stored(lab, certificate)).revoked_at is None


async def test_an_account_with_all_names_of_a_certificate_revokes_it(lab: Lab) -> None:
    certificate = await (await lab.client()).issue("a.localhost", "b.localhost")
    other = await lab.client()
    assert (await revoke(other, certificate)).error == "unauthorized"
    await other.ready("a.localhost")
    assert (await revoke(other, certificate)).error == "unauthorized"
    await other.ready("b.localhost", "c.localhost")
    assert (await revoke(other, certificate)).status == 200


async def test_no_account_has_all_names_of_a_certificate_with_one_that_is_refused_today(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(ask(), endpoint=EndpointName.parse("acme/default"))
    certificate = await issued_earlier(lab.store, request, monkeypatch)
    refused = await revoke(await lab.client(), certificate)
    assert (refused.status, refused.error) == (403, "unauthorized")


async def test_who_has_the_names_alone_can_not_say_that_the_key_was_compromised(lab: Lab) -> None:
    # It does not know, and the key would be refused to its owner everywhere from then on.
    owner, key = await lab.client(), new_key()
    certificate = await owner.issue("a.localhost", key=key)
    other = await lab.client()
    await other.ready("a.localhost")
    refused = await revoke(other, certificate, reason=1)
    assert (refused.status, refused.error) == (400, "badRevocationReason")
    assert (await stored(lab, certificate)).revoked_at is None
    assert (await revoke(other, certificate, reason=5)).status == 200
    await owner.issue("a.localhost", key=key)


async def test_what_was_shown_for_a_profile_with_other_proofs_gives_no_authority(lab: Lab) -> None:
    client, other = await lab.client(), await lab.client()
    certificate = await client.issue("a.localhost")
    weak = Proofs(lab.endpoint().challenges)
    profiles = {"tls-server": AcmeProfile(""), "weak": AcmeProfile("")}

    async def ready(profile: str) -> None:
        identifiers = [{"type": "dns", "value": "a.localhost"}]
        order = await other.post(other.url("/new-order"), {"identifiers": identifiers, "profile": profile})
        await other.authorize(order)

    endpoint = lab.endpoint(profiles=profiles, by_profile={"weak": weak}, objections_to_names=lambda _: ())
    await lab.serve(endpoint)
    await ready("weak")
    refused = await revoke(other, certificate)
    assert (refused.status, refused.error) == (403, "unauthorized")
    await ready("tls-server")
    assert (await revoke(other, certificate)).status == 200


@pytest.mark.parametrize("names", [(), (DnsName("a.localhost"), Uri("https://a.localhost/"))])
async def test_no_account_has_what_can_not_be_authorized(lab: Lab, names: tuple[GeneralName, ...]) -> None:
    request = replace(ask(), endpoint=EndpointName.parse("acme/default"))
    door = Door(lab.store, amend=lambda plan, _: replace(plan, names=names))
    certificate = issued(await door.submit(request)).certificate
    other = await lab.client()
    await other.ready("a.localhost")
    refused = await revoke(other, certificate)
    assert (refused.status, refused.error) == (403, "unauthorized")


async def test_an_authorization_given_back_gives_no_authority(lab: Lab) -> None:
    certificate = await (await lab.client()).issue("a.localhost")
    other = await lab.client()
    order = await other.ready("a.localhost")
    await other.post(order.body["authorizations"][0], {"status": "deactivated"})
    assert (await revoke(other, certificate)).error == "unauthorized"


async def test_an_authorization_that_expired_gives_no_authority(lab: Lab) -> None:
    certificate = await (await lab.client()).issue("a.localhost")
    other = await lab.client()
    await other.ready("a.localhost")
    lab.now[0] += lab.endpoint().timing.order_lifetime
    assert (await revoke(other, certificate)).error == "unauthorized"


async def test_a_deactivated_account_revokes_nothing_but_the_key_still_does(lab: Lab) -> None:
    key = new_key()
    client = await lab.client()
    certificate = await client.issue("left.localhost", key=key)
    await client.post(client.kid or "", {"status": "deactivated"})
    assert (await revoke(client, certificate)).status == 401
    assert (await revoke(Client(lab, signer=Signer(key)), certificate)).status == 200


@pytest.mark.parametrize(
    ("reason", "status"), [(0, 200), (1, 200), (3, 200), (4, 200), (5, 200), (2, 400), (6, 400), (7, 400), (-1, 400)]
)
async def test_a_reason_is_one_that_a_subscriber_may_give(lab: Lab, reason: int, status: int) -> None:
    client = await lab.client()
    done = await revoke(client, await client.issue("why.localhost"), reason=reason)
    assert done.status == status
    if status == 400:
        assert done.error == "badRevocationReason"
        assert "0, 1, 3, 4, 5" in done.body["detail"]


@pytest.mark.parametrize("reason", ["1", 1.0, True, [1]])
async def test_a_reason_that_is_not_an_integer_is_malformed(lab: Lab, reason: object) -> None:
    client = await lab.client()
    assert (await revoke(client, b"\x30\x00", reason=reason)).error == "malformed"


async def test_only_exactly_the_issued_certificate_is_revoked(lab: Lab) -> None:
    client = await lab.client()
    certificate = await client.issue("exact.localhost")
    der = certificate.public_bytes(Encoding.DER)
    for wrong in (der + b"\0", der[:-1] + bytes([der[-1] ^ 1]), b"", b"\x30\x00"):
        refused = await revoke(client, wrong)
        assert (refused.status, refused.error) == (404, "malformed")
    foreign = make_issuer().chain()[0]
    assert (await revoke(client, foreign)).status == 404
    assert (await client.post(URL, {"certificate": b64(der) + "="})).error == "malformed"
    assert (await client.post(URL, {})).error == "malformed"
    assert (await stored(lab, certificate)).revoked_at is None


async def test_a_certificate_of_another_endpoint_is_not_known_here(lab: Lab) -> None:
    await lab.serve(lab.endpoint(), lab.endpoint("other"))
    there = await lab.client(prefix="/acme/other")
    key = new_key()
    certificate = await there.issue("there.localhost", key=key)
    assert (await revoke(Client(lab, signer=Signer(key)), certificate)).status == 404


async def test_a_certificate_that_was_revoked_meanwhile_is_already_revoked(lab: Lab) -> None:
    client = await lab.client()
    certificate = await client.issue("admin.localhost")
    now = lab.now[0]
    await lab.store.write(lambda c: c.execute(certificates.update().values(revoked_at=now)))
    assert (await revoke(client, certificate)).error == "alreadyRevoked"


async def test_a_certificate_on_hold_is_revoked_for_good_when_its_owner_says_so(lab: Lab) -> None:
    client = await lab.client()
    certificate = await client.issue("held.localhost")
    await lab.enrollment.revoke(certificate.serial_number, ReasonFlags.certificate_hold, "admin:me")
    assert (await revoke(client, certificate, reason=1)).status == 200
    assert (await stored(lab, certificate)).revocation_reason == "keyCompromise"
    assert (await revoke(client, certificate)).error == "alreadyRevoked"


async def test_who_has_the_key_can_say_that_it_is_compromised_though_its_certificate_is_revoked(lab: Lab) -> None:
    key, client, named = new_key(), await lab.client(), await lab.client()
    certificate = await client.issue("leaked.localhost", key=key)
    assert (await revoke(client, certificate, reason=4)).status == 200
    await named.ready("leaked.localhost")
    assert (await revoke(named, certificate, reason=1)).error == "badRevocationReason"
    for reason in (0, 4, 5):
        assert (await revoke(Client(lab, signer=Signer(key)), certificate, reason=reason)).error == "alreadyRevoked"
    assert (await revoke(Client(lab, signer=Signer(key)), certificate, reason=1)).status == 200
    assert (await stored(lab, certificate)).revocation_reason == "keyCompromise"
    assert (await revoke(client, certificate, reason=1)).error == "alreadyRevoked"


async def test_a_key_that_was_compromised_gets_no_certificate_any_more(lab: Lab) -> None:
    client, key, other = await lab.client(), new_key(), new_key()
    assert (await revoke(client, await client.issue("a.localhost", key=key), reason=1)).status == 200
    assert (await revoke(client, await client.issue("a.localhost", key=other), reason=4)).status == 200
    stranger = await lab.client()
    order = await stranger.ready("b.localhost")
    refused = await stranger.finalize(order, make_csr("b.localhost", key=key))
    assert (refused.status, refused.error) == (400, "badCSR")
    assert "compromised" in refused.body["detail"]
    assert (await stranger.finalize(order, make_csr("b.localhost", key=other))).body["status"] == "valid"


async def test_a_key_that_was_compromised_becomes_none_of_an_account(lab: Lab) -> None:
    client, signer = await lab.client(), Signer()
    assert (await revoke(client, await client.issue("a.localhost", key=signer.key), reason=1)).status == 200
    refused = await Client(lab, signer=signer).register()
    assert (refused.status, refused.error) == (400, "badPublicKey")
    url = client.url("/key-change")
    inner = signer.sign(json_bytes({"account": client.kid, "oldKey": client.signer.jwk}), jwk=signer.jwk, url=url)
    refused = await client.post(url, inner)
    assert (refused.status, refused.error) == (400, "badPublicKey")
    assert (await client.post(str(client.kid))).status == 200


async def test_a_key_that_says_it_is_compromised_takes_all_its_certificates_with_it(lab: Lab) -> None:
    await lab.serve(lab.endpoint(), lab.endpoint("plant"))
    client, elsewhere, key = await lab.client(), await lab.client(prefix="/acme/plant"), new_key()
    first, second = await client.issue("a.localhost", key=key), await elsewhere.issue("b.localhost", key=key)
    other = await client.issue("c.localhost")

    async def reasons() -> list[str | None]:
        return [(await stored(lab, each)).revocation_reason for each in (first, second, other)]

    assert (await revoke(client, second, reason=1)).status == 404
    assert await reasons() == [None, None, None]
    assert (await revoke(Client(lab, signer=Signer(key)), first, reason=1)).status == 200
    assert await reasons() == ["keyCompromise", "keyCompromise", None]


async def test_an_account_speaks_for_the_certificate_alone(lab: Lab) -> None:
    client, key = await lab.client(), new_key()
    first, second = await client.issue("a.localhost", key=key), await client.issue("b.localhost", key=key)
    assert (await revoke(client, first, reason=1)).status == 200
    assert (await stored(lab, second)).revoked_at is None
