"""``certwright db``: the schema and the soundness of the database."""

from __future__ import annotations

import sqlalchemy as sa
import typer

from server.commands import record
from server.commands.record import ConfigOption
from server.store import SchemaUnknown, current_revision, head_revision
from server.store import upgrade as upgrade_schema

app = typer.Typer(no_args_is_help=True, help="Check and upgrade the database.")


@app.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema, making it when it is not there. All or nothing."""
    url = record.database_url(config)
    try:
        found = current_revision(url)
        upgrade_schema(url)
    except (sa.exc.DBAPIError, SchemaUnknown) as error:
        record.stop(f"{sa.make_url(url).database}: {getattr(error, 'orig', None) or error}")
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


def _examine(connection: sa.Connection) -> list[str]:
    found = [line for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars() if line != "ok"]
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return [
        *found,
        *(f"{table}: row {row} refers to a {parent} that is not there" for table, row, parent, _ in dangling),
    ]
