"""Was what was signed what was planned? Asked of every certificate, whatever signed it, before it leaves.

The certificate is read by ``cryptography``, not by the code that wrote it: a mistake of the writer shows here. What is
octet for octet the same in all certificates of a profile is read once (`ca.frame`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ca import der, names
from ca.fields import EXTENSIONS, read_fields
from ca.frame import Frames
from ca.issuer import NO_LATITUDE
from ca.names import DistinguishedName, MalformedName
from ca.plan import KeyUsage
from ca.tbs import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SERIAL_LIMIT,
    SUBJECT_ALT_NAME,
    SUBJECT_KEY_IDENTIFIER,
    IssuerProfile,
    PerCertificate,
    verifier,
    write_validity,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from ca.issuer import Latitude
    from ca.plan import CertificatePlan, PlannedExtension

_USAGES = {
    KeyUsage.DIGITAL_SIGNATURE: "digital_signature",
    KeyUsage.CONTENT_COMMITMENT: "content_commitment",
    KeyUsage.KEY_ENCIPHERMENT: "key_encipherment",
    KeyUsage.DATA_ENCIPHERMENT: "data_encipherment",
    KeyUsage.KEY_AGREEMENT: "key_agreement",
    KeyUsage.KEY_CERT_SIGN: "key_cert_sign",
    KeyUsage.CRL_SIGN: "crl_sign",
    KeyUsage.ENCIPHER_ONLY: "encipher_only",
    KeyUsage.DECIPHER_ONLY: "decipher_only",
}
_UNREADABLE = (
    ValueError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)
_IDENTIFIERS = frozenset({SUBJECT_KEY_IDENTIFIER, AUTHORITY_KEY_IDENTIFIER})
_TBS = 4
"""Where the TBSCertificate begins in a certificate of 256 to 65,535 octets."""
_DER, _SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


class PlanMismatch(Exception):
    """A certificate is not what was planned: it must not leave.

    Attributes:
        differences: each as one phrase, for administrators.
    """

    def __init__(self, differences: tuple[str, ...]) -> None:
        super().__init__("; ".join(differences))
        self.differences = differences


class _Octets(NamedTuple):
    """A certificate as it was read, and parts of it as they are (RFC 5280 section 4.1), for what can be compared so."""

    read: x509.Certificate
    whole: bytes
    signed: bytes
    algorithms: tuple[bytes, bytes]
    issuer: bytes
    validity: bytes
    key: bytes
    has_more: bool

    @classmethod
    def of(cls, octets: bytes, read: x509.Certificate) -> Self:
        """Take them. Raises MalformedDer."""
        tbs, algorithm, _ = der.children(der.read(octets))
        fields = read_fields(tbs)
        has_more = any(field.tag != EXTENSIONS for field in fields.more)
        both = fields.algorithm.raw, algorithm.raw
        return cls(read, octets, tbs.raw, both, fields.issuer.raw, fields.validity.raw, fields.spki.raw, has_more)


class _Issuer:
    """What is known of an issuing CA, and of the certificates that were its own."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self.certificate = certificate
        self.profile = IssuerProfile.of(certificate)
        self.frames = Frames()
        self._verify: Callable[[bytes, bytes], None] | None = None

    def is_named(self, octets: _Octets) -> bool:
        """Whether name and algorithms in a certificate are octet for octet its own; False decides nothing."""
        algorithm = self.profile.algorithm
        return octets.issuer == self.profile.name and octets.algorithms == (algorithm, algorithm)

    def verify(self, signature: bytes, signed: bytes) -> None:
        """Do what `verify_directly_issued_by` does beyond that, with a key that was loaded before.

        Raises InvalidSignature.
        """
        if self._verify is None:
            self._verify = verifier(self.profile.key)
        self._verify(signature, signed)


_known = PerCertificate(_Issuer)


