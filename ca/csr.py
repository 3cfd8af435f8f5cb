"""PKCS#10 certification requests (RFC 2986): parsed once, completely, with proof of possession."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    from ca.names import DistinguishedName, GeneralName

    SubjectKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class MalformedCsr(ValueError):
    """Not a certification request that can be judged. The text is safe to show to the requester."""


class UnsupportedKey(MalformedCsr):
    """The public key is of a kind or size that nothing here can work with."""


class BadProof(MalformedCsr):
    """The request's own signature does not verify: no proof of possession."""


class Proof(StrEnum):
    """How possession of the private key was proven; on record with each request."""

    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class KeyShape:
    """What a policy may know of a public key: ``rsa`` with its bits, ``ec`` with its curve, or ``ed25519``.

    Attributes:
        kind: ``rsa``, ``ec`` or ``ed25519``.
        bits: modulus or field size.
        curve: ``P-256``, ``P-384``, ``P-521`` for ``ec``, else None.
    """

    kind: str
    bits: int
    curve: str | None = None

    def __str__(self) -> str:
        return f"ec:{self.curve}" if self.curve else (f"rsa:{self.bits}" if self.kind == "rsa" else self.kind)


@dataclass(frozen=True, slots=True)
class RequestedExtension:
    """An extension as requested: type in dotted form, criticality, DER of the value."""

    oid: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class RequestedAttribute:
    """A PKCS#10 attribute other than extensionRequest and challengePassword: type in dotted form, DER of its values."""

    oid: str
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Csr:
    """A parsed request whose proof of possession holds.

    Attributes:
        der: the request as received.
        subject: the requested subject.
        spki: DER of the SubjectPublicKeyInfo.
        key: the loaded public key.
        key_shape: kind and size of the key.
        names: the requested subjectAltName, in order, repetitions kept.
        extensions: every requested extension, subjectAltName included, in order.
        attributes: every other attribute, in order.
        challenge_password: the challengePassword attribute, None when absent.
        proof: how possession was proven.
    """

    der: bytes
    subject: DistinguishedName
    spki: bytes
    key: SubjectKey
    key_shape: KeyShape
    names: tuple[GeneralName, ...]
    extensions: tuple[RequestedExtension, ...]
    attributes: tuple[RequestedAttribute, ...]
    challenge_password: str | None
    proof: Proof = Proof.SIGNATURE
