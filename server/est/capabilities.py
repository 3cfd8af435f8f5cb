"""What a device can decrypt, by the SMIMECapabilities in its request (RFC 7030 section 4.4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca import der
from server.cms.algorithms import (
    PKCS1,
    RSA_ENCRYPTION,
    RSAES_OAEP,
    AlgorithmIdentifier,
    Cipher,
    Digest,
    KeyTransport,
    UnsupportedAlgorithm,
    transport_of,
)
from server.cms.recipients import AES_CIPHERS, AES_WRAPS, AGREEMENTS, Agreement, usual_agreement
from server.est.messages import Malformed
from server.outcome import Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

_OAEP = KeyTransport((Digest.SHA256, Digest.SHA256))
_WRAP_SIZES = {oid: size for size, oid in AES_WRAPS.items()}
_CONTENT_CIPHERS = frozenset(
    {
        *(cipher.oid for cipher in Cipher),
        "1.2.840.113549.3.2",  # RC2
        "1.2.840.113549.3.4",  # RC4
        "1.2.840.113549.1.9.16.3.18",  # ChaCha20 with Poly1305
        *(f"2.16.840.1.101.3.4.1.{arc}" for arc in (6, 7, 26, 27, 46, 47)),  # AES in GCM and CCM
    }
)
_OTHER_WRAPS = frozenset(
    {
        *(f"1.2.840.113549.1.9.16.3.{arc}" for arc in (6, 7)),  # 3DES, RC2
        *(f"2.16.840.1.101.3.4.1.{arc}" for arc in (8, 28, 48)),  # AES with padding
    }
)
# Ways to agree on a key, taken here or not: one-pass ECDH, with and without cofactor, and MQV (RFC 5753 section 7.1.4),
# ECDH with HKDF (RFC 8418 section 2).
_AGREEMENTS = frozenset(
    {
        *(f"1.3.133.16.840.63.0.{arc}" for arc in (2, 3, 16)),
        *(f"1.3.132.1.{way}.{arc}" for way in (11, 14, 15) for arc in range(4)),
        *(f"1.2.840.113549.1.9.16.3.{arc}" for arc in (19, 20, 21)),
    }
)
_NULL = b"\x05\x00"
_LARGEST_KEY = 32
"""Octets of the largest key that encrypts content."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is listed. A list that names no algorithm of a kind leaves that kind to the server.

    Attributes:
        named: the algorithms, dotted.
        transports: OAEP, with the digests that its parameters name (RFC 3560 section 4).
        wraps: the octets of keys that wrap others: listed by themselves, or beside a way to agree on a key (RFC 5753
            section 8).
    """

    named: frozenset[str] = frozenset()
    transports: tuple[KeyTransport, ...] = ()
    wraps: frozenset[int] = frozenset()

    def transport(self, key: rsa.RSAPublicKey) -> KeyTransport:
        """Return how a content key is encrypted with an RSA key: OAEP before PKCS#1 v1.5. Raises Malformed."""
        nothing = RSAES_OAEP not in self.named and RSA_ENCRYPTION not in self.named
        fitting = [each for each in ((_OAEP,) if nothing else self.transports) if each.holds(key, _LARGEST_KEY)]
        if fitting:
            return max(fitting, key=_digest_size)
        if RSA_ENCRYPTION in self.named:
            return PKCS1
        raise _unknown("The request lists RSAES-OAEP with digests that are not known here, or too large for its key.")

    def agreement(self, key: ec.EllipticCurvePublicKey) -> Agreement:
        """Return how a key is agreed on with an EC key, and what it then wraps with. Raises Malformed."""
        usual = usual_agreement(key)
        listed = self.named & _AGREEMENTS
        known = [each for each in AGREEMENTS if each in listed]
        if listed and not known:
            raise _unknown("The request lists no way to agree on a key that is known here: ECDH with SHA-2.")
        scheme = known[0] if known and usual not in known else usual
        content = self.cipher(self.wraps).key_octets
        if self.wraps_with(content):
            return Agreement(scheme, content)
        if not self.wraps:
            raise _unknown("The request lists no key wrap that is known here: AES without padding.")
        return Agreement(scheme, max(self.wraps))

    def wraps_with(self, octets: int) -> bool:
        """Whether a key of so many octets may wrap another."""
        return octets in self.wraps if self.wraps else not self.named & _OTHER_WRAPS

    def cipher(self, wraps: frozenset[int] = frozenset()) -> Cipher:
        """Return what the content is encrypted with, the strongest AES that is listed. Raises Malformed.

        Args:
            wraps: where no cipher is listed, one with a key of one of these sizes is taken; without any, the strongest.
        """
        known = self.named & _CONTENT_CIPHERS
        for cipher in AES_CIPHERS:
            if cipher.oid in known or (not known and (not wraps or cipher.key_octets in wraps)):
                return cipher
        raise _unknown("Keys are encrypted with AES-CBC, which the request does not list.")


ANY = Capabilities()
"""Nothing is said: what is best is taken."""


def read_capabilities(octets: bytes) -> Capabilities:
    """Read SMIMECapabilities, DER. Raises ValueError, MalformedDer among them.

    Parameters that are not known here make an algorithm one that the device does not have; what the device lists with
    them may be of use to others.
    """
    named: set[str] = set()
    transports: list[KeyTransport] = []
    for each in der.inside(der.read(octets), der.SEQUENCE):
        kind, *rest = der.inside(each, der.SEQUENCE)
        oid = der.read_oid(der.expect(kind, der.OID).content)
        named.add(oid)
        parameters = rest[0].raw if rest and rest[0].raw != _NULL else b""
        if oid == RSAES_OAEP:
            transports += _transport(parameters)
        elif oid in AGREEMENTS and parameters:
            named.add(_wrap(parameters))
    wraps = frozenset(_WRAP_SIZES[oid] for oid in named & _WRAP_SIZES.keys())
    return Capabilities(frozenset(named), tuple(transports), wraps)


def _transport(parameters: bytes) -> list[KeyTransport]:
    """Return OAEP as its parameters say, with SHA-256 where there are none, nothing where they are not known."""
    if not parameters:
        return [_OAEP]
    try:
        return [transport_of(AlgorithmIdentifier(RSAES_OAEP, parameters))]
    except UnsupportedAlgorithm:
        return []


def _wrap(parameters: bytes) -> str:
    """Return the key wrap beside a way to agree on a key, dotted."""
    kind, *_ = der.inside(der.read(parameters), der.SEQUENCE)
    return der.read_oid(der.expect(kind, der.OID).content)


def _digest_size(transport: KeyTransport) -> int:
    return 0 if transport.oaep is None else transport.oaep[0].hash.digest_size


def _unknown(message: str) -> Malformed:
    return Malformed(Reason.BAD_ALGORITHM, message)
