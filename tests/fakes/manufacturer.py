"""Another party's CA, the certificates that it puts into devices, and its CRLs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from server.clock import system_clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=system_clock().tzinfo)  # what IDevIDs have
YESTERDAY = system_clock() - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Made:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, path: Path) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def crl(self, path: Path, *revoked: x509.Certificate, **changes: object) -> Path:
        """Write a CRL of this CA that names these certificates."""
        begin, end = changes.get("begin", YESTERDAY), changes.get("end", YESTERDAY + timedelta(days=7))
        builder = x509.CertificateRevocationListBuilder(self.certificate.subject, begin, end)  # type: ignore[arg-type]
        for one in revoked:
            entry = x509.RevokedCertificateBuilder(one.serial_number, YESTERDAY).build()
            builder = builder.add_revoked_certificate(entry)
        if "extension" in changes:
            builder = builder.add_extension(changes["extension"], critical=True)  # type: ignore[arg-type]
        signer = changes.get("key", self.key)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]
        return path


def make(
    name: str,
    issuer: Made | None = None,
    *,
    ca: bool | None = False,
    begin: datetime = YESTERDAY,
    end: datetime = FOREVER,
    serial: int | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Made:
    """Make a certificate, by itself a root; `ca` None leaves out the extension that says so."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    above = issuer.certificate.subject if issuer else subject
    number = serial or x509.random_serial_number()
    builder = x509.CertificateBuilder(above, subject, key.public_key(), number, begin, end)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Made(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)
