"""Public keys and the signatures they verify: which kinds, sizes and algorithms this CA knows at all.

What a policy allows is narrower. Everything here is judged before the cryptography runs, so that an absurd key costs
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa

from ca import der

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

MlDsaPublicKey = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
"""The keys of FIPS 204."""
MlKemPublicKey = mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey
"""The keys of FIPS 203 that ``cryptography`` knows. They encapsulate and can't sign."""
SubjectKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | MlDsaPublicKey | MlKemPublicKey

RSA_BITS = range(1024, 8193)
_EXPONENT_LIMIT = 1 << 33
_ALGORITHM_OCTETS = 512  # explicit curve parameters, which are refused by name, fit

_RSA = "1.2.840.113549.1.1.1"
_EC = "1.2.840.10045.2.1"
_ED25519 = "1.3.101.112"
_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "1.3.14.3.2.26": hashes.SHA1(),  # noqa: S303 - refused unless the caller allows it
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_RSA_SIGNATURES: dict[str, hashes.HashAlgorithm] = {
    "1.2.840.113549.1.1.4": hashes.MD5(),  # noqa: S303 - refused unless the caller allows it
    "1.2.840.113549.1.1.5": hashes.SHA1(),  # noqa: S303 - refused unless the caller allows it
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
}
_EC_SIGNATURES: dict[str, hashes.HashAlgorithm] = {
    "1.2.840.10045.4.1": hashes.SHA1(),  # noqa: S303 - refused unless the caller allows it
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
}
_ECDSA = {oid: ec.ECDSA(digest) for oid, digest in _EC_SIGNATURES.items()}
_CURVES = {
    "1.2.840.10045.3.1.7": ("P-256", 256),
    "1.3.132.0.34": ("P-384", 384),
    "1.3.132.0.35": ("P-521", 521),
}
_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

# RFC 9881 section 4, RFC 9935 section 4: no parameters; FIPS 204 table 2 and FIPS 203 table 3 give the octets
_POST_QUANTUM = {
    "2.16.840.1.101.3.4.3.17": ("ml-dsa-44", 1312),
    "2.16.840.1.101.3.4.3.18": ("ml-dsa-65", 1952),
    "2.16.840.1.101.3.4.3.19": ("ml-dsa-87", 2592),
    "2.16.840.1.101.3.4.4.2": ("ml-kem-768", 1184),
    "2.16.840.1.101.3.4.4.3": ("ml-kem-1024", 1568),
}
POST_QUANTUM = {kind: (oid, 8 * octets) for oid, (kind, octets) in _POST_QUANTUM.items()}
"""Kinds of post-quantum keys: the algorithm, dotted, and the bits of the public key."""
_POST_QUANTUM_CLASSES: dict[type, str] = {
    mldsa.MLDSA44PublicKey: "ml-dsa-44",
    mldsa.MLDSA65PublicKey: "ml-dsa-65",
    mldsa.MLDSA87PublicKey: "ml-dsa-87",
    mlkem.MLKEM768PublicKey: "ml-kem-768",
    mlkem.MLKEM1024PublicKey: "ml-kem-1024",
}
ENCAPSULATING = frozenset({"ml-kem-768", "ml-kem-1024"})
"""Kinds of keys that can't sign anything, not even the request for their certificate."""


class UnusableKey(ValueError):
    """A public key of a kind or size that nothing here can work with. The text is safe to show to the requester."""


class UnusableSignature(ValueError):
    """A signature algorithm that is too weak or not known here. The text is safe to show to the requester."""


class BadSignature(ValueError):
    """The signature is not by this key over these octets."""


