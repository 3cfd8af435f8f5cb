"""Renewal information (RFC 9773): when a certificate should be renewed, and whether an order may replace it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from server.acme.codec.certificate_id import decode_certificate_id
from server.acme.codec.replies import encode_renewal_info
from server.acme.messages import ErrorType, Rejected, Reply, rejected
from server.acme.records import renewals
from server.acme.service.renewal_load import SLOTS, RenewalLoad, place
from server.store.certificates import find_by_serial

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import sqlalchemy as sa

    from server.acme.codec.certificate_id import CertificateId
    from server.acme.messages import Identifier, NewOrder
    from server.acme.records.renewals import MovedWindow
    from server.acme.service.authentication import Signed
    from server.acme.service.endpoint import AcmeEndpoint
    from server.store.certificates import StoredCertificate

_PAST = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_PARTS = 4
_SPREAD = 1 << 32


class Replaced(NamedTuple):
    """The certificate that a new order replaces: its serial number, None for no such certificate, and its names."""

    serial: int | None
    names: frozenset[Identifier]


@dataclass(frozen=True, slots=True)
class Window:
    """When to renew; it ends after it starts."""

    start: datetime
    end: datetime


def renewal_part(stored: StoredCertificate, share: timedelta | float | None = None) -> timedelta:
    """Return how long before its end the renewal of a certificate begins at the earliest.

    Args:
        stored: the certificate.
        share: how long, or the share of the lifetime; None for a third.
    """
    lifetime = stored.not_after - stored.not_before
    part = share if isinstance(share, timedelta) else lifetime * (1 / 3 if share is None else share)
    return max(min(part, lifetime), _SECOND)


def _slot(part: timedelta) -> timedelta:
    """Return the length of one of the slots, which together are half of the part, in whole minutes if it is long."""
    slot = part / (2 * SLOTS)
    return timedelta(minutes=slot // _MINUTE) if slot >= _MINUTE else slot


def suggested_window(
    stored: StoredCertificate,
    moved: MovedWindow | None,
    share: timedelta | float | None = None,
    load: Sequence[int] = (),
) -> Window:
    """Return when a certificate should be renewed.

    A revoked certificate should be replaced at once, whatever was said while it was good; then comes an administrator's
    word; otherwise the window lies in the part of the lifetime that the profile keeps for renewals, and is a quarter of
    that part long. It begins in the first quarter, where the serial number says; for certificates that come in crowds
    in the first half, and rather when few others come (`place`). So what was issued in one hour is not renewed in one
    hour, even by clients that always take the beginning, and a quarter of that part at least is left for trouble.

    Args:
        stored: the certificate.
        moved: the window that somebody has moved it to.
        share: how long before the end renewals begin, or the share of the lifetime; None for a third.
        load: how many certificates come up for renewal when this one does, and in the slots that follow.
    """
    if stored.revoked_at is not None:
        return Window(stored.revoked_at - _PAST, stored.revoked_at)
    if moved is not None:
        return Window(moved.starts, moved.ends)
    part = renewal_part(stored, share)
    digest = hashlib.sha256(stored.serial.to_bytes(20)).digest()
    late = _slot(part) * place(int.from_bytes(digest[:4]) / _SPREAD, load)
    start = (stored.not_after - part + late).replace(microsecond=0)
    return Window(start, max(start + _SECOND, (start + part / _PARTS).replace(microsecond=0)))


def matches(stored: StoredCertificate, wanted: CertificateId) -> bool:
    """Say whether a certificate has the authority key identifier that goes with the serial number."""
    certificate = x509.load_der_x509_certificate(stored.der)
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return False
    return authority.value.key_identifier == wanted.key_identifier


_NOTHING = Replaced(None, frozenset())


class Renewals:
    """The renewalInfo resource, and the judgement on ``replaces``."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint
        self._load = RenewalLoad(endpoint)

    async def info(self, text: str) -> Reply:
        """Answer GET to renewalInfo: the window, and when to ask again (section 4)."""
        wanted = decode_certificate_id(text)

        def work(connection: sa.Connection) -> tuple[StoredCertificate, MovedWindow | None, Window] | Rejected:
            stored = self._find(connection, wanted)
            if stored is None:
                return rejected(ErrorType.MALFORMED, "the certificate was not issued here", 404)
            moved = renewals.moved_window(connection, stored.serial)
            return stored, moved, self._window(connection, stored, moved)

        stored, moved, window = await self._endpoint.read(work)
        explanation = moved.explanation if moved else ""
        return Reply(
            200,
            encode_renewal_info(window.start, window.end, explanation),
            retry_after=int(self._endpoint.renewal_check.total_seconds()),
            facts={"serial": format(stored.serial, "x")},
        )

    def _window(self, connection: sa.Connection, stored: StoredCertificate, moved: MovedWindow | None) -> Window:
        profile = self._endpoint.profiles.get(stored.profile)
        share = profile.renewal if profile else None
        slot = _slot(renewal_part(stored, share))
        return suggested_window(stored, moved, share, self._load.around(connection, stored.not_after, slot))

    async def judge(self, signed: Signed, request: NewOrder) -> Replaced:
        """Return what a new order replaces (section 5).

        Raises Rejected: malformed, when it is not a certificate of the account that shares an identifier with the
        order.
        """
        if request.replaces is None:
            return _NOTHING
        wanted = decode_certificate_id(request.replaces)
        missing = rejected(ErrorType.MALFORMED, "replaces names no certificate of this account", 404)

        def work(connection: sa.Connection) -> Replaced | Rejected:
            stored = self._find(connection, wanted)
            if stored is None:
                return missing
            names = renewals.predecessor_names(connection, signed.account, stored.request_id)
            if names is None:
                return missing
            if names.isdisjoint(request.identifiers):
                return rejected(ErrorType.MALFORMED, "the order shares no identifier with what it replaces")
            return Replaced(stored.serial, names)

        return await self._endpoint.read(work)

    def _find(self, connection: sa.Connection, wanted: CertificateId) -> StoredCertificate | None:
        stored = find_by_serial(connection, wanted.serial)
        here = stored is not None and stored.endpoint == self._endpoint.name and matches(stored, wanted)
        return stored if here else None
