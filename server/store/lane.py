"""One SQLite connection on a thread of its own, and the grouping of what it is asked to do.

Everything that waits when the thread gets free is done in one visit to the thread and one transaction: a commit costs
an fsync (about 4 ms), a visit costs two thread switches (about 50 us of CPU); a group pays for each once. aiosqlite's
own interface visits the thread for every single statement, which costs more than the statements themselves, so the
group runs with SQLAlchemy's synchronous connection on aiosqlite's thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite
import sqlalchemy as sa
from sqlalchemy import exc, pool

from server.store.nearby import Follower, processor
from server.store.obstacles import obstacle
from server.store.prepared import as_sqlalchemy, driver_of

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

Work = Callable[[sa.Connection], T]
"""Part of a transaction. It may be run more than once (after a rollback), so it must touch nothing but its
connection; what it raises undoes its own effects only."""

Together = Callable[[sa.Connection, Sequence[Any]], Sequence[Any]]
"""Work on many items at once: takes the items of a group and gives one result for each, in order."""

_LARGEST_GROUP = 256
_CACHE_KIB = 32 * 1024
"""Serial numbers and fingerprints are random, so every row touches other pages of their indexes."""
_CHECKPOINT_PAGES = 4000
"""16 MiB of log before its pages are copied into the database: the same pages change again and again."""
_LOOK_AGAIN_SECONDS = 0.02
# The driver searches long for how to adapt what is no number or text, and ends with the value as it is: it is told so.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), {None: None}.get)
_OWN_FAULT = (exc.IntegrityError, exc.DataError, exc.ProgrammingError, exc.NotSupportedError)


class StoreUnavailable(Exception):
    """The database can't be read or written now: locked too long, disk full, I/O error. Nothing was recorded."""


@dataclass(slots=True)
class _Job:
    """One thing to do, with who waits for it."""

    together: Together
    item: Any
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class _Spoiled(Exception):
    """Some jobs of a group failed of their own; the others are innocent."""

    def __init__(self, jobs: Sequence[_Job], cause: Exception) -> None:
        super().__init__()
        self.jobs = jobs
        self.cause = cause


def _each(connection: sa.Connection, works: Sequence[Work[Any]]) -> list[Any]:
    return [work(connection) for work in works]


def _is_trouble(error: Exception) -> bool:
    """Tell trouble of the database itself, which every neighbour has too, from a fault of one work."""
    if not isinstance(error, exc.DBAPIError) or isinstance(error, _OWN_FAULT):
        return False
    return getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR


def _shown(error: Exception) -> Exception:
    """Return what the caller shall see: StoreUnavailable for what the database could not do."""
    if isinstance(error, exc.DBAPIError) and not isinstance(error, _OWN_FAULT):
        unavailable = StoreUnavailable(str(error.orig))
        unavailable.__cause__ = error
        return unavailable
    return error


def _connect(path: Path, busy_timeout: float, *, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", isolation_level=None, uri=True, cached_statements=512
    )
    try:
        connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout * 1000)}")
        _use_wal(connection, busy_timeout)
        connection.execute("PRAGMA synchronous = FULL")  # the default of WAL may lose the last commits
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """Have the file written by way of a log, which is for good; SQLite's own patience does not hold for that change."""
    until = monotonic() + busy_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= until:
                raise
            sleep(_LOOK_AGAIN_SECONDS)
        else:
            return


async def _visit(thread: aiosqlite.Connection, function: Callable[..., T], *arguments: Any) -> T:
    """Run a function on the connection's thread."""
    # The one way in that aiosqlite has for more than a single statement; the lock file pins the version.
    result: T = await thread._execute(function, *arguments)  # type: ignore[no-untyped-call]  # noqa: SLF001
    return result