@dataclass(frozen=True, slots=True)
class KeyShape:
    """What a policy may know of a public key: ``rsa`` with its bits, ``ec`` with its curve, or a kind of one size.

    Attributes:
        kind: ``rsa``, ``ec``, ``ed25519``, or one of `POST_QUANTUM`, such as ``ml-dsa-65``.
        bits: modulus or field size; of ML-DSA and ML-KEM the size of the public key.
        curve: ``P-256``, ``P-384``, ``P-521`` for ``ec``, else None.
    """

    kind: str
    bits: int
    curve: str | None = None

    def __str__(self) -> str:
        return f"ec:{self.curve}" if self.curve else (f"rsa:{self.bits}" if self.kind == "rsa" else self.kind)


class PublicKey(NamedTuple):
    """A key as read: loaded, its SubjectPublicKeyInfo in the one encoding that certificates get, its shape."""

    public: SubjectKey
    spki: bytes
    shape: KeyShape


def key_shape(key: object) -> KeyShape:
    """Return the shape of a loaded public key. Raises UnusableKey for a kind or curve that is not known here."""
    match key:
        case rsa.RSAPublicKey():
            return KeyShape("rsa", key.key_size)
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVE_NAMES:
            return KeyShape("ec", key.key_size, _CURVE_NAMES[key.curve.name])
        case ed25519.Ed25519PublicKey():
            return KeyShape("ed25519", 256)
        case _:
            for known, kind in _POST_QUANTUM_CLASSES.items():
                if isinstance(key, known):
                    return KeyShape(kind, POST_QUANTUM[kind][1])
            raise UnusableKey("a kind of key that is not known here")


def read_key(element: der.Tlv) -> PublicKey:
    """Read a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7, RFC 3279, RFC 5480, RFC 8410, RFC 9881, RFC 9935).

    Raises:
        MalformedDer: not the encoding of one.
        UnusableKey: RSA below 1024 or above 8192 bits or with an absurd exponent, a curve or kind that is not known.
    """
    if p256_point(element.raw) is not None:  # what nearly all have
        return PublicKey(_loaded(element.raw), element.raw, _P256)
    algorithm, bits = _pair(element)
    unused, octets = der.read_bits(der.expect(bits, der.BIT_STRING))
    if unused:
        raise der.MalformedDer("a public key is not a whole number of octets")
    oid, parameters = _algorithm(algorithm)
    if oid == _RSA:
        return _rsa_key(parameters, octets)
    if oid == _EC:
        return _ec_key(element, parameters, octets)
    if oid == _ED25519 and parameters is None:
        return PublicKey(_loaded(element.raw), element.raw, KeyShape("ed25519", 256))
    if oid in _POST_QUANTUM and parameters is None:
        kind, length = _POST_QUANTUM[oid]
        if len(octets) != length:
            raise UnusableKey("a public key that is no valid one")
        return PublicKey(_loaded(element.raw), element.raw, KeyShape(kind, 8 * length))
    raise UnusableKey(f"a kind of key that is not known here ({oid})")


def _rsa_key(parameters: der.Tlv | None, octets: bytes) -> PublicKey:
    if parameters is not None and parameters.raw != der.null():
        raise der.MalformedDer("the parameters of an RSA key are not NULL (RFC 3279 section 2.3.1)")
    modulus, exponent = (der.read_integer(der.expect(number, der.INTEGER)) for number in _pair(der.read(octets)))
    if modulus.bit_length() not in RSA_BITS or modulus < 0 or not modulus & 1:
        raise UnusableKey(f"an RSA key of {modulus.bit_length()} bits; {RSA_BITS[0]} to {RSA_BITS[-1]} are possible")
    if not 3 <= exponent < _EXPONENT_LIMIT or not exponent & 1:
        raise UnusableKey("an RSA key with an absurd public exponent")
    # Written anew: some leave out the NULL, which must be there.
    spki = der.sequence(_RSA_ALGORITHM, der.bit_string(octets))
    return PublicKey(_loaded(spki), spki, KeyShape("rsa", modulus.bit_length()))


