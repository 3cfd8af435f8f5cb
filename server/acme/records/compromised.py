"""Works on keys that were given up because somebody else has them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import sqlalchemy as sa
from cryptography.x509 import ReasonFlags

from server.store.tables import certificates

if TYPE_CHECKING:
    from datetime import datetime


def certificates_with_key(connection: sa.Connection, spki: bytes, now: datetime) -> tuple[int, ...]:
    """Return the serial numbers of the certificates with a key, of any endpoint, that are good now or on hold."""
    table = certificates.c
    held = table.revocation_reason == ReasonFlags.certificate_hold.value
    query = sa.select(table.serial).where(
        table.spki == sha256(spki).digest(),
        table.not_after > now,
        sa.or_(table.revoked_at.is_(None), held),
    )
    return tuple(connection.scalars(query))
