"""The certificates of an issuing CA and those above it: read, brought into order, and proven to hold together."""

from __future__ import annotations

from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from ca.constraints import NameConstraints, permitted_base
from ca.issuer import IssuerConfigurationError
from ca.names import MalformedName


def load_chain(certificate_pem: bytes, chain_pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return an issuing CA's certificate and those above it, in order, root last.

    Args:
        certificate_pem: the issuing CA's certificate; what follows it in the file is ignored.
        chain_pem: the certificates above, in any order; the issuing CA's own may be among them. May be empty.

    Raises:
        IssuerConfigurationError: something can't be read or does not belong together; the text says what.
    """
    certificate = _certificates(certificate_pem, "the issuing CA's certificate")[0]
    above = _certificates(chain_pem, "the chain") if chain_pem.strip() else []
    return held_together(certificate, *_ordered(certificate, above))


def held_together(*chain: x509.Certificate) -> tuple[x509.Certificate, ...]:
    """Return the chain, an issuing CA first.

    Raises IssuerConfigurationError when it does not hold, is no CA's, has extensions that can't be read, or permits
    subjects under a name alone that none can be under.
    """
    for each in chain:
        _require_readable(each)
    _require_ca(chain[0])
    for below, above in pairwise(chain):
        _require_issued(below, above)
    _require_subjects(chain)
    return chain


def _require_subjects(chain: tuple[x509.Certificate, ...]) -> None:
    try:
        permitted_base(found for found in map(NameConstraints.of, chain) if found is not None)
    except MalformedName as error:
        what = "the name constraints of the issuing CA, or of one above"
        raise IssuerConfigurationError(f"{what}, permit a directory name that is no text: {error}") from error


def _require_readable(certificate: x509.Certificate) -> None:
    try:
        _ = certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        name = certificate.subject.rfc4514_string()
        raise IssuerConfigurationError(f"the extensions of the CA certificate {name} can't be read: {error}") from error


def _require_ca(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise IssuerConfigurationError("the issuing CA's certificate lacks basicConstraints or keyUsage") from error
    if not constraints.ca or not usage.key_cert_sign:
        raise IssuerConfigurationError("the issuing CA's certificate is not a CA certificate")


def _require_issued(below: x509.Certificate, above: x509.Certificate) -> None:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        names = f"{below.subject.rfc4514_string()} is not issued by {above.subject.rfc4514_string()}"
        raise IssuerConfigurationError(f"the chain does not hold: {names}") from error


def _ordered(certificate: x509.Certificate, above: list[x509.Certificate]) -> list[x509.Certificate]:
    """Bring the certificates above an issuing CA into order. What is left over is a mistake worth telling."""
    rest = [other for other in dict.fromkeys(above) if other != certificate]
    ordered: list[x509.Certificate] = []
    last = certificate
    while rest and last.subject != last.issuer:
        following = next((other for other in rest if other.subject == last.issuer), None)
        if following is None:
            break
        rest.remove(following)
        ordered.append(following)
        last = following
    if rest:
        raise IssuerConfigurationError(f"the chain has a foreign certificate: {rest[0].subject.rfc4514_string()}")
    return ordered


def _certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise IssuerConfigurationError(f"{what} can't be read: {error}") from error
