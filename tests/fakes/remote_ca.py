"""What a CA elsewhere does with a CSR: signs it with a profile of its own, under a serial number of its own."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.csr import parse_csr
from ca.issuer import Permit
from tests.fakes.issuer import make_plan

if TYPE_CHECKING:
    from ca.issuer import Issuer

_serials = count(0x7000)


async def sign_for(inner: Issuer, csr: x509.CertificateSigningRequest, **changes: object) -> x509.Certificate:
    """Sign a CSR, its subject and names as they are."""
    asked = parse_csr(csr.public_bytes(Encoding.DER))
    fields: dict[str, object] = {"subject": asked.subject, "names": asked.names, "spki": asked.spki}
    end = inner.chain()[0].not_valid_after_utc
    plan = make_plan(**(fields | changes))
    if plan.not_after > end:
        raise ValueError("longer than the CA")
    serial = next(_serials)
    return x509.load_der_x509_certificate(await inner.issue(Permit("remote", plan, serial), plan, serial))
