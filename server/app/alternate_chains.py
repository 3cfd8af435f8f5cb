"""Other chains of an ACME endpoint's issuers: its CAs as somebody else has certified them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from policies.document import DocumentErrors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policies.request import EndpointName
    from server.app.secret_sources import KeyPath, Reader
    from server.config import Config


def load_alternate_chains(
    name: EndpointName, config: Config, reader: Reader, issuers: Sequence[x509.Certificate]
) -> tuple[tuple[x509.Certificate, ...], ...]:
    """Return the alternate chains of an endpoint, each beginning with another certificate of an issuing CA.

    Args:
        name: the endpoint.
        config: the configuration.
        reader: reads its files.
        issuers: the issuing CAs' own certificates.

    Raises:
        DocumentErrors: a file is missing, is none, or is no chain of an issuing CA.
    """
    found = []
    for number, file in enumerate(config.endpoints.acme[name].alternate_chains):
        where: KeyPath = ("endpoints", str(name), "alternate_chains", number)
        octets = reader.file(where, file)
        try:
            chain = tuple(x509.load_pem_x509_certificates(octets))
        except ValueError as error:
            raise DocumentErrors([config.problem(where, f"{file} holds no PEM certificates")]) from error
        wrong = _fault(chain, issuers)
        if wrong:
            raise DocumentErrors([config.problem(where, f"{file}: {wrong}")])
        found.append(chain)
    return tuple(found)


def _fault(chain: Sequence[x509.Certificate], issuers: Sequence[x509.Certificate]) -> str:
    first = chain[0]
    if not any(first.subject == each.subject and first.public_key() == each.public_key() for each in issuers):
        return "its first certificate must be another one of an issuing CA: same name, same key"
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            return f"{lower.subject.rfc4514_string()} is not certified by the one after it"
    return ""
