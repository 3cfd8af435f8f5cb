"""``certwright ca``: the issuing CAs."""

from __future__ import annotations

import typer

from server.commands import hsm

app = typer.Typer(no_args_is_help=True)
app.add_typer(hsm.app, name="hsm", help="Look into an HSM, make keys in it, and requests for CA certificates.")
