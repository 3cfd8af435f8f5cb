"""Judging a presented certificate that this service issued itself."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256

from ca.names import MalformedName
from ca.tbs import PerCertificate
from policies.request import CertificateEvidence
from server.outcome import Problem, Reason
from server.store import StoreUnavailable
from server.store.certificates import StoredCertificate, as_it_is_now, find_presented, identity_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime, timedelta

    import sqlalchemy as sa
    from cryptography import x509

    from policies.request import EndpointName
    from server.store import Store

_REMEMBERED = 4096


class CertificateJudge:
    """Judges certificates by the record and by the signatures of our own issuers.

    Args:
        store: the record of what was issued.
        issuers: the certificates of our issuers, by their configured names.
    """

    def __init__(self, store: Store, issuers: Mapping[str, x509.Certificate]) -> None:
        self._store = store
        self._issuers = issuers
        self._verified: OrderedDict[bytes, StoredCertificate] = OrderedDict()
        # One for each connection: the library encodes a certificate anew to take its fingerprint.
        self._fingerprint = PerCertificate(lambda leaf: leaf.fingerprint(SHA256()), remembered=_REMEMBERED)
        self.issuer_names = frozenset(certificate.subject.public_bytes() for certificate in issuers.values())

    async def judge(
        self,
        leaf: x509.Certificate,
        *,
        accepted: Collection[EndpointName],
        now: datetime,
        grace: timedelta,
    ) -> tuple[CertificateEvidence, StoredCertificate] | Problem:
        """Return what the certificate proves, or why it proves nothing; the key's possession was proven elsewhere.

        Args:
            leaf: the presented certificate.
            accepted: the endpoints whose certificates count.
            now: the time.
            grace: how long after its end it still counts; it never counts before its beginning.
        """
        fingerprint = self._fingerprint(leaf)
        try:
            stored = await self._store.read(lambda connection: self._look_up(connection, leaf, fingerprint))
        except StoreUnavailable as error:
            return Problem(
                Reason.STORE_UNAVAILABLE, "the certificate can't be checked now", detail=str(error), retry_after=5
            )
        if stored is None or not self._signed_by_us(leaf, stored):
            return _rejected("the presented certificate was not issued by this service", leaf)
        why = objection(stored, accepted, now, grace)
        if why is not None:
            return _rejected(why, leaf)
        try:
            found = identity_in(stored.der)  # the same octets: they have the same hash
        except MalformedName as error:  # it was issued before this was refused
            message = "the presented certificate has names that are not accepted any more: enroll anew"
            return _rejected(message, leaf, str(error))
        evidence = CertificateEvidence(
            subject=found.subject,
            names=found.names,
            serial=stored.serial,
            not_after=stored.not_after,
            anchor="own",
            profile=stored.profile,
            endpoint=stored.endpoint,
        )
        return evidence, stored

    def _look_up(
        self, connection: sa.Connection, leaf: x509.Certificate, fingerprint: bytes
    ) -> StoredCertificate | None:
        """Ask the record, each time: of what was found good before, only whether it is revoked now."""
        known = self._verified.get(fingerprint)
        if known is not None:
            return as_it_is_now(connection, known)
        return find_presented(connection, leaf.serial_number, fingerprint)

    def _signed_by_us(self, leaf: x509.Certificate, stored: StoredCertificate) -> bool:
        """Verify the signature, once for each certificate: neither it nor the issuer's key can change."""
        fingerprint = stored.fingerprint
        if fingerprint in self._verified:
            self._verified.move_to_end(fingerprint)
            return True
        signer = self._issuers.get(stored.issuer)
        if signer is None:
            return False
        try:
            leaf.verify_directly_issued_by(signer)
        except (InvalidSignature, ValueError, TypeError):
            return False
        self._verified[fingerprint] = stored
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return True


def objection(
    stored: StoredCertificate, accepted: Collection[EndpointName], now: datetime, grace: timedelta
) -> str | None:
    """Return what stands against a certificate of ours, None when it is good here and now."""
    if stored.revoked_at is not None:
        return "the presented certificate is revoked"
    if now < stored.not_before:
        return "the presented certificate is not valid yet"
    if now - stored.not_after > grace:  # not the other way round: beyond the year 9999 there is no time
        return "the presented certificate has expired"
    if stored.endpoint not in accepted:
        return "the presented certificate was issued for another endpoint"
    return None


def _rejected(message: str, leaf: x509.Certificate, why: str = "") -> Problem:
    detail = f"serial number {leaf.serial_number:x}"
    return Problem(Reason.CERTIFICATE_REJECTED, message, detail=f"{detail}: {why}" if why else detail)
