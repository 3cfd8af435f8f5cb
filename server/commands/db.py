"""``certwright db``: the schema and the soundness of the database, and copies of it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from server.clock import system_clock
from server.commands import record
from server.commands.record import ConfigOption
from server.deployment.files import write_secret
from server.store import SchemaUnknown, current_revision, head_revision
from server.store import upgrade as upgrade_schema
from server.store.database import database_file, reading
from server.store.obstacles import obstacle

app = typer.Typer(no_args_is_help=True, help="Check, upgrade and copy the database.")

_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
"""The octets whose locks say that SQLite has a file open (its file format, the lock-byte page)."""
_PATIENCE = "a million certificates take some minutes, and stopping this leaves everything as it was"


@app.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema, making it when it is not there. All or nothing."""
    url = record.database_url(config)
    try:
        found = current_revision(url)
        if found is not None and found < head_revision():
            typer.echo(f"from schema {found} to {head_revision()}; {_PATIENCE}", err=True)
        upgrade_schema(url)
    except SchemaUnknown as error:
        record.turn_away(f"{database_file(url)}: {error}")
    except (sa.exc.DBAPIError, OSError) as error:
        file = database_file(url)
        record.stop(f"{file}: {obstacle(file) or getattr(error, 'orig', None) or error}")
    now = head_revision()
    typer.echo(
        f"the schema is {now} already" if found == now else f"the schema is {now} now; it was {found or 'empty'}"
    )


@app.command()
def check(config: ConfigOption = None) -> None:
    """Check the schema's version and whether the database is sound; exit status 1 when something is wrong."""
    problems = record.read(config, _examine)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"the schema is {head_revision()}; the database is sound")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The copy; it must not be there yet.")],
    config: ConfigOption = None,
) -> None:
    """Copy the database, also while the server runs: what was on record at one moment, readable by its owner only."""
    own = database_file(record.database_url(config))
    if not os.access(own, os.R_OK):
        record.stop(f"{own}: {obstacle(own) or 'it is not there: nothing to copy'}")
    try:
        write_secret(file, b"")
    except FileExistsError:
        record.stop(f"{file} is there already; nothing is overwritten")
    except OSError as error:
        record.stop(f"{file}: {error.strerror}")
    try:
        _copy(own, file)
    except sqlite3.Error as error:
        file.unlink()
        record.stop(f"{own} was not copied to {file}: {error}")
    typer.echo(f"{file} is a copy of {own}; to go back to it, stop the server and run certwright db restore {file}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `db backup` made.", exists=True, dir_okay=False)],
    config: ConfigOption = None,
) -> None:
    """Put a copy in the database's place, while no server runs on it. What was there is kept beside it.

    A copy that is put there by hand while the log of a killed server (-wal) is still beside it is damaged by that log.
    """
    own = database_file(record.database_url(config))
    if own.is_dir():
        record.stop(f"{own}: {obstacle(own)}")
    if _is_open(own):
        record.stop(f"{own} is in use: stop the server, and whatever else has it open")
    new = own.with_name(f"{own.name}.new")
    try:
        new.unlink(missing_ok=True)  # of an earlier attempt
        write_secret(new, b"")
        if own.exists():
            os.chown(new, own.stat().st_uid, own.stat().st_gid)
        _copy(file, new)
        revision = current_revision(f"sqlite:///{new.absolute()}")
        if revision is None:
            raise sqlite3.DatabaseError("it is no database of Certwright")
        aside = _put_aside(own)
        new.replace(own)
    except (sqlite3.Error, sa.exc.DBAPIError, SchemaUnknown, OSError) as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        record.stop(f"{file} was not put in the place of {own}: {getattr(error, 'orig', None) or error}")
    kept = f"; what was there is kept as {aside}" if aside else ""
    typer.echo(f"{own} is what {file} was{kept}")
    if revision != head_revision():
        typer.echo(f"its schema is {revision}, not {head_revision()}: run certwright db upgrade")


def _is_open(own: Path) -> bool:
    """Tell whether another process has the database open: each keeps a shared lock on it (SQLite, os_unix.c)."""
    try:
        with own.open("rb+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
    except BlockingIOError:
        return True
    except OSError:  # it is not there, or not ours: who moves it will see
        return False
    return False


def _put_aside(own: Path) -> Path | None:
    """Give the database that is there, with its log, another name. Returns that, None when there is none."""
    if not own.exists():
        for suffix in ("-wal", "-shm"):  # of nothing
            own.with_name(own.name + suffix).unlink(missing_ok=True)
        return None
    aside = own.with_name(f"{own.name}.before-{system_clock():%Y%m%dT%H%M%S%fZ}")
    for suffix in ("-wal", "-shm", ""):  # the log first: without its database it does no harm to the next one
        with suppress(FileNotFoundError):
            own.with_name(own.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def _copy(own: Path, file: Path) -> None:
    with (
        reading(own) as here,
        closing(sqlite3.connect(file)) as there,
    ):
        here.backup(there)  # all pages in one step: writers go on, and are not in the copy
        (result,) = there.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise sqlite3.DatabaseError(f"it is damaged: {result}")


def _examine(connection: sa.Connection) -> list[str]:
    found = [line for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars() if line != "ok"]
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return [
        *found,
        *(f"{table}: row {row} refers to a {parent} that is not there" for table, row, parent, _ in dangling),
    ]
