"""``certwright ca hsm``: what is in an HSM, new keys in it, and requests for CA certificates with them."""

from __future__ import annotations

import secrets
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ca.ceremony import make_ca_request
from ca.issuer import IssuerError
from ca.names import DistinguishedName, MalformedName
from server.app.hsms import SignerProcess, Token, generate_hsm_key, hsm_key
from server.commands.record import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(no_args_is_help=True)

_Module = Annotated[Path, typer.Option(help="The HSM's PKCS#11 library.", exists=True, dir_okay=False)]
_TokenLabel = Annotated[str, typer.Option("--token", help="The token's label.")]
PinFile = Annotated[
    Path | None, typer.Option(help="A file with the PIN; asked for when not given.", exists=True, dir_okay=False)
]
_Label = Annotated[str, typer.Option(help="The key's label.")]


@app.command("list")
def list_tokens(
    module: _Module,
    token: Annotated[str | None, typer.Option(help="List this token's keys too; needs its PIN.")] = None,
    pin_file: PinFile = None,
) -> None:
    """List the slots with their tokens, and the keys of one token."""
    with _signer(Token(module, token, read_pin(pin_file) if token is not None else None)) as signer:
        found = signer.ask("tokens")
    console = Console(soft_wrap=True, highlight=False)
    slots = Table("slot", "token", "serial", "maker", "model")
    for slot in found["slots"]:
        slots.add_row(*(Text(text_of(slot[key])) for key in ("slot", "label", "serial", "maker", "model")))
    console.print(slots)
    if token is not None:
        keys = Table("key", "id", "kind")
        for key in found["keys"]:
            keys.add_row(*(Text(text_of(key[name])) for name in ("label", "id", "kind")))
        console.print(keys)


@app.command()
def generate(
    module: _Module,
    token: _TokenLabel,
    label: _Label,
    kind: Annotated[str, typer.Option(help="P-256, P-384, P-521, rsa:2048, rsa:3072 or rsa:4096.")] = "P-384",
    pin_file: PinFile = None,
) -> None:
    """Make a key pair in the HSM that can't leave it; print the public key."""
    if kind not in {"P-256", "P-384", "P-521", "rsa:2048", "rsa:3072", "rsa:4096"}:
        reason = "keys in HSMs sign with RSA and EC here, not with Ed25519 or ML-DSA"
        raise typer.BadParameter(f"P-256, P-384, P-521, rsa:2048, rsa:3072 or rsa:4096; {reason}", param_hint="--kind")
    with _signer(Token(module, token, read_pin(pin_file))) as signer:
        key = generate_hsm_key(signer, label, kind, secrets.token_bytes(8))
    typer.echo(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), nl=False)


@app.command()
def csr(
    module: _Module,
    token: _TokenLabel,
    label: _Label,
    subject: Annotated[str, typer.Option(help="The CA's name, like CN=Issuing CA 1,O=Example.")],
    pin_file: PinFile = None,
) -> None:
    """Print a request for the certificate of an issuing CA whose key is in the HSM, for the root above it."""
    try:
        name = DistinguishedName.from_text(subject)
    except MalformedName as error:
        raise typer.BadParameter(str(error), param_hint="--subject") from error
    with _signer(Token(module, token, read_pin(pin_file))) as signer:
        request = make_ca_request(hsm_key(signer, label), name)
    typer.echo(request.public_bytes(Encoding.PEM).decode(), nl=False)


def read_pin(file: Path | None) -> str:
    """Return the PIN that stands in a file, or that a person types when there is no file."""
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is not text"
            raise typer.BadParameter(f"{file} can't be read: {cause}", param_hint="--pin-file") from error
    pin: str = typer.prompt("PIN", hide_input=True)
    return pin


@contextmanager
def _signer(token: Token) -> Iterator[SignerProcess]:
    signer = SignerProcess(token)
    try:
        yield signer
    except IssuerError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for who asked
        raise typer.Exit(1) from error
    finally:
        signer.close()
