"""RevokeRequest over real connections: who may, who may not, and what is on record."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from cryptography import x509

from policies.request import EndpointName
from server.clock import system_clock
from server.est.linking import REVOCATION_CHALLENGE
from server.store.certificates import find_by_serial
from server.store.credentials import CredentialKind, list_credentials
from server.store.requests import list_requests
from tests.fakes.credential import credential, keep
from tests.fakes.manufacturer import make
from tests.server.est import cmc_client as client
from tests.server.est.fullcmc.sending import ENDPOINTS, EST_GUARDED, Sender, by, by_itself, new_key
from tests.server.est.lab import csr, lab

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

    from server.store.certificates import StoredCertificate


async def stored(sender: Sender, certificate: x509.Certificate) -> StoredCertificate:
    found = await sender.store.read(lambda connection: find_by_serial(connection, certificate.serial_number))
    assert found is not None
    return found


async def with_challenge(sender: Sender, name: str, key: ec.EllipticCurvePrivateKey, secret: str) -> x509.Certificate:
    asked = csr(name, key=key, attributes={x509.ObjectIdentifier(REVOCATION_CHALLENGE): secret})
    basic = await sender.one_time_password(f"for {name}", name)
    return (await sender.ask(by_itself([client.pkcs10(1, asked)], key), basic=basic)).issued_for(key)


async def test_a_certificate_is_revoked_by_itself(sender: Sender) -> None:
    key = new_key()
    certificate = await sender.certificate("pump", key)
    response = await sender.ask(by(certificate, key, (), client.revoke(4, certificate, since="20260102030405Z")))
    assert [(each.status, each.parts) for each in response.statuses] == [("success", (4,))]
    found = await stored(sender, certificate)
    assert (found.revocation_reason, found.revoked_at is not None) == ("keyCompromise", True)


async def test_the_successor_revokes_and_whoever_else_has_the_same_names_does_not(sender: Sender) -> None:
    old, new, other = new_key(), new_key(), new_key()
    first = await sender.certificate("pump", old, dns=("pump.example",))
    request = client.pkcs10(1, csr("pump", dns=("pump.example",), key=new))
    second = (await sender.ask(by(first, old, [request]))).issued_for(new)
    third = await sender.certificate("pump", other, dns=("pump.example",), requester="another")

    response = await sender.ask(by(third, other, (), client.revoke(1, first)), 403)
    assert response.statuses[0].fail == "badIdentity"
    assert (await stored(sender, first)).revoked_at is None
    refused = (await sender.store.read(list_requests))[0]
    assert refused.requester == f"certificate:{third.serial_number:x}"

    message = by(second, new, (), client.revoke(1, first, reason=4))
    assert (await sender.ask(message)).statuses[0].status == "success"
    assert (await stored(sender, first)).revocation_reason == "superseded"
    assert "before" in (await sender.ask(message)).statuses[0].text


async def test_another_certificate_of_the_same_requester_for_the_same_names_revokes(sender: Sender) -> None:
    """A device whose key broke enrolls anew and has the old certificate revoked."""
    new = new_key()
    broken, anew = await sender.certificate("pump", new_key()), await sender.certificate("pump", new)
    assert (await sender.ask(by(anew, new, (), client.revoke(1, broken)))).statuses[0].status == "success"
    assert (await stored(sender, broken)).revoked_at is not None


async def test_the_secret_of_the_request_revokes_without_any_key(sender: Sender) -> None:
    lost = new_key()
    certificate = await with_challenge(sender, "pump", lost, "when all is lost")
    message = client.signed(client.pki_data((), [client.revoke(1, certificate, passphrase="when all is")]), None)
    response = await sender.ask(message, 401)
    assert (response.statuses[0].fail, response.statuses[0].parts) == ("badIdentity", (1,))
    assert (await stored(sender, certificate)).revoked_at is None
    right = client.signed(client.pki_data((), [client.revoke(1, certificate, passphrase="when all is lost")]), None)
    assert (await sender.ask(right)).statuses[0].status == "success"
    assert (await stored(sender, certificate)).revoked_at is not None


async def test_the_secret_of_a_request_that_waited_for_a_person_revokes_its_certificate(sender: Sender) -> None:
    """It came with the request; queryPending, by which the certificate is fetched, does not repeat it."""
    key, basic = new_key(), await sender.one_time_password(endpoint=EST_GUARDED)
    asked = csr("pump", key=key, attributes={x509.ObjectIdentifier(REVOCATION_CHALLENGE): "when all is lost"})
    request = by_itself([client.pkcs10(1, asked)], key)
    (status,) = (await sender.ask(request, 202, label="guarded", basic=basic)).statuses
    assert status.token is not None
    assert (await sender.ask(request, 202, label="guarded", basic=basic)).statuses[0].status == "pending"
    await sender.running.application.services.enrollment.approve(status.token.decode(), "alice")
    question = client.signed(client.pki_data((), [client.query(3, status.token)]), key)
    certificate = (await sender.ask(question, label="guarded")).issued_for(key)
    challenges = await sender.store.read(lambda c: list_credentials(c, kind=CredentialKind.REVOCATION))
    assert [(each.argon2 or "")[:9] for each in challenges] == ["$argon2id"]

    for typed, status_code, result in (("another", 401, "failed"), ("when all is lost", 200, "success")):
        message = client.signed(client.pki_data((), [client.revoke(1, certificate, passphrase=typed)]), None)
        assert (await sender.ask(message, status_code, label="guarded")).statuses[0].status == result
    assert (await stored(sender, certificate)).revoked_at is not None


async def test_guessing_the_secret_is_on_record_and_slowed_down(sender: Sender) -> None:
    certificate = await sender.certificate("pump", new_key())
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("when all is lost")
    serial, kind = certificate.serial_number, CredentialKind.REVOCATION
    await keep(sender.store, credential(None, kind=kind, argon2=cheap, serial=serial))
    message = client.signed(client.pki_data((), [client.revoke(1, certificate, passphrase="wrong")]), None)
    statuses = [(await sender.post(message)).status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    refused = [each for each in await sender.store.read(list_requests) if each.state == "refused"]
    assert {each.message for each in refused} == {"wrong revocation challenge"}
    assert len(refused) == 10


async def test_where_no_secret_came_with_the_request_none_revokes(sender: Sender) -> None:
    certificate = await sender.certificate("pump", new_key())
    message = client.signed(client.pki_data((), [client.revoke(1, certificate, passphrase="")]), None)
    assert (await sender.ask(message, 401)).statuses[0].fail == "badIdentity"


async def test_a_registration_authority_revokes_what_was_issued_where_it_asks(sender: Sender) -> None:
    ra, key = new_key(), new_key()
    authority = await sender.certificate("gateway-1", ra, label="gateways", profile="gateway")
    here = await sender.certificate("pump", key, label="gateways", profile="iot-device")
    elsewhere = await sender.certificate("pump", new_key())
    message = by(authority, ra, (), client.revoke(1, here), client.revoke(2, elsewhere))
    response = await sender.ask(message, label="gateways")
    assert [(each.status, each.parts, each.fail) for each in response.statuses] == [
        ("success", (1,), None),
        ("failed", (2,), "badCertId"),
    ]
    assert (await stored(sender, elsewhere)).revoked_at is None


async def test_a_registration_authority_revokes_nothing_that_only_counts_where_it_asks(sender: Sender) -> None:
    ra = new_key()
    authority = await sender.certificate("gateway-1", ra, label="wide", profile="gateway")
    elsewhere = await sender.certificate("pump", new_key())
    response = await sender.ask(by(authority, ra, (), client.revoke(1, elsewhere)), 403, label="wide")
    assert [(each.status, each.fail) for each in response.statuses] == [("failed", "badIdentity")]
    assert (await stored(sender, elsewhere)).revoked_at is None


async def test_where_both_are_wanted_a_registration_authority_revokes_with_a_password_beside(sender: Sender) -> None:
    """For others it does nothing by one of the two; a certificate is revoked by its own key as everywhere."""
    old, ra, key = new_key(), new_key(), new_key()
    before = await sender.certificate("gateway-0", old, label="gateways", profile="gateway")
    strict = EndpointName.parse("est/strict")
    first = await sender.one_time_password("first", "gateway-1", endpoint=strict, profile="gateway")
    message = by(before, old, [client.pkcs10(1, csr("gateway-1", key=ra))])
    authority = (await sender.ask(message, label="strict", basic=first)).issued_for(ra)
    basic = await sender.one_time_password("more", "gateway-1", endpoint=strict, uses_left=5)
    message = by(authority, ra, [client.pkcs10(1, csr("valve-1", key=key))])
    valve = (await sender.ask(message, label="strict", basic=basic)).issued_for(key)

    message = by(authority, ra, (), client.revoke(1, valve))
    assert (await sender.ask(message, 401, label="strict")).statuses[0].fail == "badIdentity"
    assert (await stored(sender, valve)).revoked_at is None
    assert (await sender.ask(message, label="strict", basic=basic)).statuses[0].status == "success"
    message = by(authority, ra, (), client.revoke(1, authority))
    assert (await sender.ask(message, label="strict")).statuses[0].status == "success"


async def test_nobody_and_who_has_a_password_alone_revoke_nothing(sender: Sender) -> None:
    certificate = await sender.certificate("pump", new_key())
    message = client.signed(client.pki_data((), [client.revoke(1, certificate)]), None)
    assert (await sender.ask(message, 401)).statuses[0].fail == "badIdentity"
    basic = await sender.one_time_password("more", "pump-2")
    assert (await sender.ask(message, 403, basic=basic)).statuses[0].fail == "badIdentity"
    assert (await stored(sender, certificate)).revoked_at is None


async def test_what_was_not_issued_here_can_not_be_revoked_here(sender: Sender) -> None:
    key = new_key()
    certificate = await sender.certificate("pump", key)
    stranger = make("stranger", make("Another CA", ca=True)).certificate
    message = by(certificate, key, (), client.revoke(1, stranger))
    assert (await sender.ask(message, 404)).statuses[0].fail == "badCertId"
    for issuer in (stranger.issuer, x509.Name([])):
        message = by(certificate, key, (), client.revoke(1, certificate, issuer=issuer))
        assert (await sender.ask(message, 404)).statuses[0].fail == "badCertId"
    assert (await stored(sender, certificate)).revoked_at is None


async def test_an_expired_certificate_revokes_nothing_though_the_grace_lets_it_be_renewed(
    deployment: Path, tmp_path: Path
) -> None:
    passed = [timedelta(0)]
    endpoints = ENDPOINTS.replace("est/default:\n", "est/default:\n  renewal_grace: 30d\n")
    folder = shutil.copytree(deployment, tmp_path / "deployment")
    async with lab(folder, endpoints, clock=lambda: system_clock() + passed[0]) as running:
        sender, key = Sender(running), new_key()
        certificate = await sender.certificate("pump", key)
        passed[0] = timedelta(days=370)
        now = system_clock() + passed[0]
        revocation = client.pki_data((), [client.revoke(4, certificate)])
        response = await sender.ask(client.signed(revocation, key, certificate, time=now), 403)
        assert [(each.status, each.fail) for each in response.statuses] == [("failed", "badIdentity")]
        renewal = client.pki_data([client.pkcs10(1, csr("pump", key=new_key()))])
        assert (await sender.ask(client.signed(renewal, key, certificate, time=now))).statuses[0].status == "success"


async def test_the_invalidity_date_is_in_the_past(sender: Sender) -> None:
    key = new_key()
    certificate = await sender.certificate("pump", key)
    tomorrow = (system_clock() + timedelta(days=1)).strftime("%Y%m%d%H%M%SZ")
    message = by(certificate, key, (), client.revoke(1, certificate, since=tomorrow))
    assert (await sender.ask(message, 400)).statuses[0].fail == "badTime"


async def test_the_certificate_that_asked_and_revoked_itself_gets_what_it_asked_for(sender: Sender) -> None:
    """Rekeyed after a compromise, in one message: the new certificate, then the end of the old one."""
    old, key = new_key(), new_key()
    first = await sender.certificate("pump", old)
    message = by(first, old, [client.pkcs10(1, csr("pump", key=key))], client.revoke(2, first))
    response = await sender.ask(message)
    assert [(each.status, each.parts) for each in response.statuses] == [("success", (1,)), ("success", (2,))]
    assert response.issued_for(key).not_valid_after_utc > datetime(2026, 1, 1, tzinfo=UTC)
    assert (await stored(sender, first)).revoked_at is not None
