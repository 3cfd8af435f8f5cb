"""Revoking, holding and releasing certificates, and what revocation lists are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import sqlalchemy as sa
from cryptography import x509

from ca.crl import write_entry
from server.store.certificates import RevocationOutcome
from server.store.tables import Serial, UtcTime, audit_events, certificates, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),  # grows with each change, never used again
    sa.Column("serial", Serial(), nullable=False, unique=True),
    sa.Column("issuer", sa.String(80), nullable=False),
    sa.Column("shard", sa.Integer(), nullable=False),  # 0: the certificate names the complete list, or none
    sa.Column("not_after", UtcTime(), nullable=False),
    sa.Column("invalid_since", UtcTime()),
    sa.Column("released", sa.Boolean(), nullable=False),  # was on hold and is good again: for delta lists only
    sa.Column("entry", sa.LargeBinary(), nullable=False),  # DER
    sa.Index("ix_revocations_issuer", "issuer", "number"),
    sa.Index("ix_revocations_shard", "issuer", "shard", "number"),
    sqlite_autoincrement=True,
)
"""What stands in revocation lists. A row stays at least until its certificate has expired."""

_HOLD, _COMPROMISE = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.key_compromise
_SHARD = re.compile(r"/crl/[^/]+/([1-9][0-9]{0,3})\.crl")


@dataclass(frozen=True, slots=True)
class Revocation:
    """What is to be recorded.

    Attributes:
        serial: the certificate's serial number.
        reason: why; ``certificateHold`` can be undone by `release`.
        at: since when, aware UTC.
        invalid_since: since when the certificate should not have been trusted; None when that is not known.
    """

    serial: int
    reason: x509.ReasonFlags
    at: datetime
    invalid_since: datetime | None = None


class ReleaseOutcome(StrEnum):
    """How lifting a hold ended."""

    RELEASED = "released"
    NOT_HELD = "not-held"
    UNKNOWN = "unknown"


def may_become(before: str | None, reason: x509.ReasonFlags) -> bool:
    """Tell whether a certificate that is revoked for one reason can still be revoked for another.

    A hold may become final, and a key may turn out to be compromised after its certificate was revoked for something
    else: it must get no other one.
    """
    if reason is _COMPROMISE:
        return before != _COMPROMISE.value
    return before == _HOLD.value and reason is not _HOLD


def revoke(connection: sa.Connection, revocation: Revocation, event: Mapping[str, object]) -> RevocationOutcome:
    """Mark a certificate revoked, with the audit event.

    What is revoked already stays as it is, unless the reason is one that it `may_become`; the date stays the first one.
    """
    row = _find(connection, revocation.serial)
    if row is None:
        return RevocationOutcome.UNKNOWN
    since, reason, invalid_since = revocation.at, revocation.reason, revocation.invalid_since
    if row.revoked_at is not None:
        if not may_become(row.revocation_reason, reason):
            return RevocationOutcome.ALREADY_REVOKED
        since, invalid_since = row.revoked_at, invalid_since or _invalid_since(connection, row.serial)
    _mark(connection, row.serial, revoked_at=since, revocation_reason=reason.value)
    entry = write_entry(row.serial, since, reason, invalid_since)
    _replace(connection, row, entry, invalid_since=invalid_since, released=False)
    connection.execute(sa.insert(audit_events), dict(event))
    return RevocationOutcome.REVOKED


def restore(connection: sa.Connection, issuer: str, now: datetime) -> int:
    """Write again the entries of revoked certificates that have not expired and have none; return how many.

    For after a clock that was wrong: what seemed to have expired may have been forgotten. It reads all certificates:
    nothing indexes what is revoked, and this is rare.
    """
    table = certificates.c
    missing = ~sa.exists().where(revocations.c.serial == table.serial)
    wanted = sa.and_(table.issuer == issuer, table.revoked_at.is_not(None), table.not_after >= now, missing)
    rows = connection.execute(sa.select(certificates).where(wanted)).all()
    for row in rows:
        entry = write_entry(row.serial, row.revoked_at, x509.ReasonFlags(row.revocation_reason))
        _replace(connection, row, entry, invalid_since=None, released=False)
    return len(rows)


def release(connection: sa.Connection, serial: int, at: datetime, event: Mapping[str, object]) -> ReleaseOutcome:
    """Make a certificate good again that is on hold, with the audit event; no other revocation can be undone."""
    row = _find(connection, serial)
    if row is None:
        return ReleaseOutcome.UNKNOWN
    if row.revocation_reason != _HOLD.value:
        return ReleaseOutcome.NOT_HELD
    _mark(connection, serial, revoked_at=None, revocation_reason=None)
    entry = write_entry(serial, at, x509.ReasonFlags.remove_from_crl)
    _replace(connection, row, entry, invalid_since=None, released=True)
    connection.execute(sa.insert(audit_events), dict(event))
    return ReleaseOutcome.RELEASED


def _find(connection: sa.Connection, serial: int) -> sa.Row[tuple[object, ...]] | None:
    return connection.execute(sa.select(certificates).where(certificates.c.serial == serial)).one_or_none()


def _invalid_since(connection: sa.Connection, serial: int) -> datetime | None:
    return connection.execute(sa.select(revocations.c.invalid_since).where(revocations.c.serial == serial)).scalar()


def _mark(connection: sa.Connection, serial: int, **values: object) -> None:
    connection.execute(sa.update(certificates).where(certificates.c.serial == serial).values(values))


def _replace(connection: sa.Connection, row: sa.Row[tuple[object, ...]], entry: bytes, **values: object) -> None:
    """Write the row anew: its number must be higher than that of every list made before."""
    connection.execute(sa.delete(revocations).where(revocations.c.serial == row.serial))
    fixed = {"serial": row.serial, "issuer": row.issuer, "shard": shard_of(row.der), "not_after": row.not_after}
    connection.execute(sa.insert(revocations).values(**fixed, entry=entry, **values))


def shard_of(certificate: bytes) -> int:
    """Return the shard whose list the certificate names, 0 when it names the complete list or none of ours."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        points = parsed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, ValueError):
        return 0
    for name in (name for point in points for name in point.full_name or ()):
        found = _SHARD.search(name.value) if isinstance(name, x509.UniformResourceIdentifier) else None
        if found:
            return int(found[1])
    return 0
