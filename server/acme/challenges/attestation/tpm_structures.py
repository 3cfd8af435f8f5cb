"""What an attestation holds of TPM 2.0 (Library, part 2: TPMT_PUBLIC, TPMS_ATTEST, TPMT_SIGNATURE)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.acme.challenges.attestation.signatures import ES256, PS256, RS256
from server.acme.challenges.attestation.vocabulary import BadStatement

if TYPE_CHECKING:
    from collections.abc import Callable

RSA, ECC, NULL = 0x0001, 0x0023, 0x0010
SHA256 = 0x000B
RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018
FIXED_TPM, FIXED_PARENT, DATA_ORIGIN, SIGN = 1 << 1, 1 << 4, 1 << 5, 1 << 18
"""Bits of TPMA_OBJECT."""
GENERATED, CERTIFY = 0xFF544347, 0x8017
"""TPM_GENERATED_VALUE: made by a TPM, not from outside; TPM_ST_ATTEST_CERTIFY."""

_NAME_HASHES = {SHA256: hashlib.sha256, 0x000C: hashlib.sha384, 0x000D: hashlib.sha512}
_CURVES: dict[int, Callable[[], ec.EllipticCurve]] = {3: ec.SECP256R1, 4: ec.SECP384R1, 5: ec.SECP521R1}
_WITH_HASH = {RSASSA, RSAPSS, 0x0017, ECDSA, 0x001B, 0x001C}
"""Schemes that are followed by a hash: RSASSA, RSAPSS, OAEP, ECDSA, SM2, ECSCHNORR."""
_SIGNATURES = {RS256: RSASSA, PS256: RSAPSS, ES256: ECDSA}
_DEFAULT_EXPONENT = 65537


class _Reader:
    """Big-endian numbers and sized buffers, one after the other. Raises BadStatement at the end of the octets."""

    def __init__(self, octets: bytes, what: str) -> None:
        self._octets = octets
        self._what = what

    def octets(self, count: int) -> bytes:
        taken, self._octets = self._octets[:count], self._octets[count:]
        if len(taken) < count:
            raise BadStatement(f"{self._what} is cut off")
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.octets(count))

    def sized(self) -> bytes:
        return self.octets(self.number(2))

    def end(self) -> None:
        if self._octets:
            raise BadStatement(f"{self._what} has octets behind its end")


@dataclass(frozen=True, slots=True)
class PublicArea:
    """A public area: the attributes of the object, DER of its key, and the name by which a TPM calls it."""

    attributes: int
    spki: bytes
    name: bytes


@dataclass(frozen=True, slots=True)
class Certified:
    """What a TPM has certified: what it was asked to put in, and the name of the object."""

    extra: bytes
    name: bytes


def decode_public(octets: bytes) -> PublicArea:
    """Return a TPMT_PUBLIC with an RSA or EC key. Raises BadStatement."""
    reader = _Reader(octets, "pubArea")
    type_, hash_ = reader.number(2), reader.number(2)
    if type_ not in {RSA, ECC} or hash_ not in _NAME_HASHES:
        raise BadStatement("pubArea has a type or a hash that is not taken")
    attributes = reader.number(4)
    reader.sized()  # authPolicy
    if reader.number(2) != NULL:  # a key that signs has no symmetric algorithm
        raise BadStatement("pubArea is not that of a key for signatures")
    if reader.number(2) in _WITH_HASH:
        reader.number(2)
    key = _rsa(reader) if type_ == RSA else _ecc(reader)
    reader.end()
    name = hash_.to_bytes(2) + _NAME_HASHES[hash_](octets).digest()
    return PublicArea(attributes, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), name)


def _rsa(reader: _Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.number(2), reader.number(4) or _DEFAULT_EXPONENT
    modulus = int.from_bytes(reader.sized())
    if modulus.bit_length() != bits:
        raise BadStatement("the modulus in pubArea has not the length that it says")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise BadStatement("pubArea holds no RSA key") from None


def _ecc(reader: _Reader) -> ec.EllipticCurvePublicKey:
    curve = _CURVES.get(reader.number(2))
    if reader.number(2) != NULL:  # kdf
        reader.number(2)
    x, y = (int.from_bytes(reader.sized()) for _ in range(2))
    if curve is None:
        raise BadStatement("pubArea has a curve that is not taken")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()
    except ValueError:
        raise BadStatement("pubArea holds no point of its curve") from None


def decode_certified(octets: bytes) -> Certified:
    """Return a TPMS_ATTEST of TPM2_Certify. Raises BadStatement: also for what no TPM has made."""
    reader = _Reader(octets, "certInfo")
    if (reader.number(4), reader.number(2)) != (GENERATED, CERTIFY):
        raise BadStatement("certInfo is not what a TPM says of a key")
    reader.sized()  # qualifiedSigner
    extra = reader.sized()
    reader.octets(8 + 4 + 4 + 1 + 8)  # clockInfo, firmwareVersion
    name = reader.sized()
    reader.sized()  # qualifiedName
    reader.end()
    return Certified(extra, name)


def decode_signature(octets: bytes, algorithm: int) -> bytes:
    """Return the signature of a TPMT_SIGNATURE by a COSE algorithm, ECDSA in DER. Raises BadStatement."""
    reader = _Reader(octets, "sig")
    if (reader.number(2), reader.number(2)) != (_SIGNATURES.get(algorithm), SHA256):
        raise BadStatement("sig is not a signature by alg, or alg is not taken")
    if algorithm == ES256:
        r, s = (int.from_bytes(reader.sized()) for _ in range(2))
        signature = encode_dss_signature(r, s)
    else:
        signature = reader.sized()
    reader.end()
    return signature
