"""Certification requests made by hand, so that each part of them can be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from ca.ceremony import generate_key
from ca.statement import STATEMENT_OF_POSSESSION
from ca.tbs import IssuerProfile
from ca.tbs import signer as sign_with
from tests.fakes.issuer import spki_of

if TYPE_CHECKING:
    from ca.tbs import SigningKey

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
    return der.sequence(info, algorithm, signature or der.bit_string(sign_with(KEY)(info)))


def stated(spki: bytes, signer_key: SigningKey, signer: x509.Certificate, *, certificate: bool = False) -> bytes:
    """Make a request for a key that can't sign, with the subject and names of the certificate of one that has signed.

    Args:
        spki: DER of the key.
        signer_key: the key that signs, by the certificate (RFC 9883).
        signer: its certificate.
        certificate: whether it goes along.
    """
    whose = der.sequence(signer.issuer.public_bytes(), der.integer(signer.serial_number))
    along = (signer.public_bytes(Encoding.DER),) if certificate else ()
    statement = attribute(STATEMENT_OF_POSSESSION, der.sequence(whose, *along))
    asked: tuple[bytes, ...]
    try:
        san = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        asked = (extensions(extension("2.5.29.17", san.public_bytes())),)
    except x509.ExtensionNotFound:
        asked = ()
    subject, algorithm = signer.subject.public_bytes(), IssuerProfile.of(signer).algorithm
    info = der.sequence(b"\x02\x01\x00", subject, spki, der.tlv(0xA0, statement, *asked))
    return der.sequence(info, algorithm, der.bit_string(sign_with(signer_key)(info)))
