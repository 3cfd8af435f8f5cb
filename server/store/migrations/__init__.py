"""Schema versions: one file each in ``versions/``, from the first table on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event, pool

_VERSION = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32)))


class SchemaOutdated(Exception):
    """The database's tables are not those of this version; the text says what to do."""

    def __init__(self, found: str | None) -> None:
        has = "has no tables yet" if found is None else f"has schema {found}"
        super().__init__(f"the database {has}, this version needs {head_revision()}: {way_to_head(found)}")
        self.found = found


class SchemaUnknown(Exception):
    """The database's tables are of a version that this program does not know: a newer one."""


@cache
def head_revision() -> str:
    """Return the schema version that this program needs: the last step's number."""
    return max(step.name.partition("_")[0] for step in (Path(__file__).parent / "versions").glob("[0-9]*_*.py"))


def way_to_head(found: str | None) -> str:
    """Return what is to be done about a database with another schema than this version's."""
    if found is not None and found > head_revision():
        return "run the newer version of Certwright that upgraded it, or restore a copy from before"
    return "run certwright db upgrade"


def revision(connection: sa.Connection) -> str | None:
    """Return the schema version found, None for an empty database."""
    if not sa.inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar_one_or_none()


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
        SchemaUnknown: the database is of a newer version of the program.
    """
    # Alembic takes longer to load than all of the database's own code, and nearly every process finds nothing to do.
    from server.store.migrations.steps import take  # noqa: PLC0415 - see above

    with _engine(url).begin() as connection:
        take(connection)
