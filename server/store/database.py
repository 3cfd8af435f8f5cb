"""The store: writes share transactions, reads share snapshots, nothing is answered before it is on disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import sqlalchemy as sa

from server.store.lane import Lane, StoreUnavailable, Work
from server.store.migrations import SchemaOutdated, expect_head
from server.store.obstacles import obstacle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
Item = TypeVar("Item")


def database_file(url: str) -> Path:
    """Return the file of a SQLite URL. Raises ValueError for anything else: each replica kind needs its own lane."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ValueError(f"not a database file: {url!r}; write sqlite+aiosqlite:///certwright.db")
    return Path(parsed.database)


def reading(file: Path) -> closing[sqlite3.Connection]:
    """Open a database file beside servers that run on it, for a with statement; nothing can be written.

    Raises sqlite3.Error when it is not there or can't be opened.
    """
    return closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True))


class Store:
    """The database, opened once in each process. Made by `Store.open`.

    Several processes may open the same file: writers take turns, readers see the last commit.
    """

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self._writer = writer
        self._reader = reader

    @classmethod
    async def open(cls, url: str, *, busy_timeout: float = 5.0) -> Store:
        """Open the database.

        Args:
            url: ``sqlite+aiosqlite:///path`` (three slashes and a relative path, or four and an absolute one).
            busy_timeout: seconds to wait for another process's transaction before giving up.

        Raises:
            SchemaOutdated: the tables are not there or not of this version.
            StoreUnavailable: the file can't be opened.
            ValueError: the URL is of another kind.
        """
        path = database_file(url)
        try:
            if not path.exists():
                raise SchemaOutdated(None)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {obstacle(path) or error}") from error
        writer = await Lane.open(path, busy_timeout=busy_timeout)
        try:
            reader = await Lane.open(path, busy_timeout=busy_timeout, read_only=True)
        except BaseException:
            await writer.close()
            raise
        store = cls(writer, reader)
        try:
            await store.read(expect_head)
        except BaseException:
            await store.close()
            raise
        return store

    async def write(self, work: Work[T]) -> T:
        """Run a work in a transaction that it may share with others, and return its result after COMMIT.

        The work may run more than once and must touch nothing but the connection. What it raises comes out here and
        undoes only its own effects. When the caller is cancelled the work may be done all the same.

        Raises:
            StoreUnavailable: locked, full or failing; the work has no effect.
        """
        return await self._writer.run(work)

    async def write_together(self, work: Callable[[sa.Connection, Sequence[Item]], Sequence[T]], item: Item) -> T:
        """Like `write`, for hot paths: the work is called once for all items of a group that came with it.

        It gives one result for each item, in order. When it raises, it is called again for each item alone.
        """
        return cast("T", await self._writer.run_together(work, item))

    async def read(self, work: Work[T]) -> T:
        """Run a reading work on a snapshot not older than this call. Raises StoreUnavailable, or what it raised."""
        return await self._reader.run(work)

    async def close(self) -> None:
        """Finish what was asked for, then disconnect."""
        await self._writer.close()
        await self._reader.close()


__all__ = ["Store", "StoreUnavailable", "database_file"]
