"""TPM 2.0: an attestation key says that the key for the certificate was made in its TPM (WebAuthn section 8.3)."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from cryptography import x509

from server.acme.challenges.attestation import tpm_structures as structures
from server.acme.challenges.attestation.signatures import verify
from server.acme.challenges.attestation.vocabulary import Attested, BadStatement
from server.acme.codec.device_identifiers import from_other_name

if TYPE_CHECKING:
    from server.acme.challenges.attestation.statement import Statement
    from server.acme.challenges.attestation.vocabulary import Expected

AIK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.3")
HARDWARE = frozenset({"2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"})
"""Manufacturer, model and version of the TPM, in the directory name of an attestation key's certificate."""

_NEEDED = structures.FIXED_TPM | structures.FIXED_PARENT | structures.DATA_ORIGIN | structures.SIGN


def judge(statement: Statement, expected: Expected) -> Attested:
    """Return what the statement attests; its chain was followed. Raises BadStatement."""
    statement.expect("ver", "alg", "x5c", "sig", "certInfo", "pubArea")
    if statement.members["ver"] != "2.0":
        raise BadStatement("ver is not 2.0")
    leaf = statement.certificates()[0]
    names = _names(leaf)
    algorithm, info = statement.number("alg"), statement.octets("certInfo")
    verify(algorithm, leaf.public_key(), structures.decode_signature(statement.octets("sig"), algorithm), info)
    certified, public = structures.decode_certified(info), structures.decode_public(statement.octets("pubArea"))
    digest = hashlib.sha256(expected.key_authorization.encode("ascii")).digest()
    if not hmac.compare_digest(certified.extra, digest):
        raise BadStatement("the attestation is not for the key authorization of this challenge")
    if certified.name != public.name:
        raise BadStatement("certInfo is about another key than pubArea")
    if public.attributes & _NEEDED != _NEEDED:
        raise BadStatement("the key was not made in the TPM, can leave it, or is not for signatures")
    others = (each for each in names if isinstance(each, x509.OtherName))
    found = (from_other_name(each.type_id.dotted_string, each.value) for each in others)
    return Attested(public.spki, frozenset(each for each in found if each is not None))


def _names(leaf: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    """Return the names of an attestation key's certificate that is as section 8.3.1 wants it. Raises BadStatement."""
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = tuple(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        raise BadStatement("the certificate of the attestation key lacks extKeyUsage or subjectAltName") from None
    if AIK_CERTIFICATE not in purposes:
        raise BadStatement("the certificate of the attestation key is not for that purpose")
    if leaf.subject.rdns:
        raise BadStatement("the certificate of the attestation key has a subject")
    directory = (each.value for each in names if isinstance(each, x509.DirectoryName))
    types = {attribute.oid.dotted_string for name in directory for attribute in name}
    if not types >= HARDWARE:
        raise BadStatement("the certificate of the attestation key does not say which TPM it is")
    return names
