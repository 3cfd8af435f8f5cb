"""``certwright eab``: keys for external account binding, printed once and kept encrypted (RFC 8555 section 7.3.4)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from policies.document import DocumentErrors
from server.acme.codec.encodings import encode_base64url
from server.acme.messages import AccountStatus
from server.acme.records import accounts
from server.acme.service.bindings import check_pattern
from server.acme.service.endings import end_account
from server.acme.states import AccountEvent
from server.app.acme import external_accounts
from server.app.secret_sources import Reader
from server.audit import Action, AuditEvent
from server.clock import system_clock
from server.commands import record
from server.commands.record import ByOption, ConfigOption, JsonOption, LimitOption
from server.store import credentials
from server.store.credentials import CredentialKind, StoredCredential

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    import sqlalchemy as sa

    from policies.request import EndpointName
    from server.credentials import Sealer

app = typer.Typer(no_args_is_help=True, help="Make, list and withdraw keys for ACME external accounts.")

_KEY_BYTES = 32
_FOR_EVER = "never"


@app.command()
def new(
    endpoint: Annotated[str, typer.Argument(help="Where accounts may be made with it, like acme/default.")] = (
        "acme/default"
    ),
    *,
    uses: Annotated[int, typer.Option(min=0, max=1_000_000, help="For how many accounts; 0 for any number.")] = 1,
    expires: Annotated[str, typer.Option(help="For how long accounts may be made, like 7d, or never.")] = "7d",
    profile: Annotated[
        list[str] | None, typer.Option(help="A profile that its accounts may use; given again for more than one.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="What its accounts may ask for: dns:NAME, dns:*.NAME, dns:**.NAME, ip:NETWORK, or a device."),
    ] = None,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a key and print it: this once, it can't be read again. Its uses are accounts, not certificates."""
    where, sealer = _endpoint(config, endpoint, profile or ())
    now, kid, key = system_clock(), secrets.token_hex(8), secrets.token_bytes(_KEY_BYTES)
    made = StoredCredential(
        id=kid,
        kind=CredentialKind.ACME_EAB,
        endpoint=where,
        created_by=record.person(by),
        created_at=now,
        username=kid,
        sealed=sealer.seal(key, kid),
        uses_left=uses or None,
        expires_at=None if expires == _FOR_EVER else now + record.duration(expires),
        profile=" ".join(dict.fromkeys(profile or ())) or None,
        names=tuple(map(_pattern, name or ())),
    )
    event = AuditEvent(now, Action.CREDENTIAL_MADE, made.created_by, detail=f"{kid} for {where}").row()
    record.write(config, lambda connection: credentials.add(connection, made, event))
    shown = {**_fields(made, now), "hmac_key": encode_base64url(key)}
    if as_json:
        record.print_json(shown)
    else:
        record.print_fields(shown)


@app.command("list")
def list_(*, limit: LimitOption = 100, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the keys that were made, the newest first; none can be shown."""
    now = system_clock()
    found = record.read(config, lambda c: credentials.list_credentials(c, kind=CredentialKind.ACME_EAB, limit=limit))
    record.tell_if_cut(found, limit)
    record.print_listed(_NAMES, [_fields(one, now) for one in found], as_json=as_json)


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(help="The key identifier that list shows.")],
    *,
    with_accounts: Annotated[bool, typer.Option("--accounts", help="End the accounts made with it, too.")] = False,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Withdraw a key: no account can be made with it from now on."""
    now, who = system_clock(), record.person(by)
    event = AuditEvent(now, Action.CREDENTIAL_ENDED, who, detail=kid).row()

    def work(connection: sa.Connection) -> int | None:
        found = credentials.find(connection, kid)
        if found is None or found.kind is not CredentialKind.ACME_EAB:
            return None
        withdrawn = credentials.revoke(connection, kid, now, event)
        ended = _end_accounts(connection, kid, who, now) if with_accounts else 0
        return ended if withdrawn or ended else None

    ended = record.write(config, work)
    if ended is None:
        record.stop(f"there is no key {kid} to withdraw")
    typer.echo(f"{kid} is withdrawn" + (f", and {ended} accounts with it" if with_accounts else ""))


def _end_accounts(connection: sa.Connection, kid: str, by: str, now: datetime) -> int:
    ended = accounts.bound_to(connection, kid, AccountStatus.VALID)
    for account in ended:
        end_account(connection, account, AccountEvent.REVOKED, by, now)
    return len(ended)


def _endpoint(config: Path | None, text: str, profiles: Sequence[str]) -> tuple[EndpointName, Sealer]:
    """Return the endpoint with what seals its keys; stop, with the way out, when it takes none."""
    where, read = record.endpoint(text), record.configuration(config)
    if where not in read.endpoints.acme:
        record.turn_away(f"there is no endpoint {text}; there are {', '.join(map(str, read.endpoints.acme)) or 'none'}")
    known = read.endpoints.acme[where].profiles
    unknown = [name for name in profiles if name not in known]
    if unknown:
        record.turn_away(f"{where} has no profile {', '.join(unknown)}; it has {', '.join(known)}")
    try:
        found = external_accounts(where, read, Reader(read))
    except DocumentErrors as errors:
        record.turn_away(str(errors))
    if found is None:
        place = read.locate("endpoints", str(where))
        way_out = "give it external_accounts: {sealing_key: {file: FILE}}"
        record.turn_away(f"{place}: {where} has no external accounts; {way_out}")
    return where, found.sealer


def _pattern(text: str) -> str:
    try:
        check_pattern(text)
    except ValueError as error:
        record.turn_away(str(error))
    return text


_NAMES = ("kid", "endpoint", "profiles", "names", "state", "uses_left", "expires_at", "made_by", "made_at")


def _fields(one: StoredCredential, now: datetime) -> dict[str, object]:
    return {
        "kid": one.id,
        "endpoint": str(one.endpoint),
        "profiles": (one.profile or "").split(),
        "names": list(one.names),
        "state": one.objection(now) or "good",
        "uses_left": one.uses_left,
        "expires_at": one.expires_at,
        "made_by": one.created_by,
        "made_at": one.created_at,
    }