class Lane:
    """One connection; works given to `run` are grouped. Made by `Lane.open`."""

    def __init__(self, thread: aiosqlite.Connection, connection: sa.Connection, begin: str) -> None:
        self._thread = thread
        self._connection = connection
        self._driver = driver_of(connection)
        self._begin = begin
        self._follower = Follower()
        self._waiting: list[_Job] = []
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, busy_timeout: float, read_only: bool = False) -> Lane:
        """Connect to the file (it must exist). Raises StoreUnavailable."""
        failures: list[sqlite3.Error] = []

        def connect() -> sqlite3.Connection:
            # aiosqlite leaves its thread unattended when this raises, so a failure is handed round it.
            try:
                return _connect(path, busy_timeout, read_only=read_only)
            except sqlite3.Error as error:
                failures.append(error)
                return sqlite3.connect(":memory:")

        thread = await aiosqlite.Connection(connect, iter_chunk_size=64)
        if failures:
            await thread.close()
            raise StoreUnavailable(f"{path}: {obstacle(path) or failures[0]}") from failures[0]
        engine = sa.create_engine(
            "sqlite+pysqlite://",
            creator=lambda: thread._conn,  # noqa: SLF001 - aiosqlite has no public name for its connection
            poolclass=pool.StaticPool,
        )
        begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"  # a transaction that upgrades later may fail at once
        return cls(thread, await _visit(thread, engine.connect), begin)

    async def run(self, work: Work[T]) -> T:
        """Run one work in the next group. Returns after COMMIT. Raises StoreUnavailable, or what the work raised."""
        result: T = await self.run_together(_each, work)
        return result

    async def run_together(self, together: Together, item: Any) -> Any:
        """Like `run`, for works that are cheaper for many items at once; it is given all that wait."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        job = _Job(together, item, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._running is None:
            self._running = asyncio.create_task(self._run_groups())
        return await job.done

    async def close(self) -> None:
        """Finish what waits, then disconnect; once is enough."""
        if self._closed:
            return
        self._closed = True
        if self._running is not None:
            await self._running
        await _visit(self._thread, self._connection.close)
        await self._thread.close()

    async def _run_groups(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # let everything that is ready in this turn of the loop join the group
                jobs, self._waiting = self._waiting[:_LARGEST_GROUP], self._waiting[_LARGEST_GROUP:]
                try:
                    await _visit(self._thread, self._run_group, jobs, processor())
                except Exception as error:  # noqa: BLE001 - handed to those who wait
                    for job in jobs:
                        job.error = StoreUnavailable(f"the connection is gone: {error}")
                for job in jobs:
                    if job.done.done():  # the caller has gone; its work is done all the same
                        continue
                    if job.error is not None:
                        job.done.set_exception(_shown(job.error))
                    else:
                        job.done.set_result(job.result)
        finally:
            self._running = None

    def _run_group(self, jobs: list[_Job], place: int) -> None:
        """Run all jobs in one transaction; those that spoil it, afterwards, each in its own.

        On the thread, and on the processor that has just worked on what the jobs are about.
        """
        self._follower.follow(place)
        together, alone = jobs, list[_Job]()
        while together:
            try:
                self._transact(together)
                break
            except _Spoiled as spoiled:
                if len(together) == 1:
                    together[0].error = spoiled.cause
                    break
                alone += spoiled.jobs
                together = [job for job in together if job not in spoiled.jobs]
            except Exception as error:  # noqa: BLE001 - handed to those who wait
                for job in (*together, *alone):
                    job.error = error
                return
        for job in alone:
            try:
                self._transact([job])
            except _Spoiled as spoiled:
                job.error = spoiled.cause
            except Exception as error:  # noqa: BLE001 - handed to the one who waits
                job.error = error

    def _transact(self, jobs: Sequence[_Job]) -> None:
        """Run jobs in a transaction of the driver; SQLAlchemy's, which does nothing more, costs as much as a work."""
        try:
            self._driver.execute(self._begin)
            try:
                self._perform_all(jobs)
                self._driver.commit()
            except BaseException:
                self._driver.rollback()
                raise
        except sqlite3.Error as error:
            raise as_sqlalchemy(error, self._begin) from error

    def _perform_all(self, jobs: Sequence[_Job]) -> None:
        batches: dict[Together, list[_Job]] = {}
        for job in jobs:
            batches.setdefault(job.together, []).append(job)
        for together, batch in batches.items():
            if together is _each:
                for job in batch:
                    self._perform(together, [job])
            else:
                self._perform(together, batch)

    def _perform(self, together: Together, batch: Sequence[_Job]) -> None:
        try:
            results = together(self._connection, [job.item for job in batch])
        except Exception as error:
            if _is_trouble(error):
                raise
            raise _Spoiled(batch, error) from error
        for job, result in zip(batch, results, strict=True):
            job.result = result
