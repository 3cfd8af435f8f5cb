"""Requests and replies of SCEP as a client sees them (RFC 8894 section 3, RFC 5652).

Written here and not taken from the server's own CMS code, so that a mistake in one is not hidden by the other.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ca import der
from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

_DATA = der.oid("1.2.840.113549.1.7.1")
_SIGNED_DATA = der.oid("1.2.840.113549.1.7.2")
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SHA256 = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.null())
_RSA = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
MESSAGE_TYPE = "2.16.840.1.113733.1.9.2"
PKI_STATUS = "2.16.840.1.113733.1.9.3"
SENDER_NONCE = "2.16.840.1.113733.1.9.5"
TRANSACTION_ID = "2.16.840.1.113733.1.9.7"
SUCCESS = der.sequence(der.oid(PKI_STATUS), der.set_of(der.printable("0")))
"""The attribute that a CertRep with a certificate has (RFC 8894 section 3.2.1.3)."""


@dataclass(frozen=True, slots=True)
class CertRep:
    """A reply.

    Attributes:
        attributes: the signed attributes that are text, by type in dotted form.
        content: what was signed: an EnvelopedData where there is success, else nothing.
    """

    attributes: dict[str, str]
    content: bytes


def envelope(csr: bytes, recipient: x509.Certificate) -> bytes:
    """Return the CSR encrypted for the RA (RFC 8894 section 3.2.2)."""
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(csr).set_content_encryption_algorithm(AES128)
    return builder.add_recipient(recipient).encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def pkcs_req(content: bytes, key: rsa.RSAPrivateKey, signer: x509.Certificate, *, transaction: str) -> bytes:
    """Return the signed message (RFC 8894 section 3.2, messageType 19)."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    attributes = [
        _attribute(_CONTENT_TYPE, _DATA),
        _attribute(_MESSAGE_DIGEST, der.octet_string(digest.finalize())),
        _attribute(MESSAGE_TYPE, der.printable("19")),
        _attribute(TRANSACTION_ID, der.printable(transaction)),
        _attribute(SENDER_NONCE, der.octet_string(secrets.token_bytes(16))),
    ]
    signed = der.set_of(*attributes)
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    signer_info = der.sequence(
        der.integer(1),
        der.sequence(signer.issuer.public_bytes(), der.integer(signer.serial_number)),
        _SHA256,
        # RFC 5652 section 5.4: signed as a SET, sent as [0] IMPLICIT
        der.tlv(der.context(0), der.read(signed).content),
        _RSA,
        der.octet_string(signature),
    )
    signed_data = der.sequence(
        der.integer(1),
        der.set_of(_SHA256),
        der.sequence(_DATA, der.tlv(der.context(0), der.octet_string(content))),
        der.tlv(der.context(0), signer.public_bytes(Encoding.DER)),
        der.set_of(signer_info),
    )
    return der.sequence(_SIGNED_DATA, der.tlv(der.context(0), signed_data))


def certificates(message: bytes) -> list[x509.Certificate]:
    """Return the certificates of a certs-only message, in its order. Raises EnrollmentFailed.

    By hand, because the issued one stands first (RFC 8894 section 3.3.2.1), which is no DER, and readers for DER mind.
    """
    try:
        sets = [each for each in _signed_data(message) if each.tag == der.context(0)]
        return [x509.load_der_x509_certificate(each.raw) for found in sets for each in der.children(found, ber=True)]
    except (ValueError, IndexError) as error:
        raise EnrollmentFailed("no certificates that can be read") from error


def cert_rep(message: bytes) -> CertRep:
    """Read a reply. Raises EnrollmentFailed. The signature is left to the tests with other clients."""
    try:
        signed_data = _signed_data(message)
        content_info = der.children(signed_data[2], ber=True)
        signer_info = der.children(der.children(signed_data[-1], ber=True)[0], ber=True)
        content = der.octets(der.children(content_info[1], ber=True)[0], ber=True) if len(content_info) > 1 else b""
        return CertRep(dict(_texts(signer_info[3])), content)
    except (der.MalformedDer, IndexError, ValueError) as error:
        raise EnrollmentFailed("the reply is no CertRep") from error


def _signed_data(message: bytes) -> list[der.Tlv]:
    """Return the elements of a ContentInfo's SignedData. Raises MalformedDer or IndexError."""
    explicit = der.children(der.read(message, ber=True), ber=True)[1]
    return der.children(der.children(explicit, ber=True)[0], ber=True)


def _attribute(kind: str, value: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of(value))


def _texts(attributes: der.Tlv) -> list[tuple[str, str]]:
    found = []
    for attribute in der.children(attributes, ber=True):
        kind, values = der.children(attribute, ber=True)
        value = der.children(values, ber=True)[0]
        if value.tag in {der.PRINTABLE_STRING, der.UTF8_STRING}:
            found.append((der.read_oid(kind.content), der.read_text(value)))
    return found
