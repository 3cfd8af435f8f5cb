"""The revocation lists on record: which there are, who makes the next one, and the lists themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.store.prepared import Prepared
from server.store.revocations import revocations
from server.store.tables import UtcTime, certificates, metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPLETE = 0
"""The number of the scope that covers everything an issuer has issued; shards count from 1."""

PAGE = 4000
"""So many entries are read at a time: other readers of the store come in between."""

crl_scopes = sa.Table(
    "crl_scopes",
    metadata,
    sa.Column("issuer", sa.String(80), primary_key=True),
    sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger(), nullable=False),  # the last CRLNumber that was given out
    sa.Column("scheduled_at", UtcTime(), nullable=False),  # thisUpdate of the last list that was made on schedule
    sa.Column("owner", sa.String(32)),
    sa.Column("leased_until", UtcTime()),
)
"""What is counted for the lists of one scope, and which process makes the next."""

crls = sa.Table(
    "crls",
    metadata,
    sa.Column("issuer", sa.String(80), primary_key=True),
    sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("delta", sa.Boolean(), primary_key=True),
    sa.Column("number", sa.BigInteger(), nullable=False),
    sa.Column("this_update", UtcTime(), nullable=False),
    sa.Column("next_update", UtcTime(), nullable=False),
    sa.Column("upto", sa.BigInteger(), nullable=False),  # the last change of `revocations` that it knows
    sa.Column("entries", sa.Integer(), nullable=False),
    sa.Column("der", sa.LargeBinary(), nullable=False),
)
"""The newest list of each scope, complete and delta."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)

_number = Prepared(
    sa.select(crls.c.number).where(
        crls.c.issuer == sa.bindparam("issuer"),
        crls.c.shard == sa.bindparam("shard"),
        crls.c.delta == sa.bindparam("delta"),
    )
)
_status = Prepared(
    sa.select(certificates.c.revoked_at, certificates.c.revocation_reason).where(
        certificates.c.issuer == sa.bindparam("issuer"), certificates.c.serial == sa.bindparam("serial")
    )
)


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a list covers: all of an issuer's certificates, or those of one shard."""

    issuer: str
    shard: int = COMPLETE


