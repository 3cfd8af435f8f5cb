"""The octets that an issuer signs: a TBSCertificate (RFC 5280 section 4.1) from a plan, and nothing but the plan.

What stays the same for every certificate of an issuer is encoded once, in `IssuerProfile`; what stays the same for
every certificate of a profile is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa

from ca import der
from ca.constraints import NameConstraints
from ca.fields import EXTENSIONS, read_fields
from ca.keys import POST_QUANTUM, UnusableKey, key_shape, split_key
from ca.name_codec import write_general_names, write_name
from ca.names import MalformedName
from ca.plan import KeyUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from ca.keys import KeyShape, SubjectKey
    from ca.plan import CertificatePlan, PlannedExtension

BASIC_CONSTRAINTS = "2.5.29.19"
KEY_USAGE = "2.5.29.15"
EXTENDED_KEY_USAGE = "2.5.29.37"
SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
SUBJECT_ALT_NAME = "2.5.29.17"
RESERVED = frozenset(
    {
        BASIC_CONSTRAINTS,
        KEY_USAGE,
        EXTENDED_KEY_USAGE,
        SUBJECT_KEY_IDENTIFIER,
        AUTHORITY_KEY_IDENTIFIER,
        SUBJECT_ALT_NAME,
    }
)
"""Extensions that come from fields of the plan or from the issuer, never from `CertificatePlan.extensions`."""

SERIAL_LIMIT = 1 << 159
"""Serial numbers are positive and below this: at most 20 octets (RFC 5280 section 4.1.2.2)."""

_VERSION_3 = der.tlv(der.context(0), der.integer(2))
_CA_BITS = frozenset({KeyUsage.KEY_CERT_SIGN, KeyUsage.CRL_SIGN})
_AGREEMENT_BITS = frozenset({KeyUsage.ENCIPHER_ONLY, KeyUsage.DECIPHER_ONLY})
_BIT_ORDER = tuple(KeyUsage)

_SIGNATURE_ALGORITHMS = {
    "rsa": der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null()),
    "ed25519": der.sequence(der.oid("1.3.101.112")),
    "P-256": der.sequence(der.oid("1.2.840.10045.4.3.2")),
    "P-384": der.sequence(der.oid("1.2.840.10045.4.3.3")),
    "P-521": der.sequence(der.oid("1.2.840.10045.4.3.4")),
    # RFC 9881 section 2; no parameters
    "ml-dsa-44": der.sequence(der.oid("2.16.840.1.101.3.4.3.17")),
    "ml-dsa-65": der.sequence(der.oid("2.16.840.1.101.3.4.3.18")),
    "ml-dsa-87": der.sequence(der.oid("2.16.840.1.101.3.4.3.19")),
}
_SHA256 = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.null())
_PSS_SALT = 32
# RSASSA-PSS with SHA-256 throughout (RFC 4055 section 3.1): hash, mask, salt, each under its tag
_PSS_SHA256 = der.sequence(
    der.oid("1.2.840.113549.1.1.10"),
    der.sequence(
        der.tlv(der.context(0), _SHA256),
        der.tlv(der.context(1), der.sequence(der.oid("1.2.840.113549.1.1.8"), _SHA256)),
        der.tlv(der.context(2), der.integer(_PSS_SALT)),
    ),
)
MlDsaPrivateKey = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | MlDsaPrivateKey

T = TypeVar("T")

_CURVE_HASHES: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


class UnsignablePlan(ValueError):
    """A plan that no issuer may sign, whatever approved it. The text is for administrators."""


@dataclass(frozen=True, slots=True)
class IssuerProfile:
    """What an issuing CA puts into every certificate, encoded once.

    Attributes:
        certificate: the issuing CA's certificate.
        key: its public key.
        name: DER of its subject, octet for octet as its certificate has it (RFC 5280 section 4.1.2.4).
        spki: DER of its SubjectPublicKeyInfo.
        key_identifier: its subjectKeyIdentifier.
        algorithm: DER of the signature AlgorithmIdentifier that goes with its key.
        not_after: the end of its validity.
        constraints: which names it may certify, by its own certificate and those above.
    """

    certificate: x509.Certificate
    key: SubjectKey
    name: bytes
    spki: bytes
    key_identifier: bytes
    algorithm: bytes
    not_after: datetime
    constraints: tuple[NameConstraints, ...] = ()
    authority_key_identifier: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        value = der.sequence(der.tlv(0x80, self.key_identifier))
        object.__setattr__(self, "authority_key_identifier", _extension(AUTHORITY_KEY_IDENTIFIER, value))

    @classmethod
    def of(cls, certificate: x509.Certificate, *, pss: bool = False, above: Iterable[x509.Certificate] = ()) -> Self:
        """Take what is needed from an issuing CA's certificate.

        Args:
            certificate: the certificate.
            pss: whether its RSA key signs with RSASSA-PSS.
            above: the CA certificates above, whose name constraints count as well.

        Raises:
            UnusableKey: a key that can't sign, or `pss` with one that is not RSA.
            ValueError: name constraints that can't be read.
        """
        shape = key_shape(certificate.public_key())
        if pss and shape.kind != "rsa":
            raise UnusableKey("RSASSA-PSS is for RSA keys")
        fields = read_fields(der.read(certificate.tbs_certificate_bytes))
        spki = fields.spki.raw
        try:
            identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        except x509.ExtensionNotFound:
            identifier = key_identifier(spki)
        return cls(
            certificate=certificate,
            key=cast("SubjectKey", certificate.public_key()),  # or key_shape had refused it
            name=fields.subject.raw,
            spki=spki,
            key_identifier=identifier,
            algorithm=_PSS_SHA256 if pss else _signature_algorithm(shape),
            not_after=certificate.not_valid_after_utc,
            constraints=tuple(found for found in map(NameConstraints.of, (certificate, *above)) if found is not None),
        )

    def outside(self, plan: CertificatePlan) -> tuple[str, ...]:
        """Return in words which names of a plan no CA certificate of this path lets through."""
        return tuple(words for each in self.constraints for words in each.violations(plan))


class PerCertificate(Generic[T]):
    """What is made of a certificate that is met again and again, once for each.

    Found by the object: to hash or compare certificates takes reading all of them.
    """

    def __init__(self, make: Callable[[x509.Certificate], T], *, remembered: int = 32) -> None:
        """Take what makes it and for how many certificates it is kept."""
        self._make = make
        self._remembered = remembered
        self._made: dict[int, tuple[x509.Certificate, T]] = {}

    def __call__(self, certificate: x509.Certificate) -> T:
        """Return what was made of this certificate. Raises what making it raises."""
        found = self._made.get(id(certificate))  # nothing else can have this number while the entry holds it
        if found is None:
            if len(self._made) >= self._remembered:
                self._made.clear()
            found = self._made[id(certificate)] = certificate, self._make(certificate)
        return found[1]


def _signature_algorithm(shape: KeyShape) -> bytes:
    algorithm = _SIGNATURE_ALGORITHMS.get(shape.curve or shape.kind)
    if algorithm is None:
        raise UnusableKey(f"a key of kind {shape} can't sign")
    return algorithm


@lru_cache(maxsize=64)  # asked for when a certificate is written and when it is checked, by all of a cohort in between
def key_identifier(spki: bytes) -> bytes:
    """Return the key identifier: 160 bits of the SHA-256 of the key's octets (RFC 7093 section 2, method 1).

    Raises MalformedDer when this is not a SubjectPublicKeyInfo.
    """
    return sha256(split_key(spki)[1]).digest()[:20]


def signer(key: SigningKey, *, pss: bool = False) -> Callable[[bytes], bytes]:
    """Return the function that signs with the algorithm that certificates of this key's CA name.

    RSA (PKCS #1 v1.5, or PSS with `pss`) and P-256 go with SHA-256, P-384 with SHA-384, P-521 with SHA-512.
    """
    match key:
        case ec.EllipticCurvePrivateKey():
            algorithm = ec.ECDSA(_CURVE_HASHES[key.key_size])
            return lambda octets: key.sign(octets, algorithm)
        case rsa.RSAPrivateKey():
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), _PSS_SALT) if pss else padding.PKCS1v15()
            return lambda octets: key.sign(octets, scheme, hashes.SHA256())
        case _:
            return key.sign


def verifier(key: SubjectKey) -> Callable[[bytes, bytes], None]:
    """Return the function that verifies a signature over octets with the algorithm that `signer` uses without `pss`.

    It raises InvalidSignature.
    """
    match key:
        case ec.EllipticCurvePublicKey():
            algorithm = ec.ECDSA(_CURVE_HASHES[key.key_size])
            return lambda signature, octets: key.verify(signature, octets, algorithm)
        case rsa.RSAPublicKey():
            scheme, digest = padding.PKCS1v15(), hashes.SHA256()
            return lambda signature, octets: key.verify(signature, octets, scheme, digest)
        case mlkem.MLKEM768PublicKey() | mlkem.MLKEM1024PublicKey():
            raise UnusableKey("a key that can't sign")
        case _:
            return key.verify


def write_tbs(plan: CertificatePlan, serial: int, issuer: IssuerProfile) -> bytes:
    """Return the DER of the TBSCertificate: the same octets for the same plan, serial and issuer.

    Raises:
        UnsignablePlan: a CA certificate, a serial number or a validity out of bounds, no name at all, no purpose,
            an extension twice, a name that RFC 5280 or the issuer's name constraints do not allow, the issuer's own
            key.
    """
    _judge(plan, serial, issuer)
    try:
        return der.sequence(
            _VERSION_3,
            der.integer(serial),
            issuer.algorithm,
            issuer.name,
            write_validity(plan.not_before, plan.not_after),
            write_name(plan.subject),
            plan.spki,
            der.tlv(EXTENSIONS, der.sequence(*_extensions(plan, issuer))),
        )
    except (MalformedName, der.MalformedDer) as error:
        raise UnsignablePlan(str(error)) from error


@lru_cache(maxsize=64)
def write_validity(begin: datetime, end: datetime) -> bytes:
    """Return the DER of a Validity: under load many certificates begin in the same second."""
    return der.sequence(der.time(begin), der.time(end))


def _extensions(plan: CertificatePlan, issuer: IssuerProfile) -> list[bytes]:
    extensions = [
        _constant_extensions(plan.key_usage, plan.extended_key_usage),
        _IDENTIFIED + key_identifier(plan.spki),
        issuer.authority_key_identifier,
    ]
    if plan.names:
        # RFC 5280 section 4.2.1.6: critical when the names are all there is.
        extensions.append(_extension(SUBJECT_ALT_NAME, write_general_names(plan.names), critical=not plan.subject))
    if plan.extensions:
        extensions.append(_planned_extensions(plan.extensions))
    return extensions


def write_certificate(tbs: bytes, issuer: IssuerProfile, signature: bytes) -> bytes:
    """Return the DER of the Certificate."""
    return der.sequence(tbs, issuer.algorithm, der.bit_string(signature))


def _judge(plan: CertificatePlan, serial: int, issuer: IssuerProfile) -> None:
    named = plan.names
    faults = {
        "the plan is for a CA certificate": plan.ca or not plan.key_usage.isdisjoint(_CA_BITS),
        "the serial number is not positive or longer than 20 octets": not 0 < serial < SERIAL_LIMIT,
        "encipherOnly and decipherOnly mean nothing without keyAgreement": (
            KeyUsage.KEY_AGREEMENT not in plan.key_usage and not plan.key_usage.isdisjoint(_AGREEMENT_BITS)
        ),
        "the validity ends before it begins": plan.not_after < plan.not_before,
        "the validity ends after the issuing CA's": plan.not_after > issuer.not_after,
        "the validity is not in whole seconds": plan.not_before.microsecond or plan.not_after.microsecond,
        "there is neither a subject nor another name": not named and not plan.subject.rdns,
        "a name is there twice": len(named) > 1 and len(set(named)) != len(named),
        "there is no extended key usage: the certificate would be good for anything": not plan.extended_key_usage,
        "the key is the issuing CA's own": plan.spki == issuer.spki,
        "a key usage is not for this kind of key": _is_misused(plan.spki, plan.key_usage),
    }
    outside = issuer.outside(plan)
    if outside or any(faults.values()):
        found = [fault for fault, is_there in faults.items() if is_there]
        raise UnsignablePlan("; ".join((*found, *outside)))


_MLDSA_ALGORITHMS = tuple(der.sequence(der.oid(oid)) for kind, (oid, _) in POST_QUANTUM.items() if "dsa" in kind)
_MLKEM_ALGORITHMS = tuple(der.sequence(der.oid(oid)) for kind, (oid, _) in POST_QUANTUM.items() if "kem" in kind)
_ENCAPSULATION = frozenset({KeyUsage.KEY_ENCIPHERMENT})
_NOT_SIGNING = _ENCAPSULATION | {KeyUsage.DATA_ENCIPHERMENT, KeyUsage.KEY_AGREEMENT} | _AGREEMENT_BITS
_POST_QUANTUM_OCTETS = 1000
"""No post-quantum key is shorter."""


def _is_misused(spki: bytes, usages: frozenset[KeyUsage]) -> bool:
    """Whether a post-quantum key is for something that it can't do (RFC 9881 section 5, RFC 9935 section 5)."""
    if len(spki) < _POST_QUANTUM_OCTETS:
        return False
    if spki.startswith(_MLKEM_ALGORITHMS, 4):  # behind tag and length
        return bool(usages) and usages != _ENCAPSULATION
    return spki.startswith(_MLDSA_ALGORITHMS, 4) and not usages.isdisjoint(_NOT_SIGNING)


@lru_cache(maxsize=256)
def _constant_extensions(key_usage: frozenset[KeyUsage], extended_key_usage: tuple[str, ...]) -> bytes:
    extensions = [_extension(BASIC_CONSTRAINTS, der.sequence(), critical=True)]
    if key_usage:
        extensions.append(_extension(KEY_USAGE, _key_usage_bits(key_usage), critical=True))
    if len(set(extended_key_usage)) != len(extended_key_usage):
        raise UnsignablePlan("a purpose is there twice")
    extensions.append(_extension(EXTENDED_KEY_USAGE, der.sequence(*map(der.oid, extended_key_usage))))
    return b"".join(extensions)


def _key_usage_bits(key_usage: frozenset[KeyUsage]) -> bytes:
    bits = sum(0x8000 >> position for position, usage in enumerate(_BIT_ORDER) if usage in key_usage)
    octets = bits.to_bytes(2, "big").rstrip(b"\x00")  # a named bit list has no trailing zeros (X.690 section 11.2.2)
    unused = (octets[-1] & -octets[-1]).bit_length() - 1
    return der.bit_string(octets, unused)


@lru_cache(maxsize=256)
def _planned_extensions(extensions: tuple[PlannedExtension, ...]) -> bytes:
    kinds = [extension.oid for extension in extensions]
    if len(set(kinds)) != len(kinds) or RESERVED.intersection(kinds):
        raise UnsignablePlan("an extension is there twice, or is the issuer's business")
    return b"".join(_extension(e.oid, der.read(e.value).raw, critical=e.critical) for e in extensions)


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = (der.boolean(True),) if critical else ()  # noqa: FBT003 - a BOOLEAN is what it writes
    return der.sequence(der.oid(oid), *flag, der.octet_string(value))


_IDENTIFIED = _extension(SUBJECT_KEY_IDENTIFIER, der.octet_string(bytes(20)))[:-20]
"""What comes before a key identifier of 20 octets."""
