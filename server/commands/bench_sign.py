"""``certwright bench sign``: how fast each kind of CA key signs, in this process and in an HSM."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ca.issuer import IssuerError
from server.app.hsms import SignerProcess, Token
from server.app.signing import hsm_throwaway, local_throwaway
from server.bench.sign import measure_signing
from server.clock import system_clock
from server.commands.hsm import PinFile, read_pin
from server.commands.record import stop

if TYPE_CHECKING:
    from server.bench.sign import SigningCost

LOCAL = (
    "P-256",
    "P-384",
    "P-521",
    "ed25519",
    "rsa:2048",
    "rsa:3072",
    "rsa:4096",
    "ml-dsa-44",
    "ml-dsa-65",
    "ml-dsa-87",
)


def sign(
    *,
    count: Annotated[int, typer.Option(min=1, help="How many certificates of each kind.")] = 500,
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds of local keys.")] = None,
    module: Annotated[
        Path | None,
        typer.Option(help="An HSM's PKCS#11 library; needs --token and --key.", exists=True, dir_okay=False),
    ] = None,
    token: Annotated[str | None, typer.Option(help="The token's label.")] = None,
    pin_file: PinFile = None,
    key: Annotated[list[str] | None, typer.Option(help="Labels of keys in the HSM.")] = None,
) -> None:
    """Make certificates with each kind of CA key, and bare signatures beside: how many a second, CPU for each."""
    if (module is None) is not (token is None) or bool(key) is not (module is not None):
        raise typer.BadParameter("--module, --token and --key go together")
    table = Table("key", "certificates/s", "CPU ms each", "bare signatures/s", "CPU ms each")
    kinds = kind or ([] if module is not None else [*LOCAL, "rsa:2048 pss"])
    try:
        for name in kinds:
            words = name.split()
            signing = local_throwaway(words[0], system_clock(), pss=words[1:] == ["pss"])
            _add(table, name, measure_signing(signing, count=count, now=system_clock()))
        if module is not None:
            _hsm(table, Token(module, token, read_pin(pin_file)), key or [], count)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except IssuerError as error:
        stop(str(error))
    Console(soft_wrap=True).print(table)


def _hsm(table: Table, token: Token, keys: list[str], count: int) -> None:
    with closing(SignerProcess(token)) as process:
        for label in keys:
            signing = hsm_throwaway(process, label, system_clock())
            cost = measure_signing(signing, count=count, now=system_clock(), signer_pid=lambda: process.pid)
            _add(table, f"{label} (HSM)", cost)


def _add(table: Table, name: str, cost: SigningCost) -> None:
    figures = (f"{cost.a_second:,.0f}", f"{cost.cpu:.2f}", f"{cost.bare_a_second:,.0f}", f"{cost.bare_cpu:.2f}")
    table.add_row(name, *figures)
