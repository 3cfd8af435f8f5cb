from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from server.store import SchemaOutdated, SchemaUnknown, Store, StoreUnavailable, upgrade
from server.store.database import database_file, reading
from server.store.prepared import driver_of
from tests.contract.store import StoreContract, Wrong, note, note_all, note_and_raise, noted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import sqlalchemy as sa


class TestSqlite(StoreContract):
    pass


async def commits_of(store: Store) -> list[str]:
    commits: list[str] = []

    def trace(statement: str) -> None:
        if statement == "COMMIT":
            commits.append(statement)

    await store.write(lambda c: driver_of(c).set_trace_callback(trace))
    commits.clear()  # of what set this up
    return commits


async def test_concurrent_writes_share_a_commit(store: Store) -> None:
    commits = await commits_of(store)
    await asyncio.gather(*(store.write(lambda c: note(c, "x")) for _ in range(100)))
    assert len(commits) == 1


async def test_a_work_that_raises_costs_its_neighbours_no_commit(store: Store) -> None:
    commits = await commits_of(store)
    works = [store.write(note_and_raise) for _ in range(5)] + [store.write(lambda c: note(c, "x")) for _ in range(50)]
    await asyncio.gather(*works, return_exceptions=True)
    assert len(commits) == 1
    assert await store.read(noted) == ["x"] * 50


async def test_a_very_large_group_is_cut(store: Store) -> None:
    sizes: list[int] = []

    def count(connection: sa.Connection, names: Sequence[str]) -> list[None]:
        sizes.append(len(names))
        return [None] * len(names)

    await asyncio.gather(*(store.write_together(count, "x") for _ in range(300)))
    assert sizes == [256, 44]


async def test_the_database_keeps_what_it_has_said_is_written(store: Store) -> None:
    def settings(connection: sa.Connection) -> list[object]:
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert await store.write(settings) == ["wal", 2, 1]


async def test_a_reading_work_can_not_write(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="readonly"):
        await store.read(lambda c: note(c, "x"))
    assert await store.read(noted) == []


