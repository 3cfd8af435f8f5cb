"""Believing a statement of possession (RFC 9883): the certificate that it names is ours, good, and of the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ca import der
from ca.keys import BadSignature, UnusableSignature
from ca.names import MalformedName, names_of, subject_of
from server.outcome import Problem, Reason
from server.store.certificates import find_by_serial

if TYPE_CHECKING:
    from datetime import datetime

    from ca.csr import Csr
    from ca.keys import SubjectKey
    from ca.statement import Statement
    from server.store import Store
    from server.store.certificates import StoredCertificate

_UNKNOWN = "the statement of possession names no certificate that was issued here"


async def objection(store: Store, csr: Csr, now: datetime) -> Problem | None:
    """Return why the statement of a request is not believed; None when it is, or when there is none.

    RFC 9883 leaves it to the CA whose certificates it takes: ours, which the record knows. The request may have no
    other subject and no names beside those of that certificate, whose key usage must allow signatures.

    Raises:
        StoreUnavailable: nobody knows.
    """
    statement = csr.statement
    if statement is None:
        return None
    stored = await store.read(lambda connection: find_by_serial(connection, statement.serial))
    why = _UNKNOWN if stored is None else _objection(stored, statement, csr, now)
    return None if why is None else Problem(Reason.BAD_PROOF, f"No proof of possession: {why}.")


def _objection(stored: StoredCertificate, statement: Statement, csr: Csr, now: datetime) -> str | None:
    certificate = x509.load_der_x509_certificate(stored.der)
    if certificate.issuer.public_bytes() != statement.issuer or statement.certificate not in {None, stored.der}:
        return _UNKNOWN
    if stored.revoked_at is not None or not stored.not_before <= now <= stored.not_after:
        return "the certificate that the statement names is not good now"
    if not _may_sign(certificate):
        return "the certificate that the statement names is not for signatures"
    if not _covers(certificate, csr):
        return "the certificate that the statement names is for others"
    try:
        statement.prove(_key(certificate))
    except (BadSignature, UnusableSignature, UnsupportedAlgorithm, der.MalformedDer):
        return "the request is not signed with the key of the certificate that its statement names"
    return None


def _covers(certificate: x509.Certificate, csr: Csr) -> bool:
    """Whether it is for this subject and all these names; one with names that are refused today is for nobody."""
    try:
        return subject_of(certificate) == csr.subject and set(csr.names) <= set(names_of(certificate))
    except MalformedName:
        return False


def _key(certificate: x509.Certificate) -> SubjectKey:
    return certificate.public_key()  # type: ignore[return-value] # we have issued it: its kind is known


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return True
