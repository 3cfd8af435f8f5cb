"""Was what was signed what was planned? Asked of every certificate, whatever signed it, before it leaves.

The certificate is read by ``cryptography``, not by the code that wrote it: a mistake of the writer shows here. What is
octet for octet the same in all certificates of a profile is read once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ca import der, names
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
    PerIssuer,
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
_IDENTIFIERS = frozenset({SUBJECT_KEY_IDENTIFIER, AUTHORITY_KEY_IDENTIFIER})
_ALGORITHM, _ISSUER, _VALIDITY, _KEY = 2, 3, 4, 6
_EXTENSIONS = der.context(3)
_NAMES_TYPE, _CRITICAL = der.oid(SUBJECT_ALT_NAME), der.boolean(True)  # noqa: FBT003 - a BOOLEAN is what it writes
_IDENTIFIER = der.oid(SUBJECT_KEY_IDENTIFIER) + b"\x04\x16\x04\x14"
_IDENTIFIER_SIZE = len(_IDENTIFIER) + 20
_REMEMBERED = 1024
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
    """Parts of a certificate as they are (RFC 5280 section 4.1), for what can be compared so."""

    whole: bytes
    signed: bytes
    algorithms: tuple[bytes, bytes]
    issuer: bytes
    validity: bytes
    key: bytes
    unknown: list[der.Tlv]
    extensions: list[der.Tlv]
    signature: bytes

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self:
        """Take them. Raises MalformedDer."""
        whole = certificate.public_bytes(_DER)
        tbs, algorithm, signature = der.children(der.read(whole))
        parts = der.children(tbs)
        if parts[0].tag != der.context(0):
            parts.insert(0, parts[0])  # version 1 leaves the version out
        rest = parts[_KEY + 1 :]
        found = [each for part in rest if part.tag == _EXTENSIONS for each in der.children(part)]
        unknown = [part for part in rest if part.tag != _EXTENSIONS]
        extensions = [one for each in found for one in der.children(each)]
        both, key = (parts[_ALGORITHM].raw, algorithm.raw), parts[_KEY].raw
        issuer, validity = parts[_ISSUER].raw, parts[_VALIDITY].raw
        bits = der.read_bits(signature)[1]
        return cls(whole, tbs.raw, both, issuer, validity, key, unknown, extensions, bits)


class _Issuer:
    """What is known of an issuing CA, and of the certificates that were its own."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self.certificate = certificate
        self.profile = IssuerProfile.of(certificate)
        self._verify: Callable[[bytes, bytes], None] | None = None
        self._right: dict[bytes, tuple[object, ...]] = {}

    def has_plainly_signed(self, octets: _Octets) -> bool:
        """Whether name and algorithms are octet for octet its own and its key verifies; False decides nothing.

        What `verify_directly_issued_by` does, with a key that was loaded before. Raises InvalidSignature.
        """
        algorithm = self.profile.algorithm
        if octets.issuer != self.profile.name or octets.algorithms != (algorithm, algorithm):
            return False
        if self._verify is None:
            self._verify = verifier(self.profile.key)
        self._verify(octets.signature, octets.signed)
        return True

    def remember(self, plan: CertificatePlan, octets: _Octets) -> None:
        """Keep the extensions of a certificate that is exactly as planned, but for what is its holder's."""
        if len(self._right) >= _REMEMBERED:
            self._right.clear()
        self._right[_apart(octets)[0]] = (plan.key_usage, plan.extended_key_usage, plan.extensions)

    def has_seen(self, plan: CertificatePlan, octets: _Octets) -> bool:
        """Whether the extensions are octet for octet those that were right for such a plan; False decides nothing.

        The names must be what ``cryptography`` writes of those planned, the key identifier 20 octets.
        """
        shared, named, identifiers = _apart(octets)
        expected = [_written_names(plan)] if plan.names else []
        if named != expected or identifiers > 1:
            return False
        return self._right.get(shared) == (plan.key_usage, plan.extended_key_usage, plan.extensions)


def _apart(octets: _Octets) -> tuple[bytes, list[bytes], int]:
    """Return the extensions that certificates share, in order, what is in those of names, how many identifiers."""
    shared, named, identifiers = [], [], 0
    for extension in octets.extensions:
        content = extension.content
        if content.startswith(_NAMES_TYPE):
            named.append(content)
        elif len(content) == _IDENTIFIER_SIZE and content.startswith(_IDENTIFIER):
            identifiers += 1
        else:
            shared.append(extension.raw)
    return b"".join(shared), named, identifiers


def _written_names(plan: CertificatePlan) -> bytes:
    """Return what is in the extension subjectAltName; empty for kinds of names that are only compared one by one."""
    if not all(isinstance(name, names.DnsName) for name in plan.names):
        return b""
    value = x509.SubjectAlternativeName([x509.DNSName(str(name.value)) for name in plan.names]).public_bytes()
    return b"".join((_NAMES_TYPE, b"" if plan.subject.rdns else _CRITICAL, der.octet_string(value)))


_known = PerIssuer(_Issuer)


def check(
    plan: CertificatePlan,
    serial: int,
    certificate: x509.Certificate,
    issuer_certificate: x509.Certificate,
    latitude: Latitude = NO_LATITUDE,
) -> bytes:
    """Compare every field and extension of a certificate with its plan, and verify its signature.

    The order of names and purposes is free, for the sake of remote CAs; `latitude` says what else they may choose. Key
    identifiers are the issuer's choice, but may not contradict its certificate.

    Returns:
        The DER of the certificate that is as planned.

    Raises:
        PlanMismatch: with all differences.
    """
    try:
        octets, issuer = _Octets.of(certificate), _known(issuer_certificate)
        seen = latitude is NO_LATITUDE and issuer.has_seen(plan, octets)
        differences = [
            *_fields(plan, serial, certificate, latitude, octets),
            *_validity(plan, certificate, issuer.profile.not_after, latitude, octets),
            *(() if seen else _extensions(plan, certificate, issuer.profile, latitude)),
            *_signature(certificate, issuer, octets),
        ]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm) as error:
        raise PlanMismatch((f"the certificate can't be read: {error}",)) from error
    if differences:
        raise PlanMismatch(tuple(differences))
    if not seen and latitude is NO_LATITUDE:
        issuer.remember(plan, octets)
    return octets.whole


def _fields(
    plan: CertificatePlan, serial: int, certificate: x509.Certificate, latitude: Latitude, octets: _Octets
) -> Iterator[str]:
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
    if octets.unknown:
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
    plan: CertificatePlan, certificate: x509.Certificate, limit: datetime, latitude: Latitude, octets: _Octets
) -> Iterator[str]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    early, late = plan.not_after - latitude.clock, plan.not_after + latitude.clock
    if latitude.shorter:
        early = begin
    if abs(begin - plan.not_before) > latitude.clock or not early <= end <= late:
        yield f"validity: planned {plan.not_before} to {plan.not_after}, is {begin} to {end}"
    if end > limit:
        yield "validity: ends after the issuing CA's"
    if octets.validity != write_validity(begin, end):
        yield "validity: not in the form that its years have (RFC 5280 section 4.1.2.5)"


def _signature(certificate: x509.Certificate, issuer: _Issuer, octets: _Octets) -> Iterator[str]:
    try:
        if not issuer.has_plainly_signed(octets):
            certificate.verify_directly_issued_by(issuer.certificate)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        yield "signature: not by the issuing CA, or the issuer's name is not its name"


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
