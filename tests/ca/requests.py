"""Certification requests made by hand, so that each part of them can be wrong."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from ca import der
from ca.ceremony import generate_key
from ca.tbs import signer
from tests.fakes.issuer import spki_of

ECDSA_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"))
KEY = generate_key("P-256")
assert isinstance(KEY, ec.EllipticCurvePrivateKey)
SUBJECT = der.sequence(der.set_of(der.sequence(der.oid("2.5.4.3"), der.utf8("Pump 17"))))
PKCS9_EXTENSIONS = "1.2.840.113549.1.9.14"
VERISIGN_EXTENSIONS = "2.16.840.1.113733.1.9.8"


def attribute(kind: str, *values: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of(*values))


def challenge(text: bytes) -> bytes:
    return attribute("1.2.840.113549.1.9.7", text)


def extension(kind: str, value: bytes, *flag: bytes) -> bytes:
    return der.sequence(der.oid(kind), *flag, der.octet_string(value))


def names(*general: bytes) -> bytes:
    return extension("2.5.29.17", der.sequence(*general))


def extensions(*requested: bytes, kind: str = PKCS9_EXTENSIONS) -> bytes:
    return attribute(kind, der.sequence(*requested))


def request(
    *attributes: bytes,
    version: bytes = b"\x02\x01\x00",
    subject: bytes = SUBJECT,
    spki: bytes | None = None,
    algorithm: bytes = ECDSA_SHA256,
    signature: bytes | None = None,
) -> bytes:
    info = der.sequence(version, subject, spki or spki_of(KEY), der.tlv(0xA0, *attributes))
    return der.sequence(info, algorithm, signature or der.bit_string(signer(KEY)(info)))
