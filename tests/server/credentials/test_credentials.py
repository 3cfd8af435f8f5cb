"""Evidence judged by an application with a real store and real issuers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ca.names import DistinguishedName, dns_name, names_of, subject_of
from policies.decision import Approved
from policies.request import CertificateEvidence, ChallengeEvidence, EndpointName, PasswordEvidence
from server.clock import system_clock
from server.credentials import Authenticators, Credentials, ThirdParty
from server.credentials.anchors import TrustAnchors
from server.outcome import Problem, Reason
from server.store import Store, StoreUnavailable
from server.store.certificates import StoredCertificate
from tests.fakes.database import empty_database
from tests.fakes.door import HERE, ISSUER, Door, ask
from tests.fakes.issuer import NOW
from tests.fakes.manufacturer import make
from tests.fakes.record import issued
from tests.fakes.running import EST, enrolled, running
from tests.fakes.scripted_policy import ScriptedPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ca.names import DnsName
    from policies.decision import Decision
    from policies.request import EnrollmentRequest
    from server.app.application import Application
    from server.config import Config

HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SCEP, NOBODY = EndpointName.parse("scep/default"), EndpointName.parse("est/nobody")
NO_GRACE = timedelta(0)


class _Time:
    """A clock of both kinds that tests turn."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)  # noqa: TID251 - near the validity of what is issued

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()


class _FailingStore:
    async def read(self, work: object) -> object:
        raise StoreUnavailable("the disk is gone")


def _credentials(application: Application, time: _Time, **changes: object) -> Credentials:
    material = application.services.material
    arguments = {
        "store": application.services.store,
        "endpoints": {
            EST: Authenticators({"pump": HASHER.hash("right")}, None, frozenset({EST})),
            SCEP: Authenticators({}, HASHER.hash("challenge"), frozenset({SCEP})),
            NOBODY: Authenticators({}, None, frozenset()),
        },
        "issuers": {name: issuer.chain()[0] for name, issuer in material.issuers.items()},
        "clock": time,
        "seconds": time.seconds,
        "key": b"k" * 32,
    }
    return Credentials(**{**arguments, **changes})  # type: ignore[arg-type] # what the test changes is of the kind


def _reason(found: object) -> Reason:
    assert isinstance(found, Problem), found
    return found.reason


async def test_a_right_password_is_evidence_and_a_wrong_one_or_an_unknown_user_is_not(config: Config) -> None:
    async with running(config) as (application, _):
        credentials = _credentials(application, _Time())
        assert await credentials.password(EST, "pump", "right") == PasswordEvidence("pump")
        wrong = await credentials.password(EST, "pump", "wrong")
        unknown = await credentials.password(EST, "nobody", "right")
        assert _reason(wrong) == Reason.BAD_CREDENTIALS
        assert wrong == unknown
        assert _reason(await credentials.password(SCEP, "pump", "right")) == Reason.BAD_CREDENTIALS
        credentials.close()


async def test_a_right_challenge_is_evidence_and_a_wrong_one_is_not(config: Config) -> None:
    async with running(config) as (application, _):
        credentials = _credentials(application, _Time())
        assert await credentials.challenge(SCEP, "challenge") == ChallengeEvidence("static")
        assert _reason(await credentials.challenge(SCEP, "wrong")) == Reason.BAD_CREDENTIALS
        assert _reason(await credentials.challenge(EST, "challenge")) == Reason.BAD_CREDENTIALS
        credentials.close()


async def test_who_fails_too_often_must_wait_even_with_the_right_password_and_nobody_else_must(config: Config) -> None:
    time = _Time()
    async with running(config) as (application, _):
        credentials = _credentials(application, time)
        for _ in range(10):
            await credentials.password(EST, "pump", "wrong", address="192.0.2.1")
        refused = await credentials.password(EST, "pump", "right", address="192.0.2.1")
        assert _reason(refused) == Reason.RATE_LIMITED
        assert isinstance(refused, Problem)
        assert refused.retry_after == 1
        assert isinstance(await credentials.password(EST, "pump", "right", address="192.0.2.2"), PasswordEvidence)
        time.now += timedelta(seconds=1)
        assert isinstance(await credentials.password(EST, "pump", "right", address="192.0.2.1"), PasswordEvidence)
        credentials.close()


