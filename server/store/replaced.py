"""Certificates that were renewed some time ago and are still good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from cryptography import x509

from server.store.tables import certificates

if TYPE_CHECKING:
    from datetime import datetime

_AT_ONCE = 1000
_HOLD = x509.ReasonFlags.certificate_hold.value


def find_replaced(
    connection: sa.Connection, profile: str, renewed_before: datetime, now: datetime, *, held: bool
) -> list[int]:
    """Return the serial numbers of certificates that were renewed under a profile, the longest ago first.

    Args:
        connection: to read.
        profile: the profile of the new certificates.
        renewed_before: since when there must be a new one.
        now: those that have expired by now do not matter.
        held: whether those on hold are among them.
    """
    new, old = certificates.alias("new"), certificates.alias("old")
    good: sa.ColumnElement[bool] = old.c.revoked_at.is_(None)
    if held:
        good = sa.or_(good, old.c.revocation_reason == _HOLD)
    query = (
        sa.select(old.c.serial)
        .join(new, new.c.renews == old.c.serial)
        .where(new.c.profile == profile, new.c.issued_at <= renewed_before, old.c.not_after > now, good)
        .order_by(new.c.issued_at)
        .limit(_AT_ONCE)
    )
    return list(dict.fromkeys(connection.scalars(query)))
