"""``certwright db``: the schema and the soundness of the database, and copies of it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from server.commands import record
from server.commands.record import ConfigOption
from server.deployment.files import write_secret
from server.store import SchemaUnknown, current_revision, head_revision
from server.store import upgrade as upgrade_schema
from server.store.database import database_file
from server.store.obstacles import obstacle

app = typer.Typer(no_args_is_help=True, help="Check, upgrade and copy the database.")


@app.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema, making it when it is not there. All or nothing."""
    url = record.database_url(config)
    try:
        found = current_revision(url)
        upgrade_schema(url)
    except (sa.exc.DBAPIError, SchemaUnknown, OSError) as error:
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
    typer.echo(f"{file} is a copy of {own}; to go back to it, stop the server and put it in that place")


def _copy(own: Path, file: Path) -> None:
    with (
        closing(sqlite3.connect(f"{own.absolute().as_uri()}?mode=ro", uri=True)) as here,
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
