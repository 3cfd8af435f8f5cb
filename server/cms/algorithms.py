"""The algorithms that CMS messages may name, closed enumerations with their object identifiers.

What is not here can't be used. MD5 and single DES (RFC 8894 section 2.9: MUST NOT) are, for devices that know nothing
else; who uses this module decides what to accept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from ca import der

RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
RSAES_OAEP = "1.2.840.113549.1.1.7"
RSASSA_PSS = "1.2.840.113549.1.1.10"
EC_PUBLIC_KEY = "1.2.840.10045.2.1"
PKCS1_PADDING = padding.PKCS1v15()
RSA_IDENTIFIER = der.sequence(der.oid(RSA_ENCRYPTION), der.null())
"""The AlgorithmIdentifier of ``rsaEncryption``, encoded."""
_MGF1 = "1.2.840.113549.1.1.8"
_P_SPECIFIED = "1.2.840.113549.1.1.9"


class MalformedCms(ValueError):
    """Not a CMS message of the expected kind. The text is safe to show to the requester."""


class UnsupportedAlgorithm(ValueError):
    """The message names an algorithm that is unknown or not accepted. The text is safe to show to the requester."""


class AlgorithmIdentifier(NamedTuple):
    """An AlgorithmIdentifier: its type in dotted form and the encoded parameters, empty when absent."""

    oid: str
    parameters: bytes


_HASHES: dict[str, hashes.HashAlgorithm] = {
    "MD5": hashes.MD5(),  # noqa: S303 - for devices that know nothing else, off and dangerous by name
    "SHA-1": hashes.SHA1(),  # noqa: S303 - a per-endpoint switch for legacy clients, off by default
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}


class Digest(Enum):
    """A digest algorithm: label, object identifier, and those of RSA and ECDSA signatures with it.

    Attributes:
        hash: the algorithm as ``cryptography`` names it.
    """

    MD5 = ("MD5", "1.2.840.113549.2.5", "1.2.840.113549.1.1.4", "")
    SHA1 = ("SHA-1", "1.3.14.3.2.26", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1")
    SHA256 = ("SHA-256", "2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2")
    SHA384 = ("SHA-384", "2.16.840.1.101.3.4.2.2", "1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3")
    SHA512 = ("SHA-512", "2.16.840.1.101.3.4.2.3", "1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4")

    def __init__(self, label: str, oid: str, rsa_oid: str, ecdsa_oid: str) -> None:
        self.label = label
        self.oid = oid
        self.rsa_oid = rsa_oid
        self.ecdsa_oid = ecdsa_oid
        self.hash = _HASHES[label]
        self._identifier = der.sequence(der.oid(oid))
        self._hashed = getattr(hashlib, label.replace("-", "").lower())

    __hash__ = object.__hash__  # each is there once, and is looked up more often than any other enumeration

    def digest(self, content: bytes) -> bytes:
        """Return the digest of some octets."""
        octets: bytes = self._hashed(content, usedforsecurity=False).digest()
        return octets

    def identifier(self) -> bytes:
        """Return the encoded AlgorithmIdentifier, without parameters (RFC 5754 section 2)."""
        return self._identifier


class Cipher(Enum):
    """A content encryption algorithm: label, object identifier, octets of the key and of a block."""

    AES128 = ("AES-128-CBC", "2.16.840.1.101.3.4.1.2", 16, 16)
    AES192 = ("AES-192-CBC", "2.16.840.1.101.3.4.1.22", 24, 16)
    AES256 = ("AES-256-CBC", "2.16.840.1.101.3.4.1.42", 32, 16)
    DES3 = ("3DES-CBC", "1.2.840.113549.3.7", 24, 8)
    DES = ("DES-CBC", "1.3.14.3.2.7", 8, 8)

    def __init__(self, label: str, oid: str, key_octets: int, block_octets: int) -> None:
        self.label = label
        self.oid = oid
        self.key_octets = key_octets
        self.block_octets = block_octets

    __hash__ = object.__hash__

    def keyed(self, key: bytes) -> AES | TripleDES:
        """Return the algorithm with its key, of exactly ``key_octets``."""
        if self is Cipher.DES:
            return TripleDES(key * 3)  # three times the same is single DES
        return TripleDES(key) if self is Cipher.DES3 else AES(key)


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """How a content key is encrypted with RSA: PKCS#1 v1.5, or OAEP with its two digests.

    Attributes:
        oaep: the digests of the hash and of MGF1; None for PKCS#1 v1.5.
    """

    oaep: tuple[Digest, Digest] | None = None

    def padding(self) -> padding.AsymmetricPadding:
        """Return the padding as ``cryptography`` names it."""
        if self.oaep is None:
            return PKCS1_PADDING
        hashed, masked = self.oaep
        return padding.OAEP(mgf=padding.MGF1(masked.hash), algorithm=hashed.hash, label=None)

    def holds(self, key: rsa.RSAPublicKey, octets: int) -> bool:
        """Whether so many octets can be encrypted with a key (RFC 8017 sections 7.1.1 and 7.2.1)."""
        overhead = 11 if self.oaep is None else 2 * self.oaep[0].hash.digest_size + 2
        return octets + overhead <= (key.key_size + 7) // 8

    def identifier(self) -> bytes:
        """Return the encoded AlgorithmIdentifier (RFC 8017 appendix A.2.1; defaults are left out)."""
        if self.oaep is None:
            return RSA_IDENTIFIER
        hashed, masked = self.oaep
        parameters = []
        if hashed is not Digest.SHA1:
            parameters.append(der.tlv(0xA0, _with_null(hashed)))
        if masked is not Digest.SHA1:
            parameters.append(der.tlv(0xA1, der.sequence(der.oid(_MGF1), _with_null(masked))))
        return der.sequence(der.oid(RSAES_OAEP), der.sequence(*parameters))


PKCS1 = KeyTransport()

_DIGESTS = {digest.oid: digest for digest in Digest}
_CIPHERS = {cipher.oid: cipher for cipher in Cipher}
_SIGNATURE_DIGESTS = {oid: digest for digest in Digest for oid in (digest.rsa_oid, digest.ecdsa_oid) if oid}
_KNOWN_BY_NAME = {
    "1.2.840.113549.2.2": "MD2",
    "2.16.840.1.101.3.4.2.4": "SHA-224",
    "1.2.840.113549.3.2": "RC2-CBC",
    "1.2.840.113549.3.4": "RC4",
}


def _with_null(digest: Digest) -> bytes:
    # RFC 8017 appendix B.1: inside RSA parameters the NULL should be there.
    return der.sequence(der.oid(digest.oid), der.null())


def label_of(oid: str) -> str:
    """Return what people call an algorithm, or its object identifier."""
    return _KNOWN_BY_NAME.get(oid, oid)


def read_identifier(element: der.Tlv) -> AlgorithmIdentifier:
    """Read an AlgorithmIdentifier. Raises MalformedDer."""
    return _identifier(der.expect(element, der.SEQUENCE).content)


@lru_cache(maxsize=256)
def _identifier(content: bytes) -> AlgorithmIdentifier:
    parts = der.elements(content, ber=True)
    if not 1 <= len(parts) <= 2:
        raise der.MalformedDer("not an algorithm identifier")
    oid = der.dotted(parts[0])
    return AlgorithmIdentifier(oid, parts[1].raw if len(parts) > 1 else b"")


def digest_of(identifier: AlgorithmIdentifier) -> Digest:
    """Return the digest algorithm. Raises UnsupportedAlgorithm."""
    digest = _DIGESTS.get(identifier.oid)
    if digest is None:
        raise UnsupportedAlgorithm(f"the digest algorithm {label_of(identifier.oid)} is not accepted")
    return digest


def signature_digest(identifier: AlgorithmIdentifier) -> Digest | None:
    """Return the digest that a signature algorithm names, None when it names none (``rsaEncryption``)."""
    return _SIGNATURE_DIGESTS.get(identifier.oid)


def cipher_of(identifier: AlgorithmIdentifier) -> Cipher:
    """Return the content encryption algorithm. Raises UnsupportedAlgorithm."""
    cipher = _CIPHERS.get(identifier.oid)
    if cipher is None:
        raise UnsupportedAlgorithm(f"the content encryption {label_of(identifier.oid)} is not accepted")
    return cipher


def transport_of(identifier: AlgorithmIdentifier) -> KeyTransport:
    """Return the key transport algorithm. Raises UnsupportedAlgorithm and MalformedDer."""
    if identifier.oid == RSA_ENCRYPTION:
        return PKCS1
    if identifier.oid != RSAES_OAEP:
        raise UnsupportedAlgorithm(f"the key transport {identifier.oid} is not accepted")
    hashed = masked = Digest.SHA1
    for field in _parameters(identifier):
        if field.tag == 0xA0:
            hashed = _rsa_digest(read_identifier(_only(field)))
        elif field.tag == 0xA1:
            masked = _mgf1_digest(_only(field))
        elif field.tag == 0xA2:
            _expect_empty_label(_only(field))
        else:
            raise der.MalformedDer("an unknown field in OAEP parameters")
    return KeyTransport((hashed, masked))


def pss_of(identifier: AlgorithmIdentifier) -> tuple[Digest, padding.PSS]:
    """Return digest and padding of an RSASSA-PSS identifier. Raises UnsupportedAlgorithm and MalformedDer."""
    hashed = masked = Digest.SHA1
    salt = 20
    for field in _parameters(identifier):
        if field.tag == 0xA0:
            hashed = _rsa_digest(read_identifier(_only(field)))
        elif field.tag == 0xA1:
            masked = _mgf1_digest(_only(field))
        elif field.tag == 0xA2:
            salt = der.read_integer(der.expect(_only(field), der.INTEGER))
        elif field.tag != 0xA3 or der.read_integer(_only(field)) != 1:
            raise der.MalformedDer("an unknown field in PSS parameters")
    if not 0 <= salt <= 512:
        raise der.MalformedDer("a PSS salt of impossible length")
    return hashed, padding.PSS(padding.MGF1(masked.hash), salt)


def _rsa_digest(identifier: AlgorithmIdentifier) -> Digest:
    """Return a digest inside of OAEP and PSS, which are younger than any excuse for MD5."""
    digest = digest_of(identifier)
    if digest is Digest.MD5:
        raise UnsupportedAlgorithm("MD5 is not accepted in OAEP and PSS")
    return digest


def _parameters(identifier: AlgorithmIdentifier) -> list[der.Tlv]:
    if not identifier.parameters:
        return []
    return der.inside(der.read(identifier.parameters, ber=True), der.SEQUENCE, ber=True)


def _only(element: der.Tlv) -> der.Tlv:
    inside = der.children(element, ber=True)
    if len(inside) != 1:
        raise der.MalformedDer("one element expected")
    return inside[0]


def _mgf1_digest(element: der.Tlv) -> Digest:
    identifier = read_identifier(element)
    if identifier.oid != _MGF1:
        raise UnsupportedAlgorithm(f"the mask generation {identifier.oid} is not accepted")
    if not identifier.parameters:
        return Digest.SHA1
    return _rsa_digest(read_identifier(der.read(identifier.parameters, ber=True)))


def _expect_empty_label(element: der.Tlv) -> None:
    identifier = read_identifier(element)
    if identifier.oid != _P_SPECIFIED or identifier.parameters not in {b"", b"\x04\x00"}:
        raise UnsupportedAlgorithm("an OAEP label is not accepted")
