"""What pkilint says of lists and answers."""

from __future__ import annotations

from typing import Any

from pkilint import loader, pkix
from pkilint.pkix import crl, extension, name, ocsp
from pkilint.validation import ValidationFindingSeverity

_DECODERS = [
    pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
    pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
]


def _serious(results: Any) -> list[str]:
    return [
        f"{result.node.path}: {found.finding.code} {found.message or ''}"
        for result in results
        for found in result.finding_descriptions
        if found.finding.severity in {ValidationFindingSeverity.ERROR, ValidationFindingSeverity.FATAL}
    ]


def lint_crl(octets: bytes) -> list[str]:
    """Return what is wrong with a list by RFC 5280."""
    parts = [
        crl.create_issuer_validator_container([]),
        crl.create_validity_validator_container([]),
        crl.create_extensions_validator_container([]),
    ]
    rules = crl.create_pkix_crl_validator_container(_DECODERS, parts)
    return _serious(rules.validate(loader.RFC5280CertificateListDocumentLoader().load_der_document(octets).root))


def lint_ocsp(octets: bytes) -> list[str]:
    """Return what is wrong with an answer by RFC 6960."""
    rules = ocsp.create_pkix_ocsp_response_validator_container([ocsp.create_response_decoder(), *_DECODERS], [])
    return _serious(rules.validate(loader.RFC6960OCSPResponseDocumentLoader().load_der_document(octets).root))