async def test_a_locked_database_is_unavailable_for_all_who_wait_after_one_timeout(store: Store, url: str) -> None:
    with closing(sqlite3.connect(database_file(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = asyncio.get_running_loop().time()
        works = [store.write(lambda c: note(c, "x")) for _ in range(5)] + [store.write_together(note_all, "y")]
        results = await asyncio.gather(*works, return_exceptions=True)
        assert asyncio.get_running_loop().time() - started < 1
        assert {type(result) for result in results} == {StoreUnavailable}
        assert await store.read(noted) == []
    assert await store.write(lambda c: note(c, "x")) == "x"


async def test_a_full_disk_is_unavailable_and_passes(store: Store) -> None:
    size = await store.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await store.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {size}").scalar())
    works = [store.write(lambda c: note(c, "x" * 5000)) for _ in range(5)]
    results = await asyncio.gather(*works, return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    await store.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100000").scalar())
    assert await store.read(noted) == []
    assert await store.write(lambda c: note(c, "x")) == "x"


async def test_wrong_sql_of_one_work_does_not_hurt_its_neighbours(store: Store) -> None:
    results = await asyncio.gather(
        store.write(lambda c: c.exec_driver_sql("SELECT * FROM nowhere")),
        store.write(lambda c: note(c, "x")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [StoreUnavailable, str]


async def test_a_work_set_aside_that_meets_trouble_later_says_so(store: Store) -> None:
    seen: list[int] = []

    def fails_in_company_then_alone(connection: sa.Connection, names: Sequence[str]) -> list[None]:
        seen.append(len(names))
        if len(names) > 1:
            raise Wrong
        connection.exec_driver_sql("PRAGMA max_page_count = 1").scalar()
        note(connection, "x" * 100_000)
        return [None]

    works = (store.write_together(fails_in_company_then_alone, "x") for _ in range(2))
    results = await asyncio.gather(*works, return_exceptions=True)
    assert seen == [2, 1, 1]
    assert {type(result) for result in results} == {StoreUnavailable}


async def test_a_closed_store_is_unavailable(url: str) -> None:
    store = await Store.open(url)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.write(lambda c: note(c, "x"))


async def test_a_connection_that_is_gone_is_unavailable_instead_of_silent(url: str) -> None:
    store = await Store.open(url)
    await store._reader._thread.close()
    with pytest.raises(StoreUnavailable, match="gone"):
        await store.read(noted)
    await store._writer.close()


async def test_two_stores_on_one_file_take_turns(store: Store, url: str) -> None:
    other = await Store.open(url)
    try:
        works = [one.write(lambda c: note(c, "x")) for one in (store, other) * 40]
        await asyncio.gather(*works)
        assert len(await other.read(noted)) == 80
    finally:
        await other.close()


async def test_a_new_database_that_another_process_is_writing_is_waited_for(url: str) -> None:
    with closing(sqlite3.connect(database_file(url), isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA journal_mode = DELETE")  # as the upgrade leaves a database that nobody has opened yet
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.2, other.execute, "ROLLBACK")
        store = await Store.open(url)
    await store.write(lambda c: note(c, "x"))
    assert await store.read(noted) == ["x"]
    await store.close()


async def test_a_new_database_that_another_process_does_not_let_go_is_unavailable(url: str) -> None:
    with closing(sqlite3.connect(database_file(url), isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await Store.open(url, busy_timeout=0.1)


async def test_a_database_that_is_not_there_is_outdated(tmp_path: Path) -> None:
    for _ in range(2):  # asking does not make the file
        with pytest.raises(SchemaOutdated, match=r"no tables yet.*run certwright db upgrade"):
            await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'none.db'}")


async def test_a_database_of_another_version_is_outdated(url: str) -> None:
    with closing(sqlite3.connect(database_file(url))) as other:
        other.execute("UPDATE alembic_version SET version_num = '0000'")
        other.commit()
    with pytest.raises(SchemaOutdated, match="has schema 0000, this version needs"):
        await Store.open(url)


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(StoreUnavailable):
        await Store.open(f"sqlite+aiosqlite:///{path}")


async def test_a_store_whose_reader_can_not_open_closes_its_writer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.store.lane import Lane  # noqa: PLC0415 - replaced here only

    opened = Lane.open

    async def only_writers(path: Path, *, busy_timeout: float, read_only: bool = False) -> Lane:
        if read_only:
            raise StoreUnavailable("as told")
        return await opened(path, busy_timeout=busy_timeout)

    monkeypatch.setattr(Lane, "open", only_writers)
    with pytest.raises(StoreUnavailable, match="as told"):
        await Store.open(url)


async def test_a_database_of_a_newer_version_is_not_to_be_upgraded(url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database_file(url))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9000'")
    connection.close()
    with pytest.raises(SchemaOutdated, match=r"has schema 9000.*run the newer version"):
        await Store.open(url)
    with pytest.raises(SchemaUnknown, match=r"has schema 9000.*run the newer version"):
        upgrade(url)


@pytest.mark.parametrize("url", ["postgresql+asyncpg://db/x", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a database file"):
        database_file(url)


def test_upgrading_twice_changes_nothing(url: str) -> None:
    upgrade(url)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads can't be placed here")
async def test_transactions_run_on_one_processor_and_the_rest_of_the_process_where_it_may(store: Store) -> None:
    free = os.sched_getaffinity(0)
    assert len(await store.write(lambda _: os.sched_getaffinity(0))) == 1
    assert len(await store.read(lambda _: os.sched_getaffinity(0))) == 1
    assert os.sched_getaffinity(0) == free


def test_what_is_only_read_can_not_be_written_nor_made(tmp_path: Path) -> None:
    file = tmp_path / "a name.db"
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        reading(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE words (word TEXT)")
    with reading(file) as connection:
        assert connection.execute("SELECT COUNT(*) FROM words").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO words VALUES ('one')")