_RSA_ALGORITHM = der.sequence(der.oid(_RSA), der.null())
_P256 = KeyShape("ec", 256, "P-256")
_P256_OCTETS = 91
_P256_UNCOMPRESSED = der.sequence(
    der.sequence(der.oid(_EC), der.oid("1.2.840.10045.3.1.7")), der.bit_string(b"\x04" + bytes(64))
)[:-64]


def p256_point(spki: bytes) -> bytes | None:
    """Return x and y, 32 octets each, of a P-256 key whose point is not compressed (RFC 5480); None for other keys."""
    return spki[-64:] if len(spki) == _P256_OCTETS and spki.startswith(_P256_UNCOMPRESSED) else None


def _ec_key(element: der.Tlv, parameters: der.Tlv | None, octets: bytes) -> PublicKey:
    curve = _CURVES.get(der.read_oid(parameters.content)) if parameters and parameters.tag == der.OID else None
    if curve is None:
        raise UnusableKey("an elliptic curve that is not known here")
    if octets[:1] not in {b"\x02", b"\x03", b"\x04"}:
        raise UnusableKey("an elliptic curve point in a form that is not known here")
    key = _loaded(element.raw)
    spki = element.raw
    if octets[0] != 4:  # compressed: certificates carry the form that everyone reads
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(key, spki, KeyShape("ec", curve[1], curve[0]))


@lru_cache(maxsize=64)
def load_key(spki: bytes) -> PublicKeyTypes:
    """Load a SubjectPublicKeyInfo. Raises ValueError or UnsupportedAlgorithm.

    The last ones stay: one key is often met several times in a request (it signs a SCEP message, is in the
    certification request, and the reply is encrypted to it), and what the library works out for its modulus is worth
    keeping so long. There are as many as requests that take their steps together.
    """
    return serialization.load_der_public_key(spki)


def _loaded(spki: bytes) -> SubjectKey:
    try:
        return cast("SubjectKey", load_key(spki))  # its object identifier was looked at
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey("a public key that is no valid one") from error


def verify(
    key: SubjectKey,
    algorithm: der.Tlv,
    signature: bytes,
    data: bytes,
    *,
    allow_sha1: bool = False,
    allow_md5: bool = False,
) -> None:
    """Verify a signature whose algorithm is given as an AlgorithmIdentifier.

    Known are RSA PKCS #1 v1.5, RSASSA-PSS and ECDSA with SHA-256, SHA-384 and SHA-512, Ed25519 and ML-DSA.

    Raises:
        MalformedDer: the AlgorithmIdentifier is not the encoding of one.
        UnusableSignature: an algorithm that is not known, or SHA-1 or MD5 when that is not allowed.
        BadSignature: the signature is not by this key, or for another kind of key.
    """
    oid, parameters = _algorithm(algorithm)
    try:
        if oid in _EC_SIGNATURES and isinstance(key, ec.EllipticCurvePublicKey):
            _allowed(_EC_SIGNATURES[oid], allow_sha1=allow_sha1)
            key.verify(signature, data, _ECDSA[oid])
        elif oid in _RSA_SIGNATURES and isinstance(key, rsa.RSAPublicKey):
            digest = _allowed(_RSA_SIGNATURES[oid], allow_sha1=allow_sha1, allow_md5=allow_md5)
            key.verify(signature, data, padding.PKCS1v15(), digest)
        elif oid == _PSS and isinstance(key, rsa.RSAPublicKey):
            pss, digest = _pss(parameters, allow_sha1=allow_sha1)
            key.verify(signature, data, pss, digest)
        elif parameters is None and _signs_alone(key, oid):
            key.verify(signature, data)  # type: ignore[call-arg, union-attr] # Ed25519 and ML-DSA only
        elif oid in {*_EC_SIGNATURES, *_RSA_SIGNATURES, _PSS, _ED25519, *_POST_QUANTUM}:
            raise BadSignature("the signature algorithm belongs to another kind of key")
        else:
            raise UnusableSignature(f"a signature algorithm that is not accepted ({oid})")
    except InvalidSignature as error:
        raise BadSignature("the signature does not verify") from error


