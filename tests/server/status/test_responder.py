from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.backends.local import LocalIssuer
from ca.ceremony import generate_key
from ca.lint import Linter
from ca.ocsp import Failure, write_failure
from ca.tbs import IssuerProfile
from server.enrollment import Enrollment
from server.status.own import OwnCertificates, OwnPlans
from server.status.responder import Answering, Responder
from server.store.certificates import CertificateFilter, list_certificates
from tests.fakes.door import FlakyStore
from tests.fakes.scripted_policy import ScriptedPolicy
from tests.fakes.status import Lab
from tests.server.status.lists import lint_ocsp

if TYPE_CHECKING:
    from policies.request import EnrollmentRequest
    from server.outcome import Outcome
    from server.status.responder import Reply
    from server.store import Store

HOUR = timedelta(hours=1)


@dataclass
class Desk:
    """A responder over a lab's record and CA, with the real door."""

    lab: Lab
    store: FlakyStore
    responder: Responder
    issuers: dict[str, LocalIssuer] = field(default_factory=dict)

    @classmethod
    def make(cls, store: Store, kind: str = "P-256") -> Desk:
        lab = Lab.make(store, kind)
        flaky = FlakyStore(store)
        issuers = {"issuing": LocalIssuer(lab.ca.key, lab.ca.certificate)}
        ends = {"issuing": lab.ca.certificate.not_valid_after_utc}
        numbers = iter(range(1000))
        door = Enrollment(
            store=flaky,
            decide=OwnPlans(ScriptedPolicy().decide, ends, {"issuing": 12 * HOUR}).decide,
            issuers=issuers,
            linter=Linter(),
            clock=lambda: lab.now,
            serial_number=x509.random_serial_number,
            request_id=lambda: f"own-{next(numbers)}",
        )
        own = OwnCertificates(door.submit, lambda: lab.now, generate_key)
        wanted = kind if kind.startswith("ml-dsa") else "P-256"
        answering = Answering(IssuerProfile.of(lab.ca.certificate), wanted, HOUR)
        return cls(lab, flaky, Responder(flaky, {"issuing": answering}, own, lambda: lab.now), issuers)

    async def ask(self, serial: int, nonce: bytes | None = None, ca: x509.Certificate | None = None) -> Reply:
        issuer = ca or self.lab.ca.certificate
        name, key = (hashes.Hash(hashes.SHA256()) for _ in range(2))
        name.update(issuer.subject.public_bytes())
        key.update(x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest)
        builder = ocsp.OCSPRequestBuilder().add_certificate(_twin(serial, issuer), issuer, hashes.SHA256())
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        return await self.responder.answer(builder.build().public_bytes(Encoding.DER))

    async def responders(self) -> list[x509.Certificate]:
        found = await self.store.read(lambda c: list_certificates(c, CertificateFilter(profile="ocsp-responder")))
        return [x509.load_der_x509_certificate(each.der) for each in found]