async def test_who_must_wait_between_guesses_does_not_make_many_at_once(config: Config) -> None:
    time = _Time()
    async with running(config) as (application, _):
        credentials = _credentials(application, time)
        for _ in range(10):
            await credentials.password(EST, "pump", "wrong", address="192.0.2.1")
        time.now += timedelta(seconds=1)  # all of them come in the moment in which one is free
        guesses = [*(f"guess {number}" for number in range(20)), "right"]
        found = await asyncio.gather(*(credentials.password(EST, "pump", one, address="192.0.2.1") for one in guesses))
        assert [_reason(one) for one in found] == [Reason.BAD_CREDENTIALS] * 20 + [Reason.RATE_LIMITED]
        waits = await credentials.password(EST, "pump", "right", address="192.0.2.1")
        assert _reason(waits) is Reason.RATE_LIMITED  # the right one among them has not ended the count
        time.now += timedelta(seconds=300)
        assert isinstance(await credentials.password(EST, "pump", "right", address="192.0.2.1"), PasswordEvidence)
        credentials.close()


async def test_a_certificate_issued_here_is_evidence(config: Config) -> None:
    async with running(config) as (application, _):
        credentials = _credentials(application, _Time())
        certificate = await enrolled(application)
        for _ in range(2):  # the second time its signature is remembered
            found = await credentials.certificate(EST, (certificate,), grace=NO_GRACE)
            assert not isinstance(found, Problem)
            evidence, stored = found
            assert isinstance(evidence, CertificateEvidence)
            assert (evidence.serial, evidence.anchor, evidence.endpoint) == (certificate.serial_number, "own", EST)
            assert str(evidence.subject) == "CN=device-1"
            assert stored.serial == certificate.serial_number
        credentials.close()