def _signs_alone(key: SubjectKey, oid: str) -> bool:
    """Whether this is the algorithm of a key whose kind says everything about its signatures."""
    if isinstance(key, MlDsaPublicKey):
        return oid == POST_QUANTUM[key_shape(key).kind][0]
    return oid == _ED25519 and isinstance(key, ed25519.Ed25519PublicKey)


def _allowed(digest: hashes.HashAlgorithm, *, allow_sha1: bool, allow_md5: bool = False) -> hashes.HashAlgorithm:
    if digest.name == "sha1" and not allow_sha1:
        raise UnusableSignature("a signature with SHA-1 is not accepted")
    if digest.name == "md5" and not allow_md5:
        raise UnusableSignature("a signature with MD5 is not accepted")
    return digest


def _pss(parameters: der.Tlv | None, *, allow_sha1: bool) -> tuple[padding.PSS, hashes.HashAlgorithm]:
    """Read RSASSA-PSS-params (RFC 4055 section 3.1), whose defaults are all SHA-1."""
    if parameters is None:
        raise der.MalformedDer("RSASSA-PSS without parameters (RFC 4055 section 3.1)")
    fields = {field.tag: der.read(field.content) for field in der.inside(parameters, der.SEQUENCE)}
    digest = mask = _HASHES["1.3.14.3.2.26"]
    salt = 20
    if der.context(0) in fields:
        digest = _digest(fields[der.context(0)])
    if der.context(1) in fields:
        oid, inner = _algorithm(fields[der.context(1)])
        if oid != _MGF1 or inner is None:
            raise UnusableSignature("a mask generation function that is not accepted")
        mask = _digest(inner)
    if der.context(2) in fields:
        salt = der.read_integer(der.expect(fields[der.context(2)], der.INTEGER))
    if not 0 <= salt <= 512:
        raise UnusableSignature("an absurd length of salt")
    mask = _allowed(mask, allow_sha1=allow_sha1)
    return padding.PSS(padding.MGF1(mask), salt), _allowed(digest, allow_sha1=allow_sha1)


def _digest(algorithm: der.Tlv) -> hashes.HashAlgorithm:
    digest = _HASHES.get(_algorithm(algorithm)[0])
    if digest is None:
        raise UnusableSignature("a hash algorithm that is not accepted")
    return digest


def _algorithm(element: der.Tlv) -> tuple[str, der.Tlv | None]:
    der.expect(element, der.SEQUENCE)
    if len(element.content) > _ALGORITHM_OCTETS:
        raise der.MalformedDer("an algorithm identifier of absurd length")
    return _read_algorithm(element.content)


@lru_cache(maxsize=256)  # there are few, and they come again and again
def _read_algorithm(content: bytes) -> tuple[str, der.Tlv | None]:
    parts = der.elements(content)
    if not 1 <= len(parts) <= 2:
        raise der.MalformedDer("an algorithm identifier has too few or too many elements")
    return der.dotted(parts[0]), parts[1] if len(parts) == 2 else None


@lru_cache(maxsize=256)  # it is asked for by several who do not know of one another
def split_key(spki: bytes) -> tuple[bytes, bytes]:
    """Return what is in the AlgorithmIdentifier of a SubjectPublicKeyInfo, and the key. Raises MalformedDer."""
    parts = der.contents(der.read_as(spki, der.SEQUENCE))
    if [tag for tag, _ in parts] != [der.SEQUENCE, der.BIT_STRING]:
        raise der.MalformedDer("a SubjectPublicKeyInfo is not a pair of algorithm and key")
    return parts[0][1], parts[1][1][1:]


def _pair(element: der.Tlv) -> list[der.Tlv]:
    parts = der.inside(element, der.SEQUENCE)
    if len(parts) != 2:
        raise der.MalformedDer("a sequence of two has another number of elements")
    return parts
