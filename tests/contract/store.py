"""What every database behind the store must do: one suite for each kind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from server.audit import Action, AuditEvent
from server.store.tables import audit_events
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.store import Store


class Wrong(Exception):
    """What a work may raise."""


def note(connection: sa.Connection, actor: str) -> str:
    connection.execute(sa.insert(audit_events), AuditEvent(NOW, Action.APPROVED, actor).row())
    return actor


def note_all(connection: sa.Connection, actors: Sequence[str]) -> list[str]:
    return [note(connection, actor) for actor in actors]


def note_and_raise(connection: sa.Connection) -> None:
    note(connection, "wrong")
    raise Wrong


def noted(connection: sa.Connection) -> list[str]:
    return list(connection.scalars(sa.select(audit_events.c.actor).order_by(audit_events.c.number)))


class StoreContract:
    """Give it a fixture `store` with an empty database."""

    async def test_what_was_written_is_read(self, store: Store) -> None:
        assert await store.write(lambda c: note(c, "one")) == "one"
        assert await store.read(noted) == ["one"]

    async def test_many_writers_at_once_each_get_their_own_result(self, store: Store) -> None:
        names = [str(number) for number in range(500)]
        results = await asyncio.gather(*(store.write(lambda c, n=name: note(c, n)) for name in names))  # type: ignore[misc]
        assert results == names
        assert sorted(await store.read(noted)) == sorted(names)

    async def test_works_together_each_get_their_own_result(self, store: Store) -> None:
        names = [str(number) for number in range(500)]
        assert await asyncio.gather(*(store.write_together(note_all, name) for name in names)) == names
        assert sorted(await store.read(noted)) == sorted(names)

    async def test_what_a_work_raises_comes_out_and_undoes_its_effects(self, store: Store) -> None:
        with pytest.raises(Wrong):
            await store.write(note_and_raise)
        assert await store.read(noted) == []

    async def test_a_work_that_raises_does_not_hurt_its_neighbours(self, store: Store) -> None:
        good = [store.write(lambda c: note(c, "good")) for _ in range(20)]
        bad = [store.write(note_and_raise) for _ in range(3)]
        results = await asyncio.gather(*good[:10], *bad, *good[10:], return_exceptions=True)
        assert [type(result) for result in results] == [str] * 10 + [Wrong] * 3 + [str] * 10
        assert await store.read(noted) == ["good"] * 20

    async def test_one_bad_item_does_not_hurt_those_that_came_with_it(self, store: Store) -> None:
        def without_seven(connection: sa.Connection, names: Sequence[str]) -> list[str]:
            if "7" in names:
                raise Wrong
            return note_all(connection, names)

        works = (store.write_together(without_seven, str(number)) for number in range(20))
        results = await asyncio.gather(*works, return_exceptions=True)
        assert [result for result in results if isinstance(result, Wrong)] == [results[7]]
        assert sorted(await store.read(noted)) == sorted(str(number) for number in range(20) if number != 7)

    async def test_a_broken_constraint_is_the_works_own_fault(self, store: Store) -> None:
        def break_it(connection: sa.Connection) -> None:
            connection.execute(sa.insert(audit_events), {"number": 1} | AuditEvent(NOW, Action.ISSUED, "x").row())

        await store.write(break_it)
        broken, fine = await asyncio.gather(
            store.write(break_it), store.write(lambda c: note(c, "fine")), return_exceptions=True
        )
        assert isinstance(broken, sa.exc.IntegrityError)
        assert fine == "fine"

    async def test_a_work_of_a_cancelled_caller_leaves_the_others_alone(self, store: Store) -> None:
        gone = asyncio.create_task(store.write(lambda c: note(c, "gone")))
        kept = asyncio.create_task(store.write(lambda c: note(c, "kept")))
        await asyncio.sleep(0)
        gone.cancel()
        assert await kept == "kept"
        assert gone.cancelled()
        assert "kept" in await store.read(noted)

    async def test_what_is_read_is_not_older_than_what_was_written_before(self, store: Store) -> None:
        for number in range(50):
            await store.write(lambda c, n=number: note(c, str(n)))  # type: ignore[misc]
            assert len(await store.read(noted)) == number + 1

    async def test_closing_finishes_what_was_asked_for(self, store: Store) -> None:
        works = [asyncio.create_task(store.write(lambda c: note(c, "before"))) for _ in range(10)]
        await asyncio.sleep(0)
        await store.close()
        assert await asyncio.gather(*works) == ["before"] * 10
