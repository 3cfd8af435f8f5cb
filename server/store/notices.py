"""Which CAs elsewhere have yet to be told of revocations.

A revocation is recorded first, whoever asked for it; what there is to tell follows from the record, so that nothing is
lost when the other CA, or this server, is down.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from cryptography import x509

from server.store.revocations import revocations
from server.store.tables import Serial, UtcTime, audit_events, certificates, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

notices = sa.Table(
    "revocation_notices",
    metadata,
    sa.Column("serial", Serial(), primary_key=True),
    sa.Column("issuer", sa.String(80), nullable=False),
    sa.Column("number", sa.BigInteger(), nullable=False),  # of the revocation
    sa.Column("attempts", sa.Integer(), nullable=False),
    sa.Column("due_at", UtcTime(), nullable=False),  # the next attempt; meanwhile it is nobody else's
    sa.Column("told_at", UtcTime()),  # NULL: the CA has yet to be told
    sa.Column("error", sa.Text()),  # of the last attempt
    sa.Index("ix_revocation_notices_issuer", "issuer", "number"),
    sa.Index("ix_revocation_notices_due_at", "told_at", "due_at"),
)
"""Final revocations of certificates that another CA has issued."""

_HOLD, _COMPROMISE = x509.ReasonFlags.certificate_hold.value, x509.ReasonFlags.key_compromise.value
_TOGETHER = 100
_FURTHEST = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told.

    Attributes:
        serial: the certificate's serial number.
        der: the certificate.
        reason: why it was revoked.
        at: since when.
        attempts: how often it was tried before.
    """

    serial: int
    der: bytes
    reason: x509.ReasonFlags
    at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Untold:
    """What a CA has yet to be told: how many revocations, and the last failure."""

    count: int
    error: str | None


def collect(connection: sa.Connection, issuer: str, now: datetime) -> int:
    """Note the final revocations of an issuer's certificates that were not there before; return how many.

    A hold is not told: another CA could not take it back. It is when it becomes final. What was told for another reason
    is told again when the key turns out to be compromised.
    """
    table, known = revocations.c, notices.c
    news = _news(connection, issuer)
    connection.execute(sa.delete(notices).where(known.serial.in_(news)))
    values = (table.serial, table.issuer, table.number, sa.literal(0), sa.literal(now, UtcTime()))
    query = news.with_only_columns(*values)
    names = ("serial", "issuer", "number", "attempts", "due_at")
    return connection.execute(sa.insert(notices).from_select(names, query)).rowcount


def is_anything(connection: sa.Connection, issuer: str, now: datetime) -> bool:
    """Return whether there may be something to tell now."""
    known = notices.c
    due = sa.select(known.serial).where(known.told_at.is_(None), _is_due(now), known.issuer == issuer)
    return any(connection.execute(query.limit(1)).first() is not None for query in (_news(connection, issuer), due))


def _news(connection: sa.Connection, issuer: str) -> sa.Select[tuple[int]]:
    """Return what finds the final revocations since the newest notice that are in no notice, or were told before."""
    table, reason = revocations.c, certificates.c.revocation_reason
    newest = connection.scalar(sa.select(sa.func.max(notices.c.number)).where(notices.c.issuer == issuer)) or 0
    return (
        sa.select(table.serial)
        .join(certificates, certificates.c.serial == table.serial)
        .outerjoin(notices, notices.c.serial == table.serial)
        .where(table.issuer == issuer, table.number > newest, table.released.is_(False), reason != _HOLD)
        .where(sa.or_(notices.c.serial.is_(None), sa.and_(reason == _COMPROMISE, notices.c.told_at.is_not(None))))
    )


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition; what is further away than any pause was postponed under a wrong clock."""
    return sa.or_(notices.c.due_at <= now, notices.c.due_at > now + _FURTHEST)


def take(connection: sa.Connection, issuer: str, now: datetime, until: datetime) -> list[Notice]:
    """Take what is due, the oldest first; until the given time it belongs to the caller."""
    collect(connection, issuer, now)
    known = notices.c
    query = (
        sa.select(known.serial, certificates.c.der, certificates.c.revocation_reason, certificates.c.revoked_at)
        .add_columns(known.attempts)
        .join(certificates, certificates.c.serial == known.serial)
        .where(known.issuer == issuer, known.told_at.is_(None), _is_due(now))
        .order_by(known.number)
        .limit(_TOGETHER)
        .with_for_update(of=notices)
    )
    found = [
        Notice(serial, der, x509.ReasonFlags(reason), at, attempts)
        for serial, der, reason, at, attempts in connection.execute(query)
    ]
    mine = sa.update(notices).where(known.serial.in_([notice.serial for notice in found]))
    connection.execute(mine.values(due_at=until, attempts=known.attempts + 1))
    return found


def told(connection: sa.Connection, notice: Notice, at: datetime, event: Mapping[str, object]) -> None:
    """Record that the CA has been told, with the audit event; what has another reason by now is due again."""
    reason = connection.scalar(
        sa.select(certificates.c.revocation_reason).where(certificates.c.serial == notice.serial)
    )
    done = {"told_at": at} if reason == notice.reason.value else {"due_at": at}
    connection.execute(sa.update(notices).where(notices.c.serial == notice.serial).values(error=None, **done))
    connection.execute(sa.insert(audit_events), dict(event))


def postpone(connection: sa.Connection, serial: int, until: datetime, error: str) -> None:
    """Record why the CA was not told, and when to try again."""
    connection.execute(sa.update(notices).where(notices.c.serial == serial).values(due_at=until, error=error))


def untold(connection: sa.Connection, issuer: str) -> Untold:
    """Return what a CA has yet to be told."""
    known = notices.c
    waiting = sa.and_(known.issuer == issuer, known.told_at.is_(None))
    count = connection.scalar(sa.select(sa.func.count()).where(waiting)) or 0
    last = sa.select(known.error).where(waiting, known.error.is_not(None)).order_by(known.due_at.desc()).limit(1)
    return Untold(count, connection.scalar(last))


def standing(connection: sa.Connection, serial: int) -> tuple[datetime | None, str | None] | None:
    """Return when the CA was told of a revocation and the last failure; None when there is nothing to tell."""
    row = connection.execute(sa.select(notices.c.told_at, notices.c.error).where(notices.c.serial == serial)).first()
    return None if row is None else (row.told_at, row.error)