def check(
    plan: CertificatePlan,
    serial: int,
    octets: bytes,
    issuer_certificate: x509.Certificate,
    latitude: Latitude = NO_LATITUDE,
) -> int:
    """Compare every field and extension of a certificate with its plan, and verify its signature.

    The order of names and purposes is free, for the sake of remote CAs; `latitude` says what else they may choose. Key
    identifiers are the issuer's choice, but may not contradict its certificate.

    Args:
        plan: what was to be signed.
        serial: the serial number that it was to have.
        octets: the certificate, DER.
        issuer_certificate: that of the CA that should have signed it.
        latitude: what this CA may choose.

    Returns:
        The serial number, which is another than planned where `latitude` leaves it to the CA.

    Raises:
        PlanMismatch: with all differences.
    """
    try:
        certificate, issuer = x509.load_der_x509_certificate(octets), _known(issuer_certificate)
        expected = issuer.frames.expected(plan, serial) if latitude is NO_LATITUDE else None
        if expected is not None and octets.startswith(expected + issuer.profile.algorithm, _TBS):
            differences = [
                *_validity(plan, certificate, issuer.profile.not_after, latitude),
                *_signature(certificate, octets, issuer, expected),
            ]
        else:
            differences = _differences(plan, serial, _Octets.of(octets, certificate), issuer, latitude)
    except _UNREADABLE as error:
        raise PlanMismatch((f"the certificate can't be read: {error}",)) from error
    if differences:
        raise PlanMismatch(tuple(differences))
    return certificate.serial_number if latitude.serial else serial


def _differences(plan: CertificatePlan, serial: int, octets: _Octets, issuer: _Issuer, latitude: Latitude) -> list[str]:
    certificate, is_named = octets.read, issuer.is_named(octets)
    differences = [
        *_fields(plan, serial, octets, latitude),
        *_validity(plan, certificate, issuer.profile.not_after, latitude),
        *_extensions(plan, certificate, issuer.profile, latitude),
        *_signature(certificate, octets.whole, issuer, octets.signed if is_named else None),
    ]
    if is_named and latitude is NO_LATITUDE and not differences:
        issuer.frames.remember(plan, serial, octets.signed)
    return differences


def _fields(plan: CertificatePlan, serial: int, octets: _Octets, latitude: Latitude) -> Iterator[str]:
    certificate = octets.read
    if certificate.version is not x509.Version.v3:
        yield f"version: {certificate.version.name}"
    number = certificate.serial_number
    if number != serial and not (latitude.serial and 0 < number < SERIAL_LIMIT):
        yield f"serial number: planned {serial:x}, is {number:x}"
    if not _is_named(plan.subject, certificate.subject):
        subject = DistinguishedName.from_x509(certificate.subject)
        if subject != plan.subject and not (latitude.subject and _repeats_names(plan, subject)):
            yield f"subject: planned {plan.subject}, is {subject}"
    # the same octets are the same key; other octets may be too
    if octets.key != plan.spki and certificate.public_key().public_bytes(_DER, _SPKI) != plan.spki:
        yield "public key: another than planned"
    if octets.validity != write_validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc):
        yield "validity: not in the form that its years have (RFC 5280 section 4.1.2.5)"
    if octets.has_more:
        yield "unique identifiers: no CA may give any (RFC 5280 section 4.1.2.8)"


def _is_named(planned: DistinguishedName, subject: x509.Name) -> bool:
    """Whether a subject is as planned in the same order; False decides nothing."""
    found = [[(attribute.oid.dotted_string, attribute.value) for attribute in rdn] for rdn in subject.rdns]
    return found == [[(attribute.oid, attribute.value) for attribute in rdn] for rdn in planned.rdns]


def _repeats_names(plan: CertificatePlan, subject: DistinguishedName) -> bool:
    """Whether a subject says nothing, or only what a planned name says."""
    if not plan.names:
        return False
    if not subject:
        return True
    texts = {str(name.value) for name in plan.names if isinstance(name, names.DnsName | names.IpAddress)}
    only = subject.rdns[0] if len(subject.rdns) == 1 else ()
    return len(only) == 1 and len(subject.common_names) == 1 and subject.common_names[0] in texts


def _validity(
    plan: CertificatePlan, certificate: x509.Certificate, limit: datetime, latitude: Latitude
) -> Iterator[str]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    longer = end - plan.not_after  # no sums: beyond the year 9999 there is no time
    right = begin <= end if latitude.shorter else -longer <= latitude.clock
    if abs(begin - plan.not_before) > latitude.clock or not right or longer > latitude.clock:
        yield f"validity: planned {plan.not_before} to {plan.not_after}, is {begin} to {end}"
    if end > limit:
        yield "validity: ends after the issuing CA's"


def _signature(certificate: x509.Certificate, octets: bytes, issuer: _Issuer, signed: bytes | None) -> Iterator[str]:
    """Verify the signature over what was signed; without that, look at the issuer's name and the algorithms first."""
    signature = certificate.signature
    try:
        if signed is None:
            certificate.verify_directly_issued_by(issuer.certificate)
        else:
            issuer.verify(signature, signed)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        yield "signature: not by the issuing CA, or the issuer's name is not its name"
    if octets[-len(signature) - 1]:
        yield "signature: not a whole number of octets"


