"""SignedData with one signer and signed attributes (RFC 5652 section 5): write.

In two steps where the signature in between is made by a key that lives elsewhere; in one where the key is at hand.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ca import der
from server.cms.algorithms import RSA_IDENTIFIER, Digest
from server.cms.certificates import DATA, SIGNED_DATA, BagCertificate, content_info
from server.cms.signed import CONTENT_TYPE, MESSAGE_DIGEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def attribute(oid: str, value: bytes) -> bytes:
    """Return an encoded attribute of one encoded value."""
    return der.sequence(der.oid(oid), der.tlv(der.SET, value))


def octets_attribute(oid: str, octets: bytes) -> bytes:
    """Return an encoded attribute of one OCTET STRING."""
    return _before_octets(oid, len(octets)) + octets


@lru_cache(maxsize=256)  # there are few types, and values of few lengths
def _before_octets(oid: str, length: int) -> bytes:
    whole = attribute(oid, der.octet_string(bytes(length)))
    return whole[: len(whole) - length]


_DATA = der.oid(DATA)
_CONTENT_IS_DATA = attribute(CONTENT_TYPE, der.oid(DATA))


def signed_attributes(attributes: Sequence[bytes], content: bytes | None, digest: Digest) -> bytes:
    """Return the SET of attributes to be signed, in DER order, content type and message digest added.

    Args:
        attributes: what `attribute` returned for each.
        content: the content, None when absent: the digest is that of no octets.
        digest: the digest algorithm.
    """
    message_digest = octets_attribute(MESSAGE_DIGEST, digest.digest(content or b""))
    return der.set_of(_CONTENT_IS_DATA, message_digest, *attributes)


def write_signed(
    content: bytes | None, attributes: bytes, signature: bytes, digest: Digest, signer: BagCertificate
) -> bytes:
    """Return a ContentInfo with SignedData of one RSA signer, whose certificate is in the bag.

    The signature algorithm is written as ``rsaEncryption``, which CMS allows (RFC 3370 section 3.2) and which old
    clients insist on.

    Args:
        content: the content of type data; None leaves it out, empty octets are written as an empty OCTET STRING.
        attributes: what `signed_attributes` returned.
        signature: over ``attributes``, PKCS#1 v1.5.
        digest: the digest algorithm of the signature and of the content.
        signer: the signer's certificate.
    """
    identified, digests, bag = _about(signer, digest)
    info = der.sequence(identified, b"\xa0", attributes[1:], RSA_IDENTIFIER, der.octet_string(signature))
    octets = b"" if content is None else der.tlv(0xA0, der.octet_string(content))
    encapsulated = der.sequence(_DATA, octets)
    return content_info(SIGNED_DATA, der.sequence(digests, encapsulated, bag, der.tlv(der.SET, info)))


@lru_cache(maxsize=16)  # the server's own certificates sign, again and again
def _about(signer: BagCertificate, digest: Digest) -> tuple[bytes, bytes, bytes]:
    """Return what is the same in all that one signs: the SignerInfo up to its attributes, the head, the bag."""
    version = der.integer(1)
    identified = version + der.sequence(signer.issuer, signer.serial) + digest.identifier()
    return identified, version + der.set_of(digest.identifier()), der.tlv(0xA0, signer.der)


def sign_content(
    content_type: str,
    content: bytes,
    key: SigningKey,
    chain: Sequence[BagCertificate],
    *,
    certificates: Iterable[bytes] = (),
    crls: Iterable[bytes] = (),
) -> bytes:
    """Return the DER of SignedData, without ContentInfo, around content of a type other than data.

    Args:
        content_type: of the content, dotted.
        content: its DER.
        key: the signer's key.
        chain: the signer's certificate and those above it.
        certificates: other DER certificates for the bag.
        crls: DER revocation lists.
    """
    digest, signer = Digest.SHA256, chain[0]
    attributes = der.set_of(
        attribute(CONTENT_TYPE, der.oid(content_type)),
        octets_attribute(MESSAGE_DIGEST, digest.digest(content)),
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
    bag, lists = {*certificates, *(each.der for each in chain)}, sorted(crls)
    return der.sequence(
        der.integer(3),  # RFC 5652 section 5.1: for content other than data
        der.set_of(digest.identifier()),
        der.sequence(der.oid(content_type), der.tlv(0xA0, der.octet_string(content))),
        der.tlv(0xA0, *sorted(bag)),
        der.tlv(0xA1, *lists) if lists else b"",
        der.set_of(info),
    )
