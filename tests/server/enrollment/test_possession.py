"""Keys that can't sign: whose statement the door believes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der
from ca.ceremony import generate_key
from ca.csr import Csr, parse_csr
from ca.names import DistinguishedName, dns_name
from ca.plan import KeyUsage
from policies.decision import Approved
from server.outcome import Reason, Refused
from tests.ca.requests import stated
from tests.fakes.door import ask
from tests.fakes.earlier import issued_earlier
from tests.fakes.issuer import NOW, csr_of, make_plan, spki_of
from tests.fakes.record import issued

if TYPE_CHECKING:
    from ca.tbs import SigningKey
    from policies.decision import Decision
    from policies.request import EnrollmentRequest
    from server.store import Store
    from tests.fakes.door import Door

KEM = mlkem.MLKEM768PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PUMP = generate_key("P-256")
SECOND = timedelta(seconds=1)
ENCIPHERMENT = frozenset({KeyUsage.KEY_ENCIPHERMENT})


def fitting(door: Door) -> None:
    """Let the policy give each key the usage that it can have."""
    decide = door.policy.decide

    def usage(request: EnrollmentRequest) -> Decision:
        decision = decide(request)
        assert isinstance(decision, Approved)
        if request.csr.key_shape.kind != "ml-kem-768":
            return decision
        return decision._replace(plan=replace(decision.plan, key_usage=ENCIPHERMENT))

    door._judge._decide = usage


async def enroll(door: Door, name: str = "pump", key: SigningKey = PUMP) -> x509.Certificate:
    """Get a certificate for a key that can sign."""
    plan = make_plan(
        subject=DistinguishedName.from_text(f"CN={name}"), names=(dns_name("pump.test"),), spki=spki_of(key)
    )
    outcome = await door.submit(replace(ask(name), csr=parse_csr(csr_of(plan))))
    return x509.load_der_x509_certificate(issued(outcome).certificate)


def for_kem(signer: x509.Certificate, key: SigningKey = PUMP, *, along: bool = False) -> Csr:
    return parse_csr(stated(KEM, key, signer, certificate=along))


async def refusal(door: Door, csr: Csr) -> str:
    outcome = await door.submit(replace(ask("kem"), csr=csr, now=door.now))
    assert isinstance(outcome, Refused)
    assert outcome.problem.reason is Reason.BAD_PROOF
    return outcome.problem.message


@pytest.mark.parametrize("along", [False, True])
async def test_the_holder_of_a_certificate_gets_another_for_a_key_that_can_not_sign(door: Door, *, along: bool) -> None:
    fitting(door)
    signer = await enroll(door)
    outcome = await door.submit(replace(ask("kem"), csr=for_kem(signer, along=along)))
    certificate = x509.load_der_x509_certificate(issued(outcome).certificate)
    assert certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == KEM
    assert certificate.subject == signer.subject


async def test_a_certificate_that_is_not_ours_proves_nothing(door: Door) -> None:
    signer = await enroll(door)
    assert "issued here" in await refusal(door, for_kem(door.issuer.chain()[0]))
    csr = for_kem(signer, along=True)
    assert csr.statement is not None
    for change in ({"certificate": b"0"}, {"issuer": b"0"}, {"serial": 1}):
        assert "issued here" in await refusal(door, replace(csr, statement=replace(csr.statement, **change)))


async def test_a_certificate_of_another_key_proves_nothing(door: Door) -> None:
    signer = await enroll(door)
    assert "not signed with the key" in await refusal(door, for_kem(signer, generate_key("P-256")))
    assert "not signed with the key" in await refusal(door, for_kem(signer, generate_key("ed25519")))


@pytest.mark.parametrize(
    "algorithm",
    [der.sequence(der.oid("1.2.3")), der.sequence(der.oid("1.2.840.113549.1.1.5"), der.null()), b"\x30\x80", b""],
    ids=["unknown", "SHA-1", "not DER", "empty"],
)
async def test_a_signature_that_nobody_can_verify_proves_nothing(door: Door, algorithm: bytes) -> None:
    csr = for_kem(await enroll(door))
    assert csr.statement is not None
    odd = replace(csr, statement=replace(csr.statement, algorithm=algorithm))
    assert "not signed with the key" in await refusal(door, odd)


async def test_a_certificate_without_key_usage_is_for_signatures_until_its_last_second(door: Door) -> None:
    """RFC 5280 section 4.2.1.3: without the extension there is no restriction."""
    decide = door.policy.decide

    def unrestricted(request: EnrollmentRequest) -> Decision:
        decision = decide(request)
        assert isinstance(decision, Approved)
        return decision._replace(plan=replace(decision.plan, key_usage=frozenset()))

    door._judge._decide = unrestricted
    signer = await enroll(door)
    for now in (signer.not_valid_before_utc, signer.not_valid_after_utc):
        door.now = now
        issued(await door.submit(replace(ask("kem", key=str(now)), csr=for_kem(signer), now=now)))
    for now in (signer.not_valid_before_utc - SECOND, signer.not_valid_after_utc + SECOND):
        door.now = now
        assert "not good now" in await refusal(door, for_kem(signer))


async def test_a_revoked_or_expired_certificate_proves_nothing(door: Door) -> None:
    fitting(door)
    signer = await enroll(door)
    csr = for_kem(signer)
    door.now = NOW + timedelta(days=31)
    assert "not good now" in await refusal(door, csr)
    door.now = NOW
    await door.revoke(signer.serial_number, x509.ReasonFlags.superseded, "admin:test")
    assert "not good now" in await refusal(door, csr)


async def test_a_certificate_of_another_subject_or_without_a_name_proves_nothing(door: Door) -> None:
    signer = await enroll(door)
    csr = for_kem(signer)
    other = DistinguishedName.from_text("CN=other")
    assert "for others" in await refusal(door, replace(csr, subject=other))
    assert "for others" in await refusal(door, replace(csr, names=(*csr.names, dns_name("other.test"))))


async def test_a_certificate_whose_names_can_not_be_read_any_more_proves_nothing(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    csr = for_kem(await enroll(door))
    assert csr.statement is not None
    old = await issued_earlier(store, ask(key="old"), monkeypatch)
    named = replace(csr, statement=replace(csr.statement, serial=old.serial_number))
    assert "for others" in await refusal(door, named)


async def test_a_certificate_that_is_not_for_signatures_proves_nothing(door: Door) -> None:
    key = generate_key("rsa:2048")
    decide = door.policy.decide

    def enciphering(request: EnrollmentRequest) -> Decision:
        decision = decide(request)
        assert isinstance(decision, Approved)
        return decision._replace(plan=replace(decision.plan, key_usage=ENCIPHERMENT))

    door._judge._decide = enciphering
    signer = await enroll(door, key=key)
    assert "not for signatures" in await refusal(door, for_kem(signer, key))


async def test_a_key_for_signatures_only_is_not_certified_for_encryption(door: Door) -> None:
    fitting(door)
    signer = await enroll(door)
    door._judge._decide = door.policy.decide  # which says digitalSignature
    outcome = await door.submit(replace(ask("kem"), csr=for_kem(signer)))
    assert isinstance(outcome, Refused)
    assert outcome.problem.reason is not Reason.BAD_PROOF
