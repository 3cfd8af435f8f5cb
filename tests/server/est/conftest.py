"""Certification requests as EST clients make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCsr = Callable[..., bytes]


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
    ) -> bytes:
        builder = x509.CertificateSigningRequestBuilder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        )
        if dns:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, dns)), critical=False)
        if challenge_password is not None:
            builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge_password.encode())
        return builder.sign(key or device_key, hashes.SHA256()).public_bytes(Encoding.DER)

    return make


@pytest.fixture(scope="session")
def csr_der(make_csr: MakeCsr) -> bytes:
    return make_csr()
