"""Certification requests as EST clients make them, and the certificate that a client got before."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID

from ca.names import names_of, subject_of
from policies.request import CertificateEvidence, EndpointName, Protocol
from server.store.certificates import StoredCertificate

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCsr = Callable[..., bytes]

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def device_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def make_csr(device_key: ec.EllipticCurvePrivateKey) -> MakeCsr:
    """Return a function that makes the DER of a request."""

    def make(
        common_name: str = "pump-17",
        dns: tuple[str, ...] = ("pump-17.example",),
        *,
        challenge_password: str | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        purposes: tuple[x509.ObjectIdentifier, ...] = (),
    ) -> bytes:
        builder = x509.CertificateSigningRequestBuilder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        )
        if dns:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, dns)), critical=False)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if challenge_password is not None:
            builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge_password.encode())
        return builder.sign(key or device_key, hashes.SHA256()).public_bytes(Encoding.DER)

    return make


@pytest.fixture(scope="session")
def csr_der(make_csr: MakeCsr) -> bytes:
    return make_csr()


@pytest.fixture(scope="session")
def certificate(device_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The certificate for the names of `csr_der`, at its end a day after NOW."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pump-17")])  # other case, same name
    return (
        x509.CertificateBuilder(name, name, device_key.public_key(), 0xABC)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 11, 22, 12, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pump-17.example")]), critical=False)
        .sign(device_key, hashes.SHA256())
    )


@pytest.fixture(scope="session")
def known(certificate: x509.Certificate) -> tuple[CertificateEvidence, StoredCertificate]:
    """What the credentials say of that certificate when it stands."""
    der = certificate.public_bytes(Encoding.DER)
    endpoint = EndpointName(Protocol.EST, "default")
    end = certificate.not_valid_after_utc
    evidence = CertificateEvidence(
        subject_of(certificate), names_of(certificate), 0xABC, end, "own", "iot-device", endpoint
    )
    stored = StoredCertificate(
        serial=0xABC,
        issuer="issuing",
        der=der,
        fingerprint=sha256(der).digest(),
        endpoint=endpoint,
        profile="iot-device",
        requester="password:pump",
        subject="CN=Pump-17",
        names=("dns:pump-17.example",),
        not_before=certificate.not_valid_before_utc,
        not_after=end,
        issued_at=certificate.not_valid_before_utc,
        revoked_at=None,
        revocation_reason=None,
        request_id="first",
        renews=None,
    )
    return evidence, stored
