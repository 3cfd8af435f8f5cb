"""Whether a chain of certificates leads to a root that an administrator has pinned (RFC 5280 section 6)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import MD5, SHA1

from server.acme.challenges.attestation.vocabulary import BadStatement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_UNDERSTOOD = {"2.5.29.15", "2.5.29.19", "2.5.29.32", "2.5.29.37"}
"""keyUsage, basicConstraints, certificatePolicies, extKeyUsage: what a CA's certificate may insist on."""


def follow(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime) -> None:
    """Return when each certificate is issued by the next and the last by a root, or is one.

    The attestation certificate comes first. It must not be a CA's: a device could make others then.

    Raises:
        BadStatement: broken, out of date, under no pinned root.
    """
    for certificate in chain:
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise BadStatement("a certificate of the statement is not valid now")
    if _constraints(chain[0]) is not None:
        raise BadStatement("the attestation certificate is that of a CA")
    for depth, (lower, upper) in enumerate(pairwise(chain)):
        _judge_issuer(upper, depth)
        if not _is_issued(lower, upper):
            raise BadStatement("a certificate of the statement is not issued by the next")
    last = chain[-1]
    if len(chain) > 1 and last in roots:
        return
    for root in roots:
        if _is_issued(last, root) and root.not_valid_before_utc <= now <= root.not_valid_after_utc:
            _judge_issuer(root, len(chain) - 1)
            return
    raise BadStatement("the certificates of the statement lead to no root that is trusted for this format")


def _is_issued(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    if isinstance(lower.signature_hash_algorithm, MD5 | SHA1):
        return False
    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _judge_issuer(certificate: x509.Certificate, below: int) -> None:
    """Raise BadStatement unless a certificate may issue others, with so many CAs between it and the end."""
    constraints = _constraints(certificate)
    if constraints is None:
        raise BadStatement("a certificate above the attestation certificate is not that of a CA")
    if constraints.path_length is not None and constraints.path_length < below:
        raise BadStatement("a CA of the statement has more CAs below it than it may")
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.KeyUsage) and not extension.value.key_cert_sign:
            raise BadStatement("a CA of the statement may not sign certificates")
        if extension.critical and extension.oid.dotted_string not in _UNDERSTOOD:
            raise BadStatement("a CA of the statement has a critical extension that is not understood")


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    """Return the basicConstraints of a CA, None for what is no CA."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None
    return found if found.ca else None
