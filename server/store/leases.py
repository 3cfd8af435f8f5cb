"""Whose an intent is: one process's for the time of its lease, then whoever's finds it.

Who finds it when the lease is over, or finds an intent of its own that nobody works on, takes it up with the plan and
the serial number that are on record.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from server.store.claims import Gone, Granted, Taken
from server.store.prepared import Prepared
from server.store.tables import is_in, requests
from server.store.values import read_plan

if TYPE_CHECKING:
    from datetime import datetime

    from server.store.claims import Lease

Row: TypeAlias = Any
"""A row with the columns of `FOUND`."""

_table = requests.c
FOUND = (
    _table.id,
    _table.key,
    _table.state,
    _table.endpoint,
    _table.requester,
    _table.renews,
    _table.received_at,
    _table.finished_at,
    _table.plan,
    _table.serial,
    _table.owner,
    _table.leased_until,
    _table.approved_by,
    _table.policy_digest,
    _table.csr,
    _table.issuer_reference,
)
_by_id = Prepared(sa.select(*FOUND).where(_table.id == sa.bindparam("wanted")).with_for_update())


@cache
def _setting(columns: tuple[str, ...]) -> Prepared:
    """Return the statement that sets these columns of one request."""
    new: dict[str, sa.BindParameter[Any]] = {column: sa.bindparam(f"new_{column}") for column in columns}
    return Prepared(sa.update(requests).where(_table.id == sa.bindparam("wanted")).values(new))


def find(connection: sa.Connection, request_id: str) -> Row | None:
    """Return what is to be known of a request that is worked on, None when there is none."""
    return _by_id.first(connection, wanted=request_id)


def change(connection: sa.Connection, request_id: str, **values: object) -> None:
    """Set columns of one request."""
    new = {f"new_{column}": value for column, value in values.items()}
    _setting(tuple(values)).change(connection, wanted=request_id, **new)


def resume(connection: sa.Connection, request_id: str, lease: Lease) -> Granted | Taken | Gone:
    """Take up an intent that was left half-done."""
    row = find(connection, request_id)
    return Gone(request_id) if row is None or row.state != "intended" else take_up(connection, row, lease)


def take_up(connection: sa.Connection, row: Row, lease: Lease) -> Granted | Taken:
    """Make the intent of this row the caller's, unless another works on it."""
    if is_anothers(row, lease):
        return Taken(row.id)
    change(connection, row.id, owner=lease.owner, leased_until=lease.until)
    return Granted(
        row.id,
        read_plan(row.plan),
        row.serial,
        row.endpoint,
        row.requester,
        row.renews,
        resumed=True,
        csr=row.csr,
        reference=row.issuer_reference,
    )


def let_go(connection: sa.Connection, request_id: str, lease: Lease) -> None:
    """End the lease at once, so that whoever comes next takes the intent up with the same plan and serial number."""
    held = sa.and_(_table.id == request_id, _table.state == "intended", _table.owner == lease.owner)
    connection.execute(sa.update(requests).where(held).values(leased_until=lease.now))


def leave_with_issuer(connection: sa.Connection, request_id: str, lease: Lease, reference: str) -> None:
    """End the lease and keep what the CA calls the request, which it has taken and will answer later."""
    held = sa.and_(_table.id == request_id, _table.state == "intended", _table.owner == lease.owner)
    values = {"leased_until": lease.now, "issuer_reference": reference}
    connection.execute(sa.update(requests).where(held).values(values))


def interrupted(connection: sa.Connection, lease: Lease, *, abandoned: bool = False) -> list[str]:
    """Return the identifiers of the intents whose lease is over, the oldest first.

    Args:
        connection: reads the store.
        lease: of who asks.
        abandoned: whether also those that wait for a CA, and for which nobody has asked within the time for replays.
    """
    waits = _table.issuer_reference.is_not(None)
    left = sa.or_(~waits, _table.leased_until < lease.replay_from) if abandoned else ~waits
    query = sa.select(_table.id, _table.leased_until).where(is_in("intended"), left)
    return [row.id for row in connection.execute(query.order_by(_table.number)) if not is_held(row.leased_until, lease)]


def is_anothers(row: Row, lease: Lease) -> bool:
    """Say whether another process works on the intent of this row."""
    return row.owner != lease.owner and is_held(row.leased_until, lease)


def is_held(until: datetime, lease: Lease) -> bool:
    """Say whether another's lease goes on; one that ends much later than a lease of now would is a wrong clock's."""
    return lease.now < until <= lease.until + (lease.until - lease.now)
