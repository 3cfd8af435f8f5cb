"""``certwright hash``: what to write into a file of secrets."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from argon2 import PasswordHasher


def hash_secret(
    secret: Annotated[
        str | None,
        typer.Option(help="Asked for when not given; without a terminal, the first line of standard input is taken."),
    ] = None,
) -> None:
    """Print the argon2 hash of a password or challenge, for a password file or a challenge file."""
    try:
        chosen = _asked() if secret is None else secret
        chosen.encode()
    except UnicodeError:
        typer.echo("a secret is UTF-8 text here; this is none", err=True)
        raise typer.Exit(2) from None
    if not chosen:
        typer.echo("an empty secret is none: write it on standard input, in one line", err=True)
        raise typer.Exit(2)
    typer.echo(PasswordHasher().hash(chosen))


def _asked() -> str:
    """Return what a person types twice, or a program writes; other users of the machine see neither."""
    if sys.stdin is None:  # closed by who started this
        return ""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    typed: str = typer.prompt("Secret", hide_input=True, confirmation_prompt=True)
    return typed
