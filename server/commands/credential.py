"""``certwright credential``: secrets for requesters, made here, shown once and kept only as hashes."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from argon2 import PasswordHasher

from policies.document import DocumentErrors
from policies.request import Protocol
from server.app.cmc import shared_secrets
from server.app.secret_sources import Reader
from server.audit import Action, AuditEvent
from server.clock import system_clock
from server.commands import record
from server.commands.record import ByOption, ConfigOption, JsonOption, LimitOption
from server.credentials.redeeming import digest_of, new_secret
from server.store import credentials
from server.store.credentials import CredentialKind, StoredCredential

if TYPE_CHECKING:
    from policies.request import EndpointName
    from server.credentials import Sealer

app = typer.Typer(no_args_is_help=True, help="Make, list and withdraw one-time passwords.")

_KINDS = {Protocol.EST: CredentialKind.EST_PASSWORD, Protocol.SCEP: CredentialKind.SCEP_CHALLENGE}


@app.command()
def new(
    endpoint: Annotated[str, typer.Argument(help="Where it may be presented, like est/default.")],
    *,
    device: Annotated[
        str | None, typer.Option(help="The only device it is good for: common name and DNS names must be its.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(help='The user name for HTTP Basic; the device when not given, any with "".')
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="A subject alternative name it is good for, like dns:pump.example.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="The only profile it is good for.")] = None,
    uses: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many certificates it is good for.")] = 1,
    expires: Annotated[str, typer.Option(help="For how long, like 12h or 7d.")] = "7d",
    cmc: Annotated[
        bool, typer.Option("--cmc", help="A shared secret for fullcmc: the user name is the identification.")
    ] = False,
    choose: Annotated[bool, typer.Option("--choose", help="Ask for the password instead of making one.")] = False,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a password, challenge or shared secret and print it: this once, it can't be read again."""
    called = device if user is None else user or None
    where, sealer = _sealing(config, endpoint, profile, called) if cmc else (None, None)
    where = where or _endpoint(config, endpoint, profile)
    kind = CredentialKind.CMC_SECRET if cmc else _KINDS[where.protocol]
    now, identifier = system_clock(), secrets.token_hex(6)
    if kind is CredentialKind.EST_PASSWORD and ":" in (called or ""):
        record.turn_away("HTTP Basic has no user names with a colon (RFC 7617 section 2): give another by --user")
    secret = _chosen(kind, called) if choose else new_secret()
    made = StoredCredential(
        id=identifier,
        kind=kind,
        endpoint=where,
        created_by=record.person(by),
        created_at=now,
        username=called if kind is not CredentialKind.SCEP_CHALLENGE else None,
        digest=None if choose or sealer is not None else digest_of(secret),
        sealed=sealer.seal(secret.encode(), identifier) if sealer is not None else None,
        argon2=PasswordHasher().hash(secret) if choose else None,
        uses_left=uses,
        expires_at=now + record.duration(expires),
        profile=profile,
        device=device,
        names=tuple(name or ()),
    )
    event = AuditEvent(now, Action.CREDENTIAL_MADE, made.created_by, detail=f"{identifier} for {where}").row()
    record.write(config, lambda connection: credentials.add(connection, made, event))
    shown = {**_fields(made, now), **({} if choose else {"secret": secret})}
    if as_json:
        record.print_json(shown)
    else:
        record.print_fields(shown)


