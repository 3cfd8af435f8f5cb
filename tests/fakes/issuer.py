"""A CA for tests, plans for it to sign, and an issuer that fails when told to."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ca import ceremony
from ca.backends.local import LocalIssuer
from ca.csr import parse_with_secret
from ca.names import DistinguishedName, dns_name, to_x509
from ca.plan import CertificatePlan, KeyUsage

if TYPE_CHECKING:
    from ca.issuer import Permit
    from ca.tbs import SigningKey

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make_issuer(kind: str = "P-256", now: datetime = NOW) -> LocalIssuer:
    root = ceremony.make_root(DistinguishedName.from_text("CN=Test Root"), now=now, key=ceremony.generate_key(kind))
    subject = DistinguishedName.from_text("CN=Test Issuing CA,O=Test")
    issuing = ceremony.make_issuing_ca(root, subject, now=now, key=ceremony.generate_key(kind))
    return LocalIssuer(issuing.key, issuing.certificate, (root.certificate,))


_KEYS: dict[bytes, SigningKey] = {}


def spki_of(key: SigningKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    spki = key.public_key().public_bytes(serialization.Encoding.DER, form)
    _KEYS[spki] = key
    return spki


def csr_of(plan: CertificatePlan) -> bytes:
    """Make the request that a plan may have come from, for a key whose `spki_of` was asked."""
    key = _KEYS[plan.spki]
    builder = x509.CertificateSigningRequestBuilder().subject_name(plan.subject.to_x509())
    if plan.names:
        names = x509.SubjectAlternativeName(map(to_x509, plan.names))
        builder = builder.add_extension(names, critical=not plan.subject)
    made = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def make_plan(**changes: object) -> CertificatePlan:
    fields: dict[str, object] = {
        "issuer": "issuing",
        "profile": "device",
        "policy_digest": "0" * 64,
        "subject": DistinguishedName.from_text("CN=Pump 17,O=Test"),
        "names": (dns_name("pump-17.test"), dns_name("pump.test")),
        "spki": changes.get("spki") or spki_of(ceremony.generate_key("P-256")),
        "not_before": NOW,
        "not_after": NOW + timedelta(days=90),
        "key_usage": frozenset({KeyUsage.DIGITAL_SIGNATURE}),
        "extended_key_usage": ("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"),
    }
    return CertificatePlan(**(fields | changes))  # type: ignore[arg-type] # a test that mistypes a field fails anyway


class FakeIssuer:
    """Signs like the issuer inside, but first raises each of `failures` once; `issued` lists the requests signed."""

    def __init__(self, inner: LocalIssuer) -> None:
        self.inner = inner
        self.failures: deque[Exception] = deque()
        self.issued: list[str] = []

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        if self.failures:
            raise self.failures.popleft()
        certificate = await self.inner.issue(permit, plan, serial)
        self.issued.append(permit.request_id)
        return certificate

    def chain(self) -> tuple[x509.Certificate, ...]:
        return self.inner.chain()


def with_challenge() -> tuple[CertificatePlan, bytes]:
    """Make a request as the record has it after a SCEP enrollment with a challenge password, and its plan."""
    key = ec.generate_private_key(ec.SECP256R1())
    plan = make_plan(spki=spki_of(key))
    builder = x509.CertificateSigningRequestBuilder().subject_name(plan.subject.to_x509())
    builder = builder.add_extension(x509.SubjectAlternativeName(map(to_x509, plan.names)), critical=False)
    builder = builder.add_attribute(x509.ObjectIdentifier("1.2.840.113549.1.9.7"), b"secret")
    sent = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return plan, parse_with_secret(sent)[1].der