def _extensions(
    plan: CertificatePlan, certificate: x509.Certificate, issuer: IssuerProfile, latitude: Latitude
) -> Iterator[str]:
    expected = _expected(plan.key_usage, plan.extended_key_usage, plan.extensions)
    found = set()
    for extension in certificate.extensions:
        oid, value = extension.oid.dotted_string, extension.value
        found.add(oid)
        if oid in expected:
            if expected[oid] != (extension.critical, value.public_bytes()) and not (
                latitude.constraints and oid == BASIC_CONSTRAINTS and value.public_bytes() == expected[oid][1]
            ):
                yield from _difference(plan, extension, expected[oid])
        elif oid in _IDENTIFIERS and not extension.critical:
            yield from _identifier(value, issuer)
        elif isinstance(value, x509.SubjectAlternativeName) and plan.names:
            if extension.critical is not (not (certificate.subject.rdns if latitude.subject else plan.subject)):
                yield "subjectAltName: wrong criticality"
            yield from _names(plan, value)
        elif extension.critical or oid not in latitude.extensions:
            yield f"extension {oid}: not planned, or critical where it should not be"
    wanted = expected.keys() | {SUBJECT_ALT_NAME} if plan.names else expected.keys()
    if latitude.constraints:
        wanted = wanted - {BASIC_CONSTRAINTS}
    for oid in sorted(wanted - found):
        yield f"extension {oid}: missing"


@lru_cache(maxsize=256)
def _expected(
    key_usage: frozenset[KeyUsage], extended_key_usage: tuple[str, ...], extensions: tuple[PlannedExtension, ...]
) -> dict[str, tuple[bool, bytes]]:
    """Return criticality and DER by type, of all extensions that are the same for a whole profile."""
    purposes = map(x509.ObjectIdentifier, extended_key_usage)
    expected = {
        BASIC_CONSTRAINTS: (True, x509.BasicConstraints(ca=False, path_length=None).public_bytes()),
        EXTENDED_KEY_USAGE: (False, x509.ExtendedKeyUsage(purposes).public_bytes()),
    }
    if key_usage:
        usage = x509.KeyUsage(**{attribute: word in key_usage for word, attribute in _USAGES.items()})
        expected[KEY_USAGE] = (True, usage.public_bytes())
    return expected | {extension.oid: (extension.critical, extension.value) for extension in extensions}


def _difference(
    plan: CertificatePlan, extension: x509.Extension[x509.ExtensionType], expected: tuple[bool, bytes]
) -> Iterator[str]:
    critical, value = expected[0], extension.value
    if extension.critical is not critical:
        yield f"extension {extension.oid.dotted_string}: wrong criticality"
    if isinstance(value, x509.ExtendedKeyUsage):
        purposes = [purpose.dotted_string for purpose in value]
        if sorted(purposes) != sorted(plan.extended_key_usage):
            yield f"extendedKeyUsage: planned {_list(plan.extended_key_usage)}, is {_list(purposes)}"
    elif value.public_bytes() != expected[1]:
        yield f"extension {extension.oid.dotted_string}: planned {expected[1].hex()}, is {value.public_bytes().hex()}"


def _identifier(value: x509.ExtensionType, issuer: IssuerProfile) -> Iterator[str]:
    """Compare authorityKeyIdentifier where it can contradict; subjectKeyIdentifier is the CA's choice."""
    if isinstance(value, x509.AuthorityKeyIdentifier):
        identifier = value.key_identifier
        if identifier is not None and identifier != issuer.key_identifier:
            yield "authorityKeyIdentifier: of another key"
        named, own = value.authority_cert_issuer, issuer.certificate
        place = [name.value for name in named or ()], value.authority_cert_serial_number
        if named is not None and place != ([own.issuer], own.serial_number):
            yield "authorityKeyIdentifier: of another certificate"


def _names(plan: CertificatePlan, value: x509.SubjectAlternativeName) -> Iterator[str]:
    planned = plan.names
    if [name.value for name in value] == [name.value for name in planned] and all(
        isinstance(one, x509.DNSName) and isinstance(other, names.DnsName)
        for one, other in zip(value, planned, strict=True)
    ):
        return  # what nearly all have; the others are compared one kind with another
    try:
        found = [names.from_x509(name) for name in value]
    except MalformedName as error:
        yield f"subjectAltName: {error}"
        return
    if len(found) != len(plan.names) or set(found) != set(plan.names):
        yield f"subjectAltName: planned {_list(plan.names)}, is {_list(found)}"


def _list(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, values))) or "none"