@dataclass(frozen=True, slots=True)
class Published:
    """A list on record, without its octets."""

    number: int
    this_update: datetime
    next_update: datetime
    upto: int
    entries: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a scope stands.

    Attributes:
        full, delta: its newest lists, None where there is none.
        latest: the number of the last change of a certificate in the scope, 0 before the first.
        scheduled_at: when the last list was made on schedule.
    """

    full: Published | None
    delta: Published | None
    latest: int
    scheduled_at: datetime


@dataclass(frozen=True, slots=True)
class Task:
    """The right to make the next list of a scope, until the lease is over."""

    scope: Scope
    number: int
    owner: str
    scheduled_at: datetime


@dataclass(frozen=True, slots=True)
class List:
    """A list to be put on record."""

    published: Published
    delta: bool
    der: bytes


def _of(table: sa.Table, scope: Scope) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.issuer == scope.issuer, table.c.shard == scope.shard)


def _covered(scope: Scope) -> sa.ColumnElement[bool]:
    return revocations.c.issuer == scope.issuer if scope.shard == COMPLETE else _of(revocations, scope)


def shards(connection: sa.Connection, issuer: str) -> tuple[int, ...]:
    """Return the scopes of an issuer for which lists were made before."""
    return tuple(connection.scalars(sa.select(crl_scopes.c.shard).where(crl_scopes.c.issuer == issuer)))


def standing(connection: sa.Connection, scope: Scope) -> Standing:
    """Return where a scope stands."""
    columns = (crls.c.delta, crls.c.number, crls.c.this_update, crls.c.next_update, crls.c.upto, crls.c.entries)
    found = {
        delta: Published(*values) for delta, *values in connection.execute(sa.select(*columns).where(_of(crls, scope)))
    }
    latest = connection.scalar(sa.select(sa.func.max(revocations.c.number)).where(_covered(scope)))
    scheduled = connection.scalar(sa.select(crl_scopes.c.scheduled_at).where(_of(crl_scopes, scope)))
    return Standing(found.get(False), found.get(True), latest or 0, scheduled or NEVER)


def claim(connection: sa.Connection, scope: Scope, owner: str, now: datetime, until: datetime) -> Task | None:
    """Take the lease of a scope and the next CRLNumber; None while another process holds it."""
    row = connection.execute(sa.select(crl_scopes).where(_of(crl_scopes, scope))).one_or_none()
    if row is None:
        first = {"issuer": scope.issuer, "shard": scope.shard, "number": 1, "scheduled_at": NEVER}
        connection.execute(sa.insert(crl_scopes).values(**first, owner=owner, leased_until=until))
        return Task(scope, 1, owner, NEVER)
    if row.leased_until is not None and now < row.leased_until <= until:  # a later end is that of a wrong clock
        return None
    values = {"number": row.number + 1, "owner": owner, "leased_until": until}
    connection.execute(sa.update(crl_scopes).where(_of(crl_scopes, scope)).values(values))
    return Task(scope, row.number + 1, owner, row.scheduled_at)


def publish(connection: sa.Connection, task: Task, lists: Sequence[List], scheduled_at: datetime | None) -> bool:
    """Put lists on record and give the lease back; False when another process has taken it meanwhile."""
    mine = sa.and_(_of(crl_scopes, task.scope), crl_scopes.c.owner == task.owner, crl_scopes.c.number == task.number)
    values: dict[str, object] = {"owner": None, "leased_until": None}
    if scheduled_at is not None:
        values["scheduled_at"] = scheduled_at
    if connection.execute(sa.update(crl_scopes).where(mine).values(values)).rowcount != 1:
        return False
    for each in lists:
        connection.execute(sa.delete(crls).where(_of(crls, task.scope), crls.c.delta == each.delta))
        about = each.published
        row = {name: getattr(about, name) for name in ("number", "this_update", "next_update", "upto", "entries")}
        where = {"issuer": task.scope.issuer, "shard": task.scope.shard, "delta": each.delta}
        connection.execute(sa.insert(crls).values(**where, **row, der=each.der))
    return True


def forget_expired(connection: sa.Connection, issuer: str) -> int:
    """Delete changes of certificates that have expired and that every list has named since; return how many.

    RFC 5280 section 3.3: one list that was made on schedule after the end must still name a certificate.
    """
    oldest = sa.select(sa.func.min(crl_scopes.c.scheduled_at)).where(crl_scopes.c.issuer == issuer).scalar_subquery()
    done = sa.and_(revocations.c.issuer == issuer, revocations.c.not_after < oldest)
    return connection.execute(sa.delete(revocations).where(done)).rowcount


def give_back(connection: sa.Connection, task: Task) -> None:
    """Give a lease back without a list, so that the next attempt need not wait for its end."""
    mine = sa.and_(_of(crl_scopes, task.scope), crl_scopes.c.owner == task.owner)
    connection.execute(sa.update(crl_scopes).where(mine).values(owner=None, leased_until=None))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries a list has.

    Attributes:
        scope: those of this scope,
        after, upto: changed after the one number and not after the other,
        alive: of certificates that had not expired at this time.
        released: whether those that were released from hold count too, as entries that say so.
    """

    scope: Scope
    after: int
    upto: int
    alive: datetime
    released: bool = False


def page(connection: sa.Connection, wanted: Wanted, after: int) -> list[tuple[int, bytes]]:
    """Return at most `PAGE` changes with their entries, beginning behind a number, in order."""
    table = revocations.c
    query = sa.select(table.number, table.entry).where(
        _covered(wanted.scope), table.number > after, table.number <= wanted.upto, table.not_after >= wanted.alive
    )
    if not wanted.released:
        query = query.where(table.released.is_(False))
    rows = connection.execute(query.order_by(table.number).limit(PAGE))
    return [(number, entry) for number, entry in rows]


def octets(connection: sa.Connection, scope: Scope, *, delta: bool) -> tuple[Published, bytes] | None:
    """Return a list on record."""
    row = connection.execute(sa.select(crls).where(_of(crls, scope), crls.c.delta == delta)).one_or_none()
    if row is None:
        return None
    return Published(row.number, row.this_update, row.next_update, row.upto, row.entries), row.der


def number(connection: sa.Connection, scope: Scope, *, delta: bool) -> int | None:
    """Return the CRLNumber of a list on record."""
    found = _number.first(connection, issuer=scope.issuer, shard=scope.shard, delta=delta)
    return None if found is None else found.number


@dataclass(frozen=True, slots=True)
class Status:
    """Whether a certificate of the record is revoked, since when and why."""

    revoked_at: datetime | None
    reason: str | None


def statuses(connection: sa.Connection, issuer: str, serials: Sequence[int]) -> dict[int, Status]:
    """Return the status of those of an issuer's certificates that are on record."""
    rows = ((serial, _status.first(connection, issuer=issuer, serial=serial)) for serial in serials)
    return {serial: Status(row.revoked_at, row.revocation_reason) for serial, row in rows if row is not None}
