"""Works on keys that were given up because somebody else has them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import sqlalchemy as sa
from cryptography.x509 import ReasonFlags

from server.store.prepared import Prepared
from server.store.tables import certificates

if TYPE_CHECKING:
    from datetime import datetime

_revoked = Prepared(
    sa.select(certificates.c.serial).where(
        certificates.c.spki == sa.bindparam("digest", type_=certificates.c.spki.type),
        certificates.c.revocation_reason == ReasonFlags.key_compromise.value,
    )
)


def is_compromised(connection: sa.Connection, spki: bytes) -> bool:
    """Say whether a certificate with a key, given in DER, was revoked because the key was compromised."""
    return _revoked.first(connection, digest=sha256(spki).digest()) is not None


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