def _twin(serial: int, issuer: x509.Certificate) -> x509.Certificate:
    """Return a certificate of this serial number and issuer's name, as a request is made of one."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(issuer.subject).serial_number(serial)
    builder = builder.public_key(key.public_key()).not_valid_before(issuer.not_valid_before_utc)
    return builder.not_valid_after(issuer.not_valid_after_utc).sign(key, hashes.SHA256())


def read(reply: Reply) -> ocsp.OCSPResponse:
    return ocsp.load_der_ocsp_response(reply.der)


@pytest.mark.parametrize("kind", ["P-256", "ml-dsa-44", "rsa:2048", "ed25519"])
async def test_good_revoked_and_unknown(store: Store, kind: str) -> None:
    desk = Desk.make(store, kind)
    await desk.lab.add(5)
    for nonce in (None, b"nonce"):
        assert lint_ocsp((await desk.ask(5, nonce)).der) == []
    answer = read(await desk.ask(5))
    assert answer.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert (answer.this_update_utc, answer.next_update_utc) == (desk.lab.now, desk.lab.now + HOUR)
    await desk.lab.revoke(5, x509.ReasonFlags.key_compromise)
    for reply in (await desk.ask(5), await desk.ask(5, b"nonce"), await desk.ask(6)):
        assert lint_ocsp(reply.der) == []
    answer = read(await desk.ask(5))
    assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert (answer.revocation_reason, answer.revocation_time_utc) == (
        x509.ReasonFlags.key_compromise,
        desk.lab.now,
    )
    assert read(await desk.ask(6)).certificate_status is ocsp.OCSPCertStatus.UNKNOWN


async def test_the_responder_has_a_certificate_of_its_own_from_the_one_door(store: Store) -> None:
    desk = Desk.make(store)
    (own,) = read(await desk.ask(5)).certificates
    assert [own] == await desk.responders()
    own.verify_directly_issued_by(desk.lab.ca.certificate)
    purposes = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    own.extensions.get_extension_for_class(x509.OCSPNoCheck)


async def test_the_certificate_is_renewed_after_half_of_its_time(store: Store) -> None:
    desk = Desk.make(store)
    first = read(await desk.ask(5)).certificates
    desk.lab.now += 7 * HOUR
    second = read(await desk.ask(5)).certificates
    assert first != second
    assert len(await desk.responders()) == 2


async def test_an_issuer_that_sleeps_leaves_the_old_certificate_until_its_end(store: Store) -> None:
    desk = Desk.make(store)
    first = read(await desk.ask(5)).certificates
    awake = desk.issuers.pop("issuing")
    desk.lab.now += 7 * HOUR
    assert read(await desk.ask(5)).certificates == first
    desk.lab.now += 5 * HOUR
    assert (await desk.ask(5)).der == write_failure(Failure.TRY_LATER)
    desk.issuers["issuing"] = awake
    assert (await desk.ask(5)).der == write_failure(Failure.TRY_LATER)  # not asked again at once
    desk.lab.now += timedelta(seconds=31)
    assert read(await desk.ask(5)).certificates != first


async def test_a_nonce_comes_back_in_an_answer_made_for_it(store: Store) -> None:
    desk = Desk.make(store)
    await desk.lab.add(5)
    reply = await desk.ask(5, b"n" * 32)
    assert read(reply).extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32
    assert reply.validity is None
    assert (await desk.ask(5)).validity is not None


async def test_an_answer_is_signed_once_and_again_after_half_of_its_time(store: Store) -> None:
    desk = Desk.make(store)
    await desk.lab.add(5)
    first = await desk.ask(5)
    desk.lab.now += 0.4 * HOUR
    assert (await desk.ask(5)).der == first.der
    desk.lab.now += 0.2 * HOUR
    assert (await desk.ask(5)).der != first.der


async def test_when_the_record_does_not_answer_the_last_answer_does(store: Store) -> None:
    desk = Desk.make(store)
    await desk.lab.add(5)
    first = await desk.ask(5)
    await store.close()
    assert (await desk.ask(5)).der == first.der
    assert (await desk.ask(6)).der == write_failure(Failure.TRY_LATER)
    assert (await desk.ask(5, b"nonce")).der == write_failure(Failure.TRY_LATER)
    desk.lab.now += HOUR
    assert (await desk.ask(5)).der == write_failure(Failure.TRY_LATER)


async def test_foreign_issuers_and_garbage_get_the_errors_of_ocsp(store: Store) -> None:
    desk = Desk.make(store)
    foreign = Lab.make(store).ca.certificate
    assert (await desk.ask(5, ca=foreign)).der == write_failure(Failure.UNAUTHORIZED)
    reply = await desk.responder.answer(b"garbage")
    assert read(reply).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    assert await desk.responders() == []


async def test_a_clock_that_was_ahead_leaves_no_answer_or_certificate_of_the_future(store: Store) -> None:
    desk = Desk.make(store)
    await desk.lab.add(5)
    right = desk.lab.now
    desk.lab.now += timedelta(days=300)
    assert read(await desk.ask(5)).this_update_utc > right
    desk.lab.now = right
    answer = read(await desk.ask(5))
    assert answer.this_update_utc == right
    assert answer.certificates[0].not_valid_before_utc <= right
    assert len(await desk.responders()) == 2


async def test_while_a_certificate_is_renewed_the_one_before_answers(store: Store) -> None:
    """A CA whose HSM hangs would otherwise hold up all answers, which need nothing of it."""
    desk = Desk.make(store)
    await desk.lab.add(5)
    before = read(await desk.ask(5)).certificates
    asked, come = asyncio.Event(), asyncio.Event()
    submit = desk.responder._own._submit

    async def hang(request: EnrollmentRequest) -> Outcome:
        asked.set()
        await come.wait()
        return await submit(request)

    desk.responder._own._submit = hang
    desk.lab.now += 7 * HOUR
    patient = asyncio.create_task(desk.ask(5, b"first"))
    await asked.wait()
    async with asyncio.timeout(5):
        assert read(await desk.ask(5, b"second")).certificates == before
    come.set()
    assert read(await patient).certificates != before
