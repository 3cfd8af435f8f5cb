"""``certwright init``: a complete deployment folder, ready to be served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from server.clock import system_clock
from server.commands.record import stop, turn_away
from server.deployment.folder import Ports
from server.deployment.hints import first_steps
from server.deployment.making import DeploymentRefused, SettingsRefused, create

_DEFAULT = Ports()
Port = Annotated[int, typer.Option(min=1, max=65535, help="The port of that listener.")]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it must not hold anything yet.")],
    *,
    hostname: Annotated[
        list[str] | None,
        typer.Option(help="A name or address by which clients reach the server; may be repeated."),
    ] = None,
    https_port: Port = _DEFAULT.https,
    http_port: Port = _DEFAULT.http,
    admin_port: Port = _DEFAULT.admin,
    http01_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where http-01 answers are looked for.")
    ] = _DEFAULT.http01,
) -> None:
    """Make a deployment: CA, keys, certificates, secrets, policies, database and server.yaml."""
    ports = Ports(https_port, http_port, admin_port, http01_port)
    try:
        deployment = create(folder, ports=ports, hostnames=hostname or (), clock=system_clock)
    except SettingsRefused as error:
        turn_away(str(error))
    except DeploymentRefused as error:
        stop(str(error))
    Console(soft_wrap=True, highlight=False).print(first_steps(deployment), markup=False)
