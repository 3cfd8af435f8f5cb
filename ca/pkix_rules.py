"""The PKIX rules, all that pkilint has: loading them takes longer than loading any other part of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pkilint.loader import RFC5280CertificateDocumentLoader
from pkilint.pkix import certificate as pkix_certificate
from pkilint.pkix import extension as pkix_extension
from pkilint.pkix import name as pkix_name
from pkilint.validation import ValidationFindingSeverity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pkilint.document import Document

_SERIOUS = frozenset({ValidationFindingSeverity.ERROR, ValidationFindingSeverity.FATAL})


class PkixRules:
    """What RFC 5280 and its neighbours say of a certificate. Not for several threads at once."""

    def __init__(self) -> None:
        self.container = pkix_certificate.create_pkix_certificate_validator_container(
            pkix_certificate.create_decoding_validators(
                pkix_name.ATTRIBUTE_TYPE_MAPPINGS, pkix_extension.EXTENSION_MAPPINGS
            ),
            [
                pkix_certificate.create_issuer_validator_container([]),
                pkix_certificate.create_validity_validator_container(),
                pkix_certificate.create_subject_validator_container([]),
                pkix_certificate.create_extensions_validator_container([]),
                pkix_certificate.create_spki_validator_container([]),
            ],
        )

    def read(self, certificate: bytes) -> Document:
        """Read a certificate, DER. Raises ValueError."""
        return RFC5280CertificateDocumentLoader().load_der_document(certificate)

    def broken(self, document: Document) -> Iterator[tuple[str, str, str, str]]:
        """Yield code, severity (``error`` or ``fatal``), place and message of each rule that does not hold."""
        for result in self.container.validate(document.root):
            for found in result.finding_descriptions:
                if found.finding.severity in _SERIOUS:
                    severity = found.finding.severity.name.lower()
                    yield found.finding.code, severity, result.node.path, found.message or ""
