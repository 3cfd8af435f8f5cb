"""Was what was signed what was planned? Asked of every certificate, whatever signed it, before it leaves.

The certificate is read by ``cryptography``, not by the code that wrote it: a mistake of the writer shows here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ca import names
from ca.names import DistinguishedName, MalformedName
from ca.plan import KeyUsage
from ca.tbs import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SUBJECT_ALT_NAME,
    SUBJECT_KEY_IDENTIFIER,
    IssuerProfile,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ca.plan import CertificatePlan

_USAGES = {
    KeyUsage.DIGITAL_SIGNATURE: "digital_signature",
    KeyUsage.CONTENT_COMMITMENT: "content_commitment",
    KeyUsage.KEY_ENCIPHERMENT: "key_encipherment",
    KeyUsage.DATA_ENCIPHERMENT: "data_encipherment",
    KeyUsage.KEY_AGREEMENT: "key_agreement",
    KeyUsage.KEY_CERT_SIGN: "key_cert_sign",
    KeyUsage.CRL_SIGN: "crl_sign",
}
_DER, _SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


class PlanMismatch(Exception):
    """A certificate is not what was planned: it must not leave.

    Attributes:
        differences: each as one phrase, for administrators.
    """

    def __init__(self, differences: tuple[str, ...]) -> None:
        super().__init__("; ".join(differences))
        self.differences = differences


def check(
    plan: CertificatePlan, serial: int, certificate: x509.Certificate, issuer_certificate: x509.Certificate
) -> None:
    """Compare every field and extension of a certificate with its plan, and verify its signature.

    The order of names and purposes is free, for the sake of remote CAs. Key identifiers are the issuer's choice, but
    may not contradict its certificate.

    Raises:
        PlanMismatch: with all differences.
    """
    try:
        differences = (
            *_fields(plan, serial, certificate, issuer_certificate),
            *_extensions(plan, certificate, issuer_certificate),
            *_signature(certificate, issuer_certificate),
        )
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm) as error:
        raise PlanMismatch((f"the certificate can't be read: {error}",)) from error
    if differences:
        raise PlanMismatch(differences)


_issuer_profile = lru_cache(maxsize=32)(IssuerProfile.of)


def _fields(
    plan: CertificatePlan, serial: int, certificate: x509.Certificate, issuer: x509.Certificate
) -> Iterator[str]:
    if certificate.version is not x509.Version.v3:
        yield f"version: {certificate.version.name}"
    if certificate.serial_number != serial:
        yield f"serial number: planned {serial:x}, is {certificate.serial_number:x}"
    if certificate.not_valid_before_utc != plan.not_before or certificate.not_valid_after_utc != plan.not_after:
        yield (
            f"validity: planned {plan.not_before} to {plan.not_after}, "
            f"is {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}"
        )
    subject = DistinguishedName.from_x509(certificate.subject)
    if subject != plan.subject:
        yield f"subject: planned {plan.subject}, is {subject}"
    if certificate.public_key().public_bytes(_DER, _SPKI) != plan.spki:
        yield "public key: another than planned"
    if certificate.not_valid_after_utc > issuer.not_valid_after_utc:
        yield "validity: ends after the issuing CA's"


def _signature(certificate: x509.Certificate, issuer: x509.Certificate) -> Iterator[str]:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        yield "signature: not by the issuing CA, or the issuer's name is not its name"


def _extensions(plan: CertificatePlan, certificate: x509.Certificate, issuer: x509.Certificate) -> Iterator[str]:
    planned = {extension.oid: extension for extension in plan.extensions}
    missing = _expected(plan) | planned.keys()
    for extension in certificate.extensions:
        oid, value = extension.oid.dotted_string, extension.value
        if oid in planned:
            if (extension.critical, value.public_bytes()) != (planned[oid].critical, planned[oid].value):
                yield f"extension {oid}: another than planned"
        elif oid not in missing and oid not in {SUBJECT_KEY_IDENTIFIER, AUTHORITY_KEY_IDENTIFIER}:
            yield f"extension {oid}: not planned"
        else:
            if extension.critical is not _critical(oid, plan):
                yield f"extension {oid}: wrong criticality"
            yield from _value(plan, value, issuer)
        missing.discard(oid)
    for oid in sorted(missing):
        yield f"extension {oid}: missing"


def _expected(plan: CertificatePlan) -> set[str]:
    """Return the extensions that the fields of a plan ask for."""
    expected = {BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE}
    if plan.key_usage:
        expected.add(KEY_USAGE)
    if plan.names:
        expected.add(SUBJECT_ALT_NAME)
    return expected


def _critical(oid: str, plan: CertificatePlan) -> bool:
    if oid == SUBJECT_ALT_NAME:
        return not plan.subject
    return oid in {BASIC_CONSTRAINTS, KEY_USAGE}


def _value(plan: CertificatePlan, value: x509.ExtensionType, issuer: x509.Certificate) -> Iterator[str]:
    match value:
        case x509.BasicConstraints():
            if value.ca is not plan.ca or value.path_length is not None:
                yield f"basicConstraints: ca is {value.ca}, path length {value.path_length}"
        case x509.KeyUsage():
            if (usage := _usage(value)) != plan.key_usage:
                yield f"keyUsage: planned {_list(plan.key_usage)}, is {_list(usage)}"
        case x509.ExtendedKeyUsage():
            purposes = [purpose.dotted_string for purpose in value]
            if sorted(purposes) != sorted(plan.extended_key_usage):
                yield f"extendedKeyUsage: planned {_list(plan.extended_key_usage)}, is {_list(purposes)}"
        case x509.SubjectAlternativeName():
            yield from _names(plan, value)
        case x509.AuthorityKeyIdentifier():
            identifier = value.key_identifier
            if identifier is not None and identifier != _issuer_profile(issuer).key_identifier:
                yield "authorityKeyIdentifier: of another key"
        case _:  # subjectKeyIdentifier is the CA's choice
            pass


def _usage(value: x509.KeyUsage) -> frozenset[KeyUsage]:
    found = {usage for usage, attribute in _USAGES.items() if getattr(value, attribute)}
    if value.key_agreement and value.encipher_only:
        found.add(KeyUsage.ENCIPHER_ONLY)
    if value.key_agreement and value.decipher_only:
        found.add(KeyUsage.DECIPHER_ONLY)
    return frozenset(found)


def _names(plan: CertificatePlan, value: x509.SubjectAlternativeName) -> Iterator[str]:
    try:
        found = [names.from_x509(name) for name in value]
    except MalformedName as error:
        yield f"subjectAltName: {error}"
        return
    if len(found) != len(plan.names) or set(found) != set(plan.names):
        yield f"subjectAltName: planned {_list(plan.names)}, is {_list(found)}"


def _list(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, values))) or "none"
