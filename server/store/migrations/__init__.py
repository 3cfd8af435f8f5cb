"""Schema versions: one file each in ``versions/``, from the first table on."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, pool

if TYPE_CHECKING:
    from collections.abc import Sequence


class SchemaOutdated(Exception):
    """The database's tables are not those of this version; the text says what to do."""

    def __init__(self, found: str | None) -> None:
        has = "has no tables yet" if found is None else f"has schema {found}"
        super().__init__(f"the database {has}, this version needs {head_revision()}: run certwright db upgrade")
        self.found = found


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))


@cache
def head_revision() -> str:
    """Return the schema version that this program needs."""
    return str(_scripts().get_current_head())


def revision(connection: sa.Connection) -> str | None:
    """Return the schema version found, None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def expect_head(connection: sa.Connection) -> None:
    """Raise SchemaOutdated when the tables are not of this version."""
    found = revision(connection)
    if found != head_revision():
        raise SchemaOutdated(found)


def _engine(url: str) -> sa.Engine:
    """Return a synchronous engine whose transactions hold the write lock from the start and carry DDL."""
    parsed = sa.make_url(url).set(drivername="sqlite+pysqlite")
    engine = sa.create_engine(parsed, poolclass=pool.NullPool, connect_args={"isolation_level": None, "timeout": 30})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def current_revision(url: str) -> str | None:
    """Return the schema version of a database, None when it is empty or not there.

    Raises:
        sqlalchemy.exc.DBAPIError: the file can't be read.
    """
    database = sa.make_url(url).database
    if not database or not Path(database).exists():
        return None
    with _engine(url).connect() as connection:
        return revision(connection)


def upgrade(url: str) -> None:
    """Bring a database to this version's schema, creating the file when it is not there. All or nothing.

    Processes that do this at the same time take turns; the later finds nothing to do.

    Raises:
        sqlalchemy.exc.DBAPIError: the file can't be read or written.
        alembic.util.CommandError: the database is of a newer version of the program.
    """
    scripts = _scripts()

    def steps(found: Sequence[str] | str, _context: MigrationContext) -> list[object]:
        return list(scripts._upgrade_revs("head", found))  # type: ignore[arg-type]  # noqa: SLF001 - as alembic's own command does

    with _engine(url).begin() as connection, EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
