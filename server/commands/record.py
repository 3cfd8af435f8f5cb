"""What the commands on the record share: opening the database beside a running server, and showing what is in it."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from policies.document import DocumentErrors
from policies.durations import parse_duration
from policies.request import EndpointName
from server.commands.places import usual
from server.config import load_config
from server.store import SchemaOutdated, Store, StoreUnavailable
from server.store.database import database_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Sized
    from datetime import timedelta

    from server.config import Config
    from server.store.lane import Work

T = TypeVar("T")
_ENDLESS = 10_000
"""Columns of what is read by no person: wider than any row."""
_FOLDED = len("2026-11-21 12:00:00 UTC")
"""Columns that are left to a value which is broken into lines."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="The server's configuration; ./server.yaml or ./certs-dev/server.yaml when not given."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
LimitOption = Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")]
ByOption = Annotated[str | None, typer.Option(help="Who does this, for the record; the login name when not given.")]


def stop(message: str) -> NoReturn:
    """Say on stderr that the answer is no, or why the work failed; end with status 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


def turn_away(message: str) -> NoReturn:
    """Say on stderr what is wrong with the command line or the configuration; end with status 2, as typer does."""
    typer.echo(message, err=True)
    raise typer.Exit(2)


def duration(text: str) -> timedelta:
    """Read a duration such as 12h or 7d; turn away what is none."""
    try:
        return parse_duration(text)
    except ValueError as error:
        turn_away(str(error))


def configuration(config: Path | None) -> Config:
    """Return the configuration; turn away when there is no usable one."""
    try:
        return load_config(usual(config))
    except DocumentErrors as errors:
        turn_away(str(errors))


def database_url(config: Path | None) -> str:
    """Return the database that the configuration names; turn away when there is no usable configuration."""
    return configuration(config).database_url


def read(config: Path | None, work: Work[T]) -> T:
    """Run a reading work on the database; stop when it can't be opened."""
    return _run(config, work, writing=False)


def write(config: Path | None, work: Work[T]) -> T:
    """Run a writing work on the database, also while a server is running; stop when it can't be done."""
    return _run(config, work, writing=True)


def _run(config: Path | None, work: Work[T], *, writing: bool) -> T:
    url = database_url(config)

    async def run() -> T:
        store = await Store.open(url)
        try:
            return await (store.write(work) if writing else store.read(work))
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except SchemaOutdated as error:
        turn_away(f"{database_file(url)}: {error}")
    except UnicodeEncodeError:
        turn_away("an argument is not UTF-8 text")
    except StoreUnavailable as error:
        stop(_located(str(error), str(database_file(url))))
    except ValueError as error:
        stop(str(error))


def _located(said: str, file: str) -> str:
    """Return what SQLite says with the file that it is said of, and the way out where that is to wait."""
    way_out = ": another process writes to it; try again" if said.endswith("is locked") else ""
    return f"{said if file in said else f'{file}: {said}'}{way_out}"


def person(by: str | None) -> str:
    """Return who acts, as audit events name it."""
    try:
        return f"admin:{by or getpass.getuser()}"
    except (KeyError, OSError):  # in a container, users may have numbers only
        return f"admin:{os.getuid()}"


def endpoint(text: str) -> EndpointName:
    """Read an endpoint's name; turn away what is none."""
    try:
        return EndpointName.parse(text)
    except ValueError as error:
        turn_away(str(error))


def service(config: Path | None, text: str | None) -> EndpointName | None:
    """Read the endpoint whose records are wanted, as they call it: an alias stands for its service."""
    return None if text is None else configuration(config).endpoints.main(endpoint(text))


def serial_number(text: str) -> int:
    """Read a serial number in hex as any program shows it: colons, spaces, 0x, upper case; turn away what is none."""
    try:
        return int(text.replace(":", "").replace(" ", ""), 16)
    except ValueError:
        turn_away(f"not a serial number in hex: {text}")


def text_of(value: object) -> str:
    """Return a value for people, several one a line; what came from outside can't steer the terminal or add lines."""
    match value:
        case None:
            return ""
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S UTC")
        case tuple() | list():
            return "\n".join(map(text_of, value))
        case _:
            return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def tell_if_cut(found: Sized, limit: int) -> None:
    """Say on stderr that there may be more than what is listed."""
    if len(found) >= limit:
        typer.echo(f"these are the newest {limit}; --limit {10 * limit} shows more", err=True)


def print_json(value: object) -> None:
    """Print JSON; times in ISO 8601, everything else that JSON does not know as text."""
    typer.echo(json.dumps(value, indent=2, default=lambda v: v.isoformat() if isinstance(v, datetime) else str(v)))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print one line a row, for programs and wide terminals.

    On a terminal that is too narrow each field has a line of its own, so that nothing is cut and what comes first can
    be copied whole.
    """
    shown = [[text_of(value) for value in row] for row in rows]
    console = _console()
    if console.is_terminal and not shown:
        typer.echo("there is nothing to list", err=True)
        return
    if console.is_terminal and _width(headings, shown) > console.width:
        for row in shown:
            print_fields(dict(zip(headings, row, strict=True)))
            console.print()
        return
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    table.columns[0].no_wrap = True
    for row in shown:
        table.add_row(*(Text(value, overflow="fold") for value in row))
    console.print(table)


def _width(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how many columns of a terminal a table needs at least: only long values are broken, the first is not."""
    columns = list(zip(headings, *rows, strict=True))
    longest = [max(len(line) for value in column for line in (value.split("\n"))) for column in columns]
    least = [max(len(column[0]), min(wanted, _FOLDED)) for column, wanted in zip(columns, longest, strict=True)]
    return sum(least) + longest[0] - least[0] + 2 * (len(columns) - 1)


def print_listed(names: Sequence[str], found: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print what was found: all its fields as JSON, or these of them as a table, headed by their names in words."""
    if as_json:
        print_json(found)
        return
    rows = ([" ".join(v) if isinstance(v := fields[name], list) else v for name in names] for fields in found)
    print_table([name.replace("_", " ") for name in names], rows)


def _console() -> Console:
    """Return where output goes; what programs read is not broken into lines."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _ENDLESS
    return console


def print_fields(fields: Mapping[str, object]) -> None:
    """Print one line a field, leaving out those that are empty."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in fields.items():
        shown = text_of(value)
        if shown:
            table.add_row(Text(name.replace("_", " "), style="bold"), Text(shown, overflow="fold"))
    _console().print(table)
