"""The command line."""

from __future__ import annotations

import codecs
import errno
import gc
import importlib
import io
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True, slots=True)
class _Command:
    """One command: the module and the name in it that holds it, and what ``--help`` says."""

    module: str
    attribute: str
    help: str


_COMMANDS = {
    "init": _Command("server.commands.init", "init", "Make a complete deployment folder, ready to be served."),
    "serve": _Command("server.commands.serve", "serve", "Answer requests until SIGINT or SIGTERM."),
    "doctor": _Command("server.commands.doctor", "doctor", "Look for what is wrong or soon will be, with the way out."),
    "policy": _Command("server.commands.policy", "app", "Check, test and explain policy files."),
    "cert": _Command("server.commands.cert", "app", "List, show and revoke certificates."),
    "request": _Command("server.commands.request", "app", "List, show, approve and reject requests."),
    "credential": _Command("server.commands.credential", "app", "Make, list and withdraw one-time passwords."),
    "eab": _Command("server.commands.eab", "app", "Make, list and withdraw keys for ACME external accounts."),
    "account": _Command("server.commands.account", "app", "List, show and end ACME accounts."),
    "order": _Command("server.commands.order", "app", "List and show ACME orders, attempt by attempt."),
    "renewals": _Command("server.commands.renewals", "app", "Move the renewal windows of ACME certificates."),
    "ca": _Command("server.commands.ca", "app", "Make, show and renew the issuing CAs and their roots."),
    "db": _Command("server.commands.db", "app", "Check, upgrade and copy the database."),
    "hash": _Command("server.commands.hash", "hash_secret", "Hash a password or challenge for a file of secrets."),
    "bench": _Command("server.commands.bench", "app", "Enroll under load and say what it costs."),
}


_STATUSES = (
    "Exit status of every command: 0 when it is done; 1 when the answer is no or the work failed; 2 when the command "
    "line, a file that it names, the configuration or the database's schema is wrong and must be mended first."
)
_SIGNS = {"\N{CHECK MARK}": "ok", "\N{BALLOT X}": "NO", "\N{HORIZONTAL ELLIPSIS}": "...", "\N{BULLET}": "*"}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def _app(chosen: str | None) -> typer.Typer:
    """Return the command line with the chosen command loaded, all of them when None; the others are names only.

    Loading them all takes most of a second, which nobody should wait for a help text.
    """
    app = typer.Typer(
        help="An enrollment server in front of a certification authority: EST, SCEP and ACME on one policy.",
        no_args_is_help=True,
        epilog=_STATUSES,
        pretty_exceptions_enable=False,
        add_completion=True,
    )
    app.callback()(_options)
    for name, command in _COMMANDS.items():
        if chosen not in {None, name}:
            app.command(name, help=command.help)(_not_loaded)
            continue
        loaded = getattr(importlib.import_module(command.module), command.attribute)
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name, help=command.help)
        else:
            app.command(name, help=command.help)(loaded)
    return app


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - nothing else needs it

        typer.echo(f"certwright {version('certwright')}")
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before any command."""


def _not_loaded() -> None:
    """Stand for a command that was not asked for."""


def main() -> None:
    """Run the command that the arguments name."""
    completing = any(name.endswith("_COMPLETE") for name in os.environ)
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    # What is loaded stays: to look through it for garbage again and again would be a tenth of the time to load it.
    gc.disable()
    app = _app(None if completing else (words[0] if words else ""))
    gc.freeze()
    gc.enable()
    codecs.register_error(_spelled.__name__, _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # neither closed by who started this nor a test's
            stream.reconfigure(errors=_spelled.__name__)
    try:
        app(prog_name="certwright")
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        with suppress(OSError):
            print(f"what this command writes found no place: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(1)  # what is held back can't be written at the end either


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Write what the terminal's character set lacks, such as the sign before each line of `doctor`, in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SIGNS.get(character, "?") for character in error.object[error.start : error.end]), error.end


if __name__ == "__main__":
    main()