async def test_certificates_are_told_apart_however_few_are_remembered(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.credentials.certificates._REMEMBERED", 1)
    async with running(config) as (application, _):
        credentials = _credentials(application, _Time())
        certificates = [await enrolled(application, name) for name in ("device-1", "device-2")]
        for certificate in (*certificates, *certificates):
            found = await credentials.certificate(EST, (certificate,), grace=NO_GRACE)
            assert not isinstance(found, Problem)
            assert found[0].serial == certificate.serial_number
        credentials.close()


async def test_a_certificate_for_another_endpoint_is_rejected_and_so_is_any_where_none_are_taken(
    config: Config,
) -> None:
    async with running(config) as (application, _):
        credentials = _credentials(application, _Time())
        presented = (await enrolled(application),)
        for endpoint in (SCEP, NOBODY):
            found = await credentials.certificate(endpoint, presented, grace=NO_GRACE)
            assert _reason(found) == Reason.CERTIFICATE_REJECTED
        credentials.close()


async def test_validity_is_judged_to_the_second_and_grace_is_for_the_end_alone(config: Config) -> None:
    time = _Time()
    async with running(config) as (application, _):
        credentials = _credentials(application, time)
        certificate = await enrolled(application)
        end, begin, second = certificate.not_valid_after_utc, certificate.not_valid_before_utc, timedelta(seconds=1)
        day = timedelta(days=1)
        for now, grace, good in [
            (end, NO_GRACE, True), (end + second, NO_GRACE, False), (end + day, day, True),
            (end + day + second, day, False), (begin, NO_GRACE, True), (begin - second, day, False),
        ]:  # fmt: skip
            time.now = now
            found = await credentials.certificate(EST, (certificate,), grace=grace)
            assert isinstance(found, Problem) is not good, (now, found)
        credentials.close()


async def test_a_revoked_certificate_is_rejected_from_the_next_request_on(config: Config) -> None:
    async with running(config) as (application, _):
        credentials = _credentials(application, _Time())
        presented = (await enrolled(application),)
        assert not isinstance(await credentials.certificate(EST, presented, grace=NO_GRACE), Problem)
        reason = x509.ReasonFlags.key_compromise
        await application.services.enrollment.revoke(presented[0].serial_number, reason, by="admin:test")
        found = await credentials.certificate(EST, presented, grace=NO_GRACE)
        assert isinstance(found, Problem)
        assert (found.reason, "revoked" in found.message) == (Reason.CERTIFICATE_REJECTED, True)
        credentials.close()


async def test_a_certificate_that_only_looks_like_ours_is_rejected(config: Config) -> None:
    async with running(config) as (application, _):
        credentials = _credentials(application, _Time())
        real = await enrolled(application)
        key = ec.generate_private_key(ec.SECP256R1())
        forged = (
            x509.CertificateBuilder()
            .subject_name(real.subject)
            .issuer_name(real.issuer)
            .public_key(key.public_key())
            .serial_number(real.serial_number)
            .not_valid_before(real.not_valid_before_utc)
            .not_valid_after(real.not_valid_after_utc)
            .sign(key, hashes.SHA256())
        )
        assert _reason(await credentials.certificate(EST, (forged,), grace=NO_GRACE)) == Reason.CERTIFICATE_REJECTED
        credentials.close()


@pytest.mark.parametrize("known", [True, False])
async def test_a_recorded_certificate_whose_issuer_did_not_sign_it_is_rejected(config: Config, *, known: bool) -> None:
    async with running(config) as (application, _):
        issuers = {name: issuer.chain()[-1] for name, issuer in application.services.material.issuers.items()}
        credentials = _credentials(application, _Time(), issuers=issuers if known else {})
        presented = (await enrolled(application),)
        found = await credentials.certificate(EST, presented, grace=NO_GRACE)
        assert _reason(found) == Reason.CERTIFICATE_REJECTED
        credentials.close()


async def test_a_store_that_fails_is_a_temporary_problem(config: Config) -> None:
    async with running(config) as (application, _):
        credentials = _credentials(application, _Time(), store=_FailingStore())
        presented = (await enrolled(application),)
        assert _reason(await credentials.certificate(EST, presented, grace=NO_GRACE)) == Reason.STORE_UNAVAILABLE
        credentials.close()


# --- what the record and other parties know ----------------------------------------------------------------------

HERE_TOO = EndpointName.parse("est/here-too")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(empty_database(tmp_path / "certwright.db"))
    yield store
    await store.close()


def over(store: object, *anchors: TrustAnchors, now: datetime = NOW) -> Credentials:
    return Credentials(
        store=store,  # type: ignore[arg-type] # or one that fails
        endpoints={
            HERE: Authenticators({}, None, frozenset({HERE}), anchors=anchors),
            HERE_TOO: Authenticators({}, None, frozenset({HERE})),
            NOBODY: Authenticators({}, None, frozenset()),
        },
        issuers={"issuing": ISSUER.chain()[0]},
        clock=lambda: now,
        seconds=lambda: 0.0,
        key=b"k" * 32,
    )


async def test_a_certificate_is_found_by_its_serial_number_where_it_counts(store: Store) -> None:
    serial = x509.load_der_x509_certificate(issued(await Door(store).submit(ask())).certificate).serial_number
    for endpoint in (HERE, HERE_TOO):
        found = await over(store).issued_for(endpoint, serial)
        assert isinstance(found, StoredCertificate)
        assert found.serial == serial
    assert await over(store).issued_for(NOBODY, serial) is None
    assert await over(store).issued_for(HERE, serial + 1) is None
    assert _reason(await over(_FailingStore()).issued_for(HERE, serial)) is Reason.STORE_UNAVAILABLE


async def test_a_certificate_can_be_renewed_for_its_subject_with_its_names_where_it_counts(store: Store) -> None:
    leaf = x509.load_der_x509_certificate(issued(await Door(store).submit(ask())).certificate)
    subject, names, end = subject_of(leaf), names_of(leaf), leaf.not_valid_after_utc
    for credentials, endpoint in ((over(store), HERE), (over(store), HERE_TOO), (over(store, now=end), HERE)):
        found = await credentials.renewable(endpoint, subject, names[::-1], grace=NO_GRACE)
        assert isinstance(found, StoredCertificate)
        assert found.serial == leaf.serial_number
    for credentials, endpoint, asked, also in (
        (over(store), NOBODY, subject, names),
        (over(store), HERE, DistinguishedName.from_text("CN=valve"), names),
        (over(store), HERE, subject, (*names, dns_name("other.test"))),
        (over(store, now=end + timedelta(seconds=1)), HERE, subject, names),
    ):
        assert await credentials.renewable(endpoint, asked, also, grace=NO_GRACE) is None
    for seconds, good in ((1, True), (2, False)):
        late = over(store, now=end + timedelta(seconds=seconds))
        assert (await late.renewable(HERE, subject, names, grace=timedelta(seconds=1)) is not None) is good
    failing = over(_FailingStore())
    assert _reason(await failing.renewable(HERE, subject, names, grace=NO_GRACE)) is Reason.STORE_UNAVAILABLE


async def test_a_certificate_can_be_renewed_however_many_devices_have_its_subject(store: Store) -> None:
    """Such as none at all, where all that names a device is its alternative names."""
    shared, policy = dns_name("plant.test"), ScriptedPolicy()

    def decide(request: EnrollmentRequest) -> Decision:
        made = policy.decide(request)
        assert isinstance(made, Approved)
        return made._replace(plan=replace(made.plan, subject=DistinguishedName(), names=(own(request.key), shared)))

    def own(key: str) -> DnsName:
        return dns_name(f"{key}.plant.test")

    door = Door(store, decide=decide)
    oldest = issued(await door.submit(ask("pump", key="pump-0")))
    door.now += timedelta(seconds=1)
    await asyncio.gather(*(door.submit(ask("pump", key=f"pump-{number}")) for number in range(1, 103)))
    for names in ((own("pump-0"), shared), (shared, own("pump-0"))):
        found = await over(store).renewable(HERE, DistinguishedName(), names, grace=NO_GRACE)
        assert isinstance(found, StoredCertificate)
        assert found.der == oldest.certificate
    for others in ((own("pump-0"),), (shared,), (shared, shared, own("pump-0")), ()):
        assert await over(store).renewable(HERE, DistinguishedName(), others, grace=NO_GRACE) is None


async def test_our_issuers_are_known_by_their_names(store: Store) -> None:
    assert over(store).issues_as(ISSUER.chain()[0].subject.public_bytes())
    assert not over(store).issues_as(ISSUER.chain()[1].subject.public_bytes())


async def test_other_parties_are_asked_one_after_the_other_where_they_count(store: Store) -> None:
    parties = [make(f"Root of {word}", ca=True) for word in "abc"]
    a, b = (
        TrustAnchors(word, [root.certificate], intermediates=(), crls=None, grace=NO_GRACE)
        for word, root in zip("ab", parties[:2], strict=True)
    )
    now = system_clock()
    credentials, ended = over(store, a, b, now=now), now - timedelta(seconds=5)
    for word, root in zip("ab", parties[:2], strict=True):
        found = await credentials.third_party(HERE, (make("pump", root).certificate,))
        assert isinstance(found, ThirdParty)
        assert found.evidence.anchor == word
    for endpoint, root in ((HERE, parties[2]), (HERE_TOO, parties[0])):
        assert await credentials.third_party(endpoint, (make("pump", root).certificate,)) is None
    refused = await credentials.third_party(HERE, (make("pump", parties[0], end=ended, serial=0xABC).certificate,))
    assert isinstance(refused, Problem)
    assert (refused.reason, refused.detail) == (Reason.CERTIFICATE_REJECTED, "a: serial number abc")


async def test_what_one_party_rejects_no_other_takes_but_one_whose_ca_has_the_same_name(store: Store) -> None:
    root, namesake = make("Root", ca=True), make("Root", ca=True)
    now = system_clock()
    strict = TrustAnchors("strict", [root.certificate], intermediates=(), crls=None, grace=NO_GRACE)
    lenient = TrustAnchors("lenient", [root.certificate], intermediates=(), crls=None, grace=timedelta(days=1))
    other = TrustAnchors("other", [namesake.certificate], intermediates=(), crls=None, grace=NO_GRACE)
    ended = (make("pump", root, end=now - timedelta(seconds=5)).certificate,)
    assert isinstance(await over(store, lenient, now=now).third_party(HERE, ended), ThirdParty)
    assert _reason(await over(store, strict, lenient, now=now).third_party(HERE, ended)) is Reason.CERTIFICATE_REJECTED

    found = await over(store, strict, other, now=now).third_party(HERE, (make("pump", namesake).certificate,))
    assert isinstance(found, ThirdParty)
    assert found.evidence.anchor == "other"
    forged = (make("pump", make("Root", ca=True)).certificate,)
    assert _reason(await over(store, strict, other, now=now).third_party(HERE, forged)) is Reason.CERTIFICATE_REJECTED
