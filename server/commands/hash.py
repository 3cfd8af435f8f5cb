"""``certwright hash``: what to write into a file of secrets."""

from __future__ import annotations

from typing import Annotated

import typer
from argon2 import PasswordHasher


def hash_secret(
    secret: Annotated[
        str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="Asked for when not given.")
    ],
) -> None:
    """Print the argon2 hash of a password or challenge, for a password file or a challenge file."""
    typer.echo(PasswordHasher().hash(secret))
