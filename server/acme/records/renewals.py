"""Works on renewals: windows that were moved, and what a new order may replace (RFC 9773)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import sqlalchemy as sa

from policies.request import Protocol
from server.acme.messages import Identifier, OrderStatus
from server.acme.records.tables import orders, windows
from server.store.prepared import Prepared
from server.store.tables import audit_events, certificates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

_AT_ONCE = 500
_UNFINISHED = (OrderStatus.PENDING, OrderStatus.READY)

_moved = Prepared(sa.select(windows).where(windows.c.serial == sa.bindparam("serial")))
# Whose order it is is compared afterwards: asked for both, the database reads all orders that the account ever placed.
_predecessor = Prepared(
    sa.select(orders.c.account_id, orders.c.identifiers).where(orders.c.request_id == sa.bindparam("request_id"))
)
_lock = Prepared(
    sa.select(certificates.c.serial).where(certificates.c.serial == sa.bindparam("serial")).with_for_update()
)
_replacement = Prepared(
    sa.select(orders.c.id)
    .where(
        orders.c.replaces == sa.bindparam("certificate"),
        orders.c.status != OrderStatus.INVALID,
        sa.or_(orders.c.status.not_in(_UNFINISHED), orders.c.expires > sa.bindparam("now")),
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class MovedWindow:
    """A renewal window that somebody has moved.

    Attributes:
        starts, ends: the window, aware UTC; it ends after it starts.
        explanation: a URL for people that says why, empty for none.
        made_by, made_at: who moved it, and when.
    """

    starts: datetime
    ends: datetime
    explanation: str
    made_by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which certificates of ACME endpoints; what is empty or None does not restrict.

    Attributes:
        now: only those that are good now: neither expired nor revoked.
        serials: these.
        endpoint, profile, issuer: issued through, under, by.
        issued_before: issued before this time.
        name: one of their names contains this text.
    """

    now: datetime
    serials: tuple[int, ...] = ()
    endpoint: str | None = None
    profile: str | None = None
    issuer: str | None = None
    issued_before: datetime | None = None
    name: str | None = None


def choose(connection: sa.Connection, chosen: Chosen) -> tuple[int, ...]:
    """Return the serial numbers of the chosen certificates."""
    table = certificates.c
    query = sa.select(table.serial).where(
        table.endpoint.startswith(f"{Protocol.ACME}/"), table.not_after > chosen.now, table.revoked_at.is_(None)
    )
    if chosen.serials:
        query = query.where(table.serial.in_(chosen.serials))
    for column, value in ((table.endpoint, chosen.endpoint), (table.profile, chosen.profile)):
        if value is not None:
            query = query.where(column == value)
    if chosen.issuer is not None:
        query = query.where(table.issuer == chosen.issuer)
    if chosen.issued_before is not None:
        query = query.where(table.issued_at < chosen.issued_before)
    if chosen.name is not None:
        query = query.where(table.names.icontains(chosen.name, autoescape=True))
    return tuple(connection.scalars(query))


def move_windows(
    connection: sa.Connection, serials: Sequence[int], window: MovedWindow | None, event: Mapping[str, object]
) -> None:
    """Move the windows of these certificates, None for back to what is calculated, with the audit event."""
    for start in range(0, len(serials), _AT_ONCE):
        some = serials[start : start + _AT_ONCE]
        connection.execute(windows.delete().where(windows.c.serial.in_(some)))
        if window is not None:
            values = {
                "starts": window.starts,
                "ends": window.ends,
                "explanation": window.explanation,
                "made_by": window.made_by,
                "made_at": window.made_at,
            }
            connection.execute(windows.insert(), [{"serial": serial, **values} for serial in some])
    connection.execute(sa.insert(audit_events), dict(event))


def moved_window(connection: sa.Connection, serial: int) -> MovedWindow | None:
    """Return the window of a certificate that somebody has moved."""
    row = _moved.first(connection, serial=serial)
    return MovedWindow(row.starts, row.ends, row.explanation, row.made_by, row.made_at) if row else None


def list_windows(connection: sa.Connection, limit: int) -> tuple[tuple[int, MovedWindow], ...]:
    """Return the windows that were moved, each with the certificate's serial number, the last moved first."""
    rows = connection.execute(sa.select(windows).order_by(windows.c.made_at.desc(), windows.c.serial).limit(limit))
    return tuple(
        (row.serial, MovedWindow(row.starts, row.ends, row.explanation, row.made_by, row.made_at)) for row in rows
    )


def ending(connection: sa.Connection, endpoint: str, edges: Sequence[datetime]) -> tuple[int, ...]:
    """Return how many certificates of an endpoint end between each of these times and the next; revoked ones count."""
    table = certificates.c
    counts = [
        sa.select(sa.func.count())
        .where(table.endpoint == endpoint, table.not_after >= start, table.not_after < end)
        .select_from(certificates)
        .scalar_subquery()
        for start, end in pairwise(edges)
    ]
    return tuple(connection.execute(sa.select(*counts)).one())


def predecessor_names(connection: sa.Connection, account: str, request_id: str) -> frozenset[Identifier] | None:
    """Return the identifiers of the order that a request at the door answered, None when it is not the account's."""
    found = _predecessor.first(connection, request_id=request_id)
    if found is None or found.account_id != account:
        return None
    return frozenset(Identifier(type_, value) for type_, value in found.identifiers)


def is_replaced(connection: sa.Connection, certificate: str, serial: int, now: datetime) -> bool:
    """Say whether an order that is not invalid replaces the certificate already.

    To be called in the transaction that records another one: the certificate's row stays locked until its end.
    """
    _lock.first(connection, serial=serial)
    return _replacement.first(connection, certificate=certificate, now=now) is not None
