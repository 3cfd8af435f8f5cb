"""``certwright ca``: the issuing CAs."""

from __future__ import annotations

import typer

from server.commands import authority, hsm

app = typer.Typer(no_args_is_help=True)
app.command()(authority.show)
app.command()(authority.init)
app.command("import")(authority.import_)
app.command()(authority.sign)
app.command()(authority.rollover)
app.add_typer(hsm.app, name="hsm", help="Look into an HSM, make keys in it, and requests for CA certificates.")
