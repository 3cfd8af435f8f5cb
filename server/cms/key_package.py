"""A private key on its way to its owner: AsymmetricKeyPackage (RFC 5958) in SignedData, write only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ca import der
from server.cms.algorithms import RSA_IDENTIFIER, Digest
from server.cms.signed import CONTENT_TYPE, MESSAGE_DIGEST
from server.cms.signing import attribute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.cms.certificates import BagCertificate

KEY_PACKAGE = "2.16.840.1.101.2.1.2.78.5"
"""id-ct-KP-aKeyPackage."""

GeneratorKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def sign_key_package(pkcs8: bytes, key: GeneratorKey, chain: Sequence[BagCertificate]) -> bytes:
    """Return the DER of SignedData, without ContentInfo, by whoever made the key (RFC 7030 section 4.4.2).

    Args:
        pkcs8: DER of the PrivateKeyInfo.
        key: the signer's key.
        chain: the signer's certificate and those above it.
    """
    content, digest, signer = der.sequence(pkcs8), Digest.SHA256, chain[0]
    attributes = der.set_of(
        attribute(CONTENT_TYPE, der.oid(KEY_PACKAGE)),
        attribute(MESSAGE_DIGEST, der.octet_string(digest.digest(content))),
    )
    if isinstance(key, rsa.RSAPrivateKey):
        algorithm, signature = RSA_IDENTIFIER, key.sign(attributes, padding.PKCS1v15(), digest.hash)
    else:
        algorithm, signature = der.sequence(der.oid(digest.ecdsa_oid)), key.sign(attributes, ec.ECDSA(digest.hash))
    info = der.sequence(
        der.integer(1),
        der.sequence(signer.issuer, signer.serial),
        digest.identifier(),
        bytes((0xA0,)) + attributes[1:],
        algorithm,
        der.octet_string(signature),
    )
    return der.sequence(
        der.integer(3),  # RFC 5652 section 5.1: for content other than data
        der.set_of(digest.identifier()),
        der.sequence(der.oid(KEY_PACKAGE), der.tlv(0xA0, der.octet_string(content))),
        der.tlv(0xA0, *sorted(each.der for each in chain)),
        der.set_of(info),
    )
