"""Prepared statements give what SQLAlchemy gives, in a fraction of its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from server.store.prepared import Prepared
from server.store.tables import audit_events

if TYPE_CHECKING:
    from server.store import Store

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
_columns = audit_events.c
_FOUND = sa.select(_columns.number, _columns.at, _columns.action, _columns.serial).order_by(_columns.number)
_BY_ACTION = _FOUND.where(_columns.action == sa.bindparam("wanted"))
_ALL = _FOUND.where(_columns.action.in_(("issued", "failed")))
_CHANGE = (
    sa.update(audit_events)
    .where(_columns.action == sa.bindparam("wanted"))
    .values(at=sa.bindparam("new_at"), serial=sa.bindparam("new_serial"), request_id=None, detail="")
)


def _fill(connection: sa.Connection) -> None:
    rows = [(0, "issued", 2**159 + 7), (1, "issued", None), (2, "failed", 1), (3, "revoked", 2)]
    connection.execute(
        sa.insert(audit_events),
        [{"at": NOW + timedelta(hours=h), "action": a, "actor": "me", "serial": s, "detail": "x"} for h, a, s in rows],
    )


@pytest.fixture
async def filled(store: Store) -> Store:
    await store.write(_fill)
    return store


def _plain(connection: sa.Connection, statement: sa.Select[Any], **parameters: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(statement, parameters)]


async def test_rows_are_those_of_sqlalchemy_with_types_and_names(filled: Store) -> None:
    prepared = Prepared(_BY_ACTION)
    expected = await filled.read(lambda c: _plain(c, _BY_ACTION, wanted="issued"))
    rows = await filled.read(lambda c: prepared.all(c, wanted="issued"))
    assert [tuple(row) for row in rows] == expected
    assert (rows[0].at, rows[0].action, rows[0].serial) == (NOW, "issued", 2**159 + 7)


async def test_the_first_row_is_given_or_none(filled: Store) -> None:
    prepared = Prepared(_BY_ACTION)
    assert (await filled.read(lambda c: prepared.first(c, wanted="issued"))).at == NOW
    assert await filled.read(lambda c: prepared.first(c, wanted="nothing")) is None


async def test_lists_of_constants_are_part_of_the_statement(filled: Store) -> None:
    prepared = Prepared(_ALL)
    expected = await filled.read(lambda c: _plain(c, _ALL))
    assert [tuple(row) for row in await filled.read(prepared.all)] == expected
    assert len(expected) == 3


async def test_a_change_converts_what_it_writes_and_says_how_many_rows_it_changed(filled: Store) -> None:
    prepared = Prepared(_CHANGE)
    later = NOW + timedelta(days=1)
    parameters = {"wanted": "issued", "new_at": later, "new_serial": 2**100}
    assert await filled.write(lambda c: prepared.change(c, **parameters)) == 2
    found = await filled.read(lambda c: _plain(c, _BY_ACTION, wanted="issued"))
    assert {row[1:] for row in found} == {(later, "issued", 2**100)}
    assert await filled.read(lambda c: c.scalar(sa.select(sa.func.count()).where(_columns.detail == ""))) == 2


async def test_a_change_of_each_counts_all(filled: Store) -> None:
    prepared = Prepared(_CHANGE)
    rows = [{"wanted": action, "new_at": NOW, "new_serial": 1} for action in ("failed", "nothing", "issued")]
    assert await filled.write(lambda c: prepared.change_each(c, rows)) == 3


async def test_the_parameters_given_stay_as_they_were(filled: Store) -> None:
    row = {"wanted": "failed", "new_at": NOW, "new_serial": 1}
    await filled.write(lambda c: Prepared(_CHANGE).change_each(c, [row]))
    assert row == {"wanted": "failed", "new_at": NOW, "new_serial": 1}


async def test_what_the_database_refuses_comes_as_sqlalchemys_error(filled: Store) -> None:
    prepared = Prepared(sa.update(audit_events).values(action=sa.bindparam("new")))
    with pytest.raises(sa.exc.IntegrityError):
        await filled.write(lambda c: prepared.change(c, new=None))
    with pytest.raises(sa.exc.IntegrityError):
        await filled.write(lambda c: prepared.change_each(c, [{"new": None}]))
    assert len(await filled.read(lambda c: Prepared(_BY_ACTION).all(c, wanted="issued"))) == 2


async def test_json_is_written_and_read_as_sqlalchemy_does(store: Store) -> None:
    value = {"Schlüssel": ["\n\u20ac", 1, None, True, {"a": 0.5}], "empty": [{}, []]}
    bound = sa.bindparam("wanted", type_=sa.JSON())
    columns: tuple[Any, ...] = (bound.label("value"), sa.type_coerce(sa.func.trim(bound), sa.Text()).label("text"))
    statement = sa.select(*columns)
    [expected] = await store.read(lambda c: _plain(c, statement, wanted=value))
    assert tuple(await store.read(lambda c: Prepared(statement).first(c, wanted=value))) == expected
    assert expected[0] == value
