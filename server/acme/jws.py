"""Keys and signatures of ACME messages (RFC 8555 section 6.2, RFC 7518, RFC 8037), over ``cryptography``.

The algorithm is bound to the key: what a key can verify is decided by its type and curve, never by what a message says.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.keys import p256_point
from ca.weak_keys import weaknesses
from server.acme.messages import ErrorType, Jwk, ProblemDocument, Rejected, rejected

if TYPE_CHECKING:
    from server.acme.messages import Jws

Check = Callable[[bytes, bytes], None]
"""Takes signature and signed octets; raises InvalidSignature."""

_CURVES: dict[str, tuple[ec.EllipticCurve, str, HashAlgorithm]] = {
    "P-256": (ec.SECP256R1(), "ES256", SHA256()),
    "P-384": (ec.SECP384R1(), "ES384", SHA384()),
    "P-521": (ec.SECP521R1(), "ES512", SHA512()),
}
_RSA_BITS = range(2048, 8193)
_EXPONENT_LIMIT = 2**33


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key that messages are verified with.

    Attributes:
        algorithms: the only algorithms it verifies.
        check: verifies a signature.
        spki: DER of the SubjectPublicKeyInfo.
        thumbprint: RFC 7638, base64url.
        jwk: the key as canonical JSON.
    """

    algorithms: tuple[str, ...]
    check: Check
    spki: bytes
    thumbprint: str
    jwk: str


def load_key(jwk: Jwk, canonical: bytes, *, short_signatures: bool = False) -> SigningKey:
    """Return the key of a JWK.

    Args:
        jwk: the key.
        canonical: its RFC 7638 form.
        short_signatures: whether ECDSA signatures may lack the first octet of r and s where it is zero, which is not
            what RFC 7518 section 3.4 says.

    Raises:
        Rejected: badPublicKey for a point off its curve, RSA sizes and exponents out of bounds.
    """
    try:
        key, algorithms, check = _load(jwk)
    except (ValueError, UnsupportedAlgorithm):
        raise rejected(ErrorType.BAD_PUBLIC_KEY, "the jwk is not a valid public key") from None
    if short_signatures and jwk.kty == "EC":
        check = _lengthening(check, len(jwk.first))
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SigningKey(algorithms, check, spki, thumbprint(canonical), canonical.decode("ascii"))


def to_jwk(key: object, spki: bytes) -> Jwk | None:
    """Return the JWK of a public key, which is also given in DER; None for one that no account can have."""
    point = p256_point(spki)
    if point is not None:  # to get it from the key, it is calculated anew
        return Jwk("EC", "P-256", point[:32], point[32:])
    match key:
        case rsa.RSAPublicKey():
            numbers = key.public_numbers()
            n, e = (each.to_bytes((each.bit_length() + 7) // 8) for each in (numbers.n, numbers.e))
            return Jwk("RSA", "", n, e)
        case ec.EllipticCurvePublicKey():
            name = next((crv for crv, (curve, *_) in _CURVES.items() if curve.name == key.curve.name), None)
            point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
            return None if name is None else Jwk("EC", name, point[: len(point) // 2], point[len(point) // 2 :])
        case ed25519.Ed25519PublicKey():
            return Jwk("OKP", "Ed25519", key.public_bytes_raw(), b"")
        case _:
            return None


def thumbprint(canonical: bytes) -> str:
    """Return the thumbprint of a JWK in its RFC 7638 form, base64url."""
    return urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode("ascii")


def _load(
    jwk: Jwk,
) -> tuple[rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey, tuple[str, ...], Check]:
    if jwk.kty == "EC":
        curve, algorithm, digest = _CURVES[jwk.crv]
        x, y = int.from_bytes(jwk.first), int.from_bytes(jwk.second)
        point = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        return point, (algorithm,), _ecdsa(point, digest, len(jwk.first))
    if jwk.kty == "OKP":
        edwards = ed25519.Ed25519PublicKey.from_public_bytes(jwk.first)
        return edwards, ("EdDSA", "Ed25519"), edwards.verify
    n, e = int.from_bytes(jwk.first), int.from_bytes(jwk.second)
    # Before any arithmetic: a modulus or an exponent without bounds is work without bounds.
    if n.bit_length() not in _RSA_BITS:
        raise rejected(ErrorType.BAD_PUBLIC_KEY, "the RSA modulus must have 2048 to 8192 bits")
    if e >= _EXPONENT_LIMIT:
        raise rejected(ErrorType.BAD_PUBLIC_KEY, "the RSA exponent is out of bounds")
    modulus = rsa.RSAPublicNumbers(e, n).public_key()  # which takes no exponent that is even or 1
    weakness = next(weaknesses(modulus, b""), None)
    if weakness is not None:
        raise rejected(ErrorType.BAD_PUBLIC_KEY, weakness)
    return modulus, ("RS256",), _rs256(modulus)


def _ecdsa(key: ec.EllipticCurvePublicKey, digest: HashAlgorithm, size: int) -> Check:
    algorithm = ec.ECDSA(digest)

    def check(signature: bytes, data: bytes) -> None:
        if len(signature) != 2 * size:  # r and s in fixed length (RFC 7518 section 3.4)
            raise InvalidSignature
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        key.verify(encode_dss_signature(r, s), data, algorithm)

    return check


def _lengthening(check: Check, size: int) -> Check:
    """Return what verifies ECDSA signatures that may be too short, too."""

    def lenient(signature: bytes, data: bytes) -> None:
        candidates = _lengthened(signature, size)
        if not candidates:
            check(signature, data)
        elif not any(_is_good(check, each, data) for each in candidates):
            raise InvalidSignature

    return lenient


def _lengthened(signature: bytes, size: int) -> tuple[bytes, ...]:
    """Return what an ECDSA signature may be that lacks the first octet of r, of s or of both where that is zero.

    Apple's devices send such ones in one of 128 messages.
    """
    match 2 * size - len(signature):
        case 1:
            return b"\0" + signature, signature[:size] + b"\0" + signature[size:]
        case 2:
            return (b"\0" + signature[: size - 1] + b"\0" + signature[size - 1 :],)
        case _:
            return ()


def _is_good(check: Check, signature: bytes, data: bytes) -> bool:
    try:
        check(signature, data)
    except InvalidSignature:
        return False
    return True


def _rs256(key: rsa.RSAPublicKey) -> Check:
    pkcs1, digest = padding.PKCS1v15(), SHA256()
    return lambda signature, data: key.verify(signature, data, pkcs1, digest)


def verify(message: Jws, key: SigningKey) -> None:
    """Verify the signature.

    Raises:
        Rejected: badSignatureAlgorithm when the algorithm is not the key's, malformed when the signature is not good.
    """
    if message.alg not in key.algorithms:
        raise Rejected(
            ProblemDocument(
                ErrorType.BAD_SIGNATURE_ALGORITHM, "the algorithm does not fit the key", algorithms=key.algorithms
            )
        )
    try:
        key.check(message.signature, message.signing_input)
    except InvalidSignature:
        raise rejected(ErrorType.MALFORMED, "the signature of the JWS does not verify") from None
