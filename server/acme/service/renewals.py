"""Renewal information (RFC 9773): when a certificate should be renewed, and whether an order may replace it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509

from server.acme.codec.certificate_id import decode_certificate_id
from server.acme.codec.replies import encode_renewal_info
from server.acme.messages import ErrorType, Rejected, Reply, rejected
from server.acme.records import renewals
from server.store.certificates import find_by_serial

if TYPE_CHECKING:
    from datetime import datetime

    import sqlalchemy as sa

    from server.acme.codec.certificate_id import CertificateId
    from server.acme.messages import NewOrder
    from server.acme.records.renewals import MovedWindow
    from server.acme.service.authentication import Signed
    from server.acme.service.endpoint import AcmeEndpoint
    from server.store.certificates import StoredCertificate

_PAST = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_PARTS = 4
_SPREAD = 1 << 32


@dataclass(frozen=True, slots=True)
class Window:
    """When to renew; it ends after it starts."""

    start: datetime
    end: datetime


def suggested_window(
    stored: StoredCertificate, moved: MovedWindow | None, share: timedelta | float | None = None
) -> Window:
    """Return when a certificate should be renewed.

    An administrator's word comes first; a revoked certificate should be replaced at once; otherwise the window lies in
    the part of the lifetime that the profile keeps for renewals. That part is cut in quarters: where in the first the
    window begins follows from the serial number, and it is a quarter long. So what was issued in one hour is not
    renewed in one hour, even by clients that always take the beginning, and half of that part is left for trouble.

    Args:
        stored: the certificate.
        moved: the window that somebody has moved it to.
        share: how long before the end renewals begin, or the share of the lifetime; None for a third.
    """
    if moved is not None:
        return Window(moved.starts, moved.ends)
    if stored.revoked_at is not None:
        return Window(stored.revoked_at - _PAST, stored.revoked_at)
    lifetime = stored.not_after - stored.not_before
    part = share if isinstance(share, timedelta) else lifetime * (1 / 3 if share is None else share)
    quarter = min(part, lifetime) / _PARTS
    digest = hashlib.sha256(stored.serial.to_bytes(20)).digest()
    late = quarter * (int.from_bytes(digest[:4]) / _SPREAD)
    start = (stored.not_after - quarter * _PARTS + late).replace(microsecond=0)
    return Window(start, max(start + _SECOND, (start + quarter).replace(microsecond=0)))


def matches(stored: StoredCertificate, wanted: CertificateId) -> bool:
    """Say whether a certificate has the authority key identifier that goes with the serial number."""
    certificate = x509.load_der_x509_certificate(stored.der)
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return False
    return authority.value.key_identifier == wanted.key_identifier


class Renewals:
    """The renewalInfo resource, and the judgement on ``replaces``."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint

    async def info(self, text: str) -> Reply:
        """Answer GET to renewalInfo: the window, and when to ask again (section 4)."""
        wanted = decode_certificate_id(text)

        def work(connection: sa.Connection) -> tuple[StoredCertificate, MovedWindow | None] | Rejected:
            stored = self._find(connection, wanted)
            if stored is None:
                return rejected(ErrorType.MALFORMED, "the certificate was not issued here", 404)
            return stored, renewals.moved_window(connection, stored.serial)

        stored, moved = await self._endpoint.read(work)
        profile = self._endpoint.profiles.get(stored.profile)
        window = suggested_window(stored, moved, profile.renewal if profile else None)
        explanation = moved.explanation if moved else ""
        return Reply(
            200,
            encode_renewal_info(window.start, window.end, explanation),
            retry_after=int(self._endpoint.renewal_check.total_seconds()),
            facts={"serial": format(stored.serial, "x")},
        )

    async def judge(self, signed: Signed, request: NewOrder) -> int | None:
        """Return the serial number of what a new order replaces, None when it replaces nothing (section 5).

        Raises Rejected: malformed, when it is not a certificate of the account that shares an identifier with the
        order.
        """
        if request.replaces is None:
            return None
        wanted = decode_certificate_id(request.replaces)
        missing = rejected(ErrorType.MALFORMED, "replaces names no certificate of this account", 404)

        def work(connection: sa.Connection) -> int | Rejected:
            stored = self._find(connection, wanted)
            if stored is None:
                return missing
            names = renewals.predecessor_names(connection, signed.account, stored.request_id)
            if names is None:
                return missing
            if names.isdisjoint(request.identifiers):
                return rejected(ErrorType.MALFORMED, "the order shares no identifier with what it replaces")
            return stored.serial

        return await self._endpoint.read(work)

    def _find(self, connection: sa.Connection, wanted: CertificateId) -> StoredCertificate | None:
        stored = find_by_serial(connection, wanted.serial)
        here = stored is not None and stored.endpoint == self._endpoint.name and matches(stored, wanted)
        return stored if here else None
