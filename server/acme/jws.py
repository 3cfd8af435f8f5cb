"""Keys and signatures of ACME messages (RFC 8555 section 6.2, RFC 7518, RFC 8037), over ``cryptography``.

The algorithm is bound to the key: what a key can verify is decided by its type and curve, never by what a message says.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.acme.messages import ErrorType, Jws, ProblemDocument, Rejected, rejected

if TYPE_CHECKING:
    from server.acme.messages import Jwk

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

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
        key: the loaded key.
        algorithms: the only algorithms it verifies.
        hash: the hash of ECDSA and RSA signatures.
        coordinate: octets of r and of s for ECDSA, else 0.
        spki: DER of the SubjectPublicKeyInfo.
        thumbprint: RFC 7638, base64url.
        jwk: the key as canonical JSON.
    """

    key: PublicKey
    algorithms: tuple[str, ...]
    hash: HashAlgorithm
    coordinate: int
    spki: bytes
    thumbprint: str
    jwk: str


def load_key(jwk: Jwk, canonical: bytes) -> SigningKey:
    """Return the key of a JWK; ``canonical`` is its RFC 7638 form.

    Raises Rejected: badPublicKey for a point off its curve, RSA sizes and exponents out of bounds.
    """
    thumbprint = urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode("ascii")
    try:
        key, algorithms, digest, coordinate = _load(jwk)
    except (ValueError, UnsupportedAlgorithm):
        raise rejected(ErrorType.BAD_PUBLIC_KEY, "the jwk is not a valid public key") from None
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SigningKey(key, algorithms, digest, coordinate, spki, thumbprint, canonical.decode("ascii"))


def _load(jwk: Jwk) -> tuple[PublicKey, tuple[str, ...], HashAlgorithm, int]:
    if jwk.kty == "EC":
        curve, algorithm, digest = _CURVES[jwk.crv]
        x, y = int.from_bytes(jwk.first), int.from_bytes(jwk.second)
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key(), (algorithm,), digest, len(jwk.first)
    if jwk.kty == "OKP":
        return ed25519.Ed25519PublicKey.from_public_bytes(jwk.first), ("EdDSA", "Ed25519"), SHA512(), 0
    n, e = int.from_bytes(jwk.first), int.from_bytes(jwk.second)
    # Before any arithmetic: a modulus or an exponent without bounds is work without bounds.
    if n.bit_length() not in _RSA_BITS:
        raise rejected(ErrorType.BAD_PUBLIC_KEY, "the RSA modulus must have 2048 to 8192 bits")
    if n % 2 == 0 or e % 2 == 0 or not 3 <= e < _EXPONENT_LIMIT:
        raise rejected(ErrorType.BAD_PUBLIC_KEY, "the RSA modulus or exponent is out of bounds")
    return rsa.RSAPublicNumbers(e, n).public_key(), ("RS256",), SHA256(), 0


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
        _verify(message, key)
    except InvalidSignature:
        raise rejected(ErrorType.MALFORMED, "the signature of the JWS does not verify") from None


def _verify(message: Jws, key: SigningKey) -> None:
    match key.key:
        case ec.EllipticCurvePublicKey():
            size = key.coordinate
            if len(message.signature) != 2 * size:
                raise InvalidSignature
            r, s = int.from_bytes(message.signature[:size]), int.from_bytes(message.signature[size:])
            key.key.verify(encode_dss_signature(r, s), message.signing_input, ec.ECDSA(key.hash))
        case rsa.RSAPublicKey():
            key.key.verify(message.signature, message.signing_input, padding.PKCS1v15(), key.hash)
        case ed25519.Ed25519PublicKey():
            key.key.verify(message.signature, message.signing_input)
