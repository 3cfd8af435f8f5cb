"""Works on rate limits and on accounts that keep failing: what is counted lies in the database, for every process.

A limit is one point in time for each key (the generic cell rate algorithm): every event moves it on by the share of
the period that one event has; when it lies further than the period ahead, there were too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.acme.messages import Identifier
from server.acme.records.tables import failures, limits
from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.tables import audit_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta


_until = Prepared(sa.select(limits.c.key, limits.c.until).where(limits.c.key == sa.bindparam("key")))
_move = Prepared(limits.update().where(limits.c.key == sa.bindparam("key")).values(until=sa.bindparam("new_until")))
_INSERT = BulkInsert(limits, "key", "until")
_paused = Prepared(
    sa.select(failures.c.type, failures.c.value).where(
        failures.c.account_id == sa.bindparam("account"), failures.c.paused_at.is_not(None)
    )
)
_forget = Prepared(
    failures.delete().where(
        failures.c.account_id == sa.bindparam("account"),
        failures.c.type == sa.bindparam("type"),
        failures.c.value == sa.bindparam("value"),
    )
)


@dataclass(frozen=True, slots=True)
class Charge:
    """One event that counts.

    Attributes:
        key: what it counts for.
        count, period: so many in so long are allowed.
    """

    key: str
    count: int
    period: timedelta


def wait_for(connection: sa.Connection, charges: Sequence[Charge], now: datetime) -> timedelta | None:
    """Return after how long all these events would be allowed, None when they are now; nothing is counted."""
    return _wait(charges, _reached(connection, charges), now)


def count(connection: sa.Connection, charges: Sequence[Charge], now: datetime) -> timedelta | None:
    """Count these events if all of them are allowed now; otherwise return after how long they are."""
    reached = _reached(connection, charges)
    wait = _wait(charges, reached, now)
    if wait is None:
        _note(connection, charges, reached, now)
    return wait


def note(connection: sa.Connection, charges: Sequence[Charge], now: datetime) -> None:
    """Count these events, allowed or not, but never further ahead than one event beyond what is allowed."""
    _note(connection, charges, _reached(connection, charges), now)


def _wait(charges: Sequence[Charge], reached: Mapping[str, datetime], now: datetime) -> timedelta | None:
    waits = [_after(each, reached.get(each.key), now) - each.period - now for each in charges]
    longest = max(waits, default=None)
    return longest if longest is not None and longest.total_seconds() > 0 else None


def _note(connection: sa.Connection, charges: Sequence[Charge], reached: Mapping[str, datetime], now: datetime) -> None:
    new: list[dict[str, object]] = []
    for each in charges:
        until = min(_after(each, reached.get(each.key), now), now + each.period + each.period / each.count)
        if each.key in reached:
            _move.change(connection, key=each.key, new_until=until)
        else:
            new.append({"key": each.key, "until": until})
    if new:
        _INSERT(connection, new)


def _reached(connection: sa.Connection, charges: Sequence[Charge]) -> Mapping[str, datetime]:
    rows = [_until.first(connection, key=each.key) for each in charges]
    return {row.key: row.until for row in rows if row is not None}


def _after(charge: Charge, reached: datetime | None, now: datetime) -> datetime:
    share = charge.period / charge.count
    # What lies further ahead than `note` ever moves it was counted by a clock that has gone back, or at another rate.
    return share + (reached if reached is not None and now < reached <= now + charge.period + share else now)


@dataclass(frozen=True, slots=True)
class Failing:
    """An account that fails to show control over a name.

    Attributes:
        account, endpoint: the account, and where it is.
        identifier: the name, without ``*.``.
        failures: how often in a row.
        last_at: when for the last time.
        paused_at: since when it can't order the name, None when it can.
    """

    account: str
    endpoint: str
    identifier: Identifier
    failures: int
    last_at: datetime
    paused_at: datetime | None


def note_failure(
    connection: sa.Connection, endpoint: str, account: str, identifier: Identifier, now: datetime, *, most: int
) -> None:
    """Count a failure in a row; with the last that is allowed, the account is paused for the name."""
    row = connection.execute(sa.select(failures).where(_is(account, identifier))).one_or_none()
    number = row.failures + 1 if row else 1
    paused = (row.paused_at if row else None) or (now if number >= most else None)
    values = {"failures": number, "last_at": now, "paused_at": paused}
    if row:
        connection.execute(failures.update().where(_is(account, identifier)).values(values))
    else:
        key = {"account_id": account, "type": identifier.type, "value": identifier.value, "endpoint": endpoint}
        connection.execute(failures.insert().values({**key, **values}))


def forget_failures(connection: sa.Connection, account: str, identifier: Identifier) -> None:
    """Begin to count anew: the account has shown control over the name."""
    _forget.change(connection, account=account, type=identifier.type, value=identifier.value)


def paused_among(connection: sa.Connection, account: str, names: Sequence[Identifier]) -> tuple[Identifier, ...]:
    """Return the names, given without ``*.``, for which the account is paused."""
    paused = {Identifier(row.type, row.value) for row in _paused.all(connection, account=account)}
    return tuple(name for name in names if name in paused)


def list_failing(connection: sa.Connection, *, paused: bool, limit: int) -> tuple[Failing, ...]:
    """Return who fails, or only who is paused, the last first."""
    query = sa.select(failures).order_by(failures.c.last_at.desc()).limit(limit)
    if paused:
        query = query.where(failures.c.paused_at.is_not(None))
    return tuple(
        Failing(row.account_id, row.endpoint, Identifier(row.type, row.value), row.failures, row.last_at, row.paused_at)
        for row in connection.execute(query)
    )


def unpause(connection: sa.Connection, account: str, name: str | None, event: Mapping[str, object]) -> int:
    """Let an account try again, for one name or for all, with the audit event. Returns for how many names."""
    wanted = sa.and_(failures.c.account_id == account, failures.c.paused_at.is_not(None))
    if name is not None:
        wanted = sa.and_(wanted, failures.c.value == name)
    number = connection.execute(failures.delete().where(wanted)).rowcount
    if number:
        connection.execute(sa.insert(audit_events), dict(event))
    return number


def _is(account: str, identifier: Identifier) -> sa.ColumnElement[bool]:
    table = failures.c
    return sa.and_(table.account_id == account, table.type == identifier.type, table.value == identifier.value)