@app.command("list")
def list_(
    *,
    endpoint: Annotated[str | None, typer.Option(help="For this endpoint only, like est/default.")] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List what was made, the newest first; no secret can be shown."""
    where, now = record.service(config, endpoint), system_clock()
    found = record.read(config, lambda c: credentials.list_credentials(c, endpoint=where, limit=limit))
    record.tell_if_cut(found, limit)
    if as_json:
        record.print_json([_fields(one, now) for one in found])
        return
    headings = ("id", "endpoint", "user", "device", "profile", "state", "uses left", "expires", "made by")
    rows = (
        (
            one.id,
            one.endpoint,
            one.username,
            one.device,
            one.profile,
            one.objection(now) or "good",
            one.uses_left,
            one.expires_at,
            one.created_by,
        )
        for one in found
    )
    record.print_table(headings, rows)


@app.command()
def revoke(
    identifier: Annotated[str, typer.Argument(help="The identifier that list shows.")],
    *,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Withdraw a secret: it is good for nothing from now on."""
    now = system_clock()
    event = AuditEvent(now, Action.CREDENTIAL_ENDED, record.person(by), detail=identifier).row()
    if not record.write(config, lambda connection: credentials.revoke(connection, identifier, now, event)):
        record.stop(f"there is no credential {identifier} to withdraw")
    typer.echo(f"{identifier} is withdrawn")


def _endpoint(config: Path | None, text: str, profile: str | None) -> EndpointName:
    """Return the endpoint if it takes what is made here; stop, with the way out, when it does not."""
    read = record.configuration(config)
    every = read.endpoints
    where, known = every.main(record.endpoint(text)), every.all()
    if where not in known:
        record.turn_away(f"there is no endpoint {text}; there are {', '.join(map(str, known))}")
    place = read.locate("endpoints", str(where), "challenge" if where in every.scep else "authenticate")
    if where.protocol not in _KINDS:
        record.turn_away(f"{where} takes no one-time passwords")
    if where in every.est and not every.est[where].authenticate.one_time_passwords:
        record.turn_away(
            f"{place}: {where} takes no one-time passwords; set one_time_passwords: true in its authenticate section"
        )
    challenge = every.scep[where].challenge if where in every.scep else None
    if where in every.scep and (challenge is None or not challenge.one_time):
        record.turn_away(f"{place}: {where} takes no one-time challenges; set one_time: true in its challenge section")
    if profile is not None and profile not in known[where].profiles:
        record.turn_away(f"{where} has no profile {profile}; it has {', '.join(known[where].profiles)}")
    return where


def _sealing(config: Path | None, text: str, profile: str | None, user: str | None) -> tuple[EndpointName, Sealer]:
    """Return the endpoint with what seals its shared secrets; stop, with the way out, when it takes none."""
    read = record.configuration(config)
    where = read.endpoints.main(record.endpoint(text))
    if where not in read.endpoints.est:
        record.turn_away(
            f"there is no EST endpoint {text}; there are {', '.join(map(str, read.endpoints.est)) or 'none'}"
        )
    if profile is not None and profile not in read.endpoints.est[where].profiles:
        record.turn_away(f"{where} has no profile {profile}; it has {', '.join(read.endpoints.est[where].profiles)}")
    if user is None:
        record.turn_away("a shared secret goes with an identification: give --user or --device")
    try:
        sealer = shared_secrets(where, read, Reader(read))
    except DocumentErrors as errors:
        record.turn_away(str(errors))
    if sealer is None:
        record.turn_away(f"{where} has no shared secrets; give it fullcmc: {{sealing_key: {{file: FILE}}}}")
    return where, sealer


def _chosen(kind: CredentialKind, user: str | None) -> str:
    """Ask for a password. One that a person chose is kept as argon2 and can be found by its user name only."""
    if kind is not CredentialKind.EST_PASSWORD or user is None:
        record.turn_away("only a password with a user name can be chosen: give --user or --device, at an EST endpoint")
    chosen: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return chosen


def _fields(one: StoredCredential, now: datetime) -> dict[str, object]:
    return {
        "id": one.id,
        "kind": one.kind.value,
        "endpoint": str(one.endpoint),
        "user": one.username,
        "device": one.device,
        "names": list(one.names),
        "profile": one.profile,
        "state": one.objection(now) or "good",
        "uses_left": one.uses_left,
        "expires_at": one.expires_at,
        "made_by": one.created_by,
        "made_at": one.created_at,
        "spent_at": one.spent_at,
        "revoked_at": one.revoked_at,
    }
