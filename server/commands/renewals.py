"""``certwright renewals``: when ACME clients renew, moved for an incident or a change of the CA (RFC 9773)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from policies.durations import duration_text
from server.acme.records import renewals
from server.acme.records.renewals import Chosen, MovedWindow
from server.audit import Action, AuditEvent
from server.clock import system_clock
from server.commands import record
from server.commands.record import ByOption, ConfigOption, JsonOption, LimitOption

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import sqlalchemy as sa

app = typer.Typer(no_args_is_help=True, help="Move the renewal windows of ACME certificates.")

_PAST = timedelta(hours=1)

SerialOption = Annotated[list[str] | None, typer.Option(help="This certificate, by its serial number in hex.")]
EndpointOption = Annotated[str | None, typer.Option(help="Those issued through it, like acme/default.")]
ProfileOption = Annotated[str | None, typer.Option(help="Those issued under it.")]
IssuerOption = Annotated[str | None, typer.Option(help="Those signed by this issuer of the configuration.")]
BeforeOption = Annotated[str | None, typer.Option("--older-than", help="Those issued longer ago, like 12h or 7d.")]
NameOption = Annotated[str | None, typer.Option(help="Those with this text in one of their names.")]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.")]


@app.command()
def push(
    *,
    serial: SerialOption = None,
    endpoint: EndpointOption = None,
    profile: ProfileOption = None,
    issuer: IssuerOption = None,
    older_than: BeforeOption = None,
    name: NameOption = None,
    every: AllOption = False,
    start: Annotated[str, typer.Option("--in", help="When the window begins, from now, like 6h.")] = "0s",
    within: Annotated[
        str, typer.Option(help="How long it is: clients spread themselves over it; 0s for at once.")
    ] = "24h",
    why: Annotated[str, typer.Option(help="A URL that tells people why; clients show it.")] = "",
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Move the windows of good certificates; clients notice when they look next, see renewal_check."""
    now = system_clock()
    chosen = _chosen(now, serial, endpoint, profile, issuer, older_than, name, every=every)
    begin, length = now + record.duration(start), record.duration(within)
    if urlsplit(why).scheme not in {"", "http", "https"} or (why and not urlsplit(why).netloc):
        record.turn_away("--why takes an http or https URL")
    # A window that is over makes clients renew as soon as they see it (RFC 9773 section 4.2).
    starts, ends = (begin, begin + length) if length >= timedelta(seconds=1) else (begin - _PAST, begin)
    window = MovedWindow(starts, ends, why, record.person(by), now)
    detail = f"to {record.text_of(starts)} .. {record.text_of(ends)}{f' for {why}' if why else ''}"
    count = record.write(config, lambda c: _move(c, chosen, window, detail))
    typer.echo(f"{count} renewal windows moved: {duration_text(length)} from {record.text_of(begin)}")


@app.command()
def withdraw(
    *,
    serial: SerialOption = None,
    endpoint: EndpointOption = None,
    profile: ProfileOption = None,
    issuer: IssuerOption = None,
    older_than: BeforeOption = None,
    name: NameOption = None,
    every: AllOption = False,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Move windows back to where the profile has them."""
    now = system_clock()
    chosen = _chosen(now, serial, endpoint, profile, issuer, older_than, name, every=every)
    person = record.person(by)

    def work(connection: sa.Connection) -> int:
        return _move(connection, chosen, None, "to what is calculated", person)

    typer.echo(f"{record.write(config, work)} renewal windows are calculated again")


@app.command("list")
def list_(*, limit: LimitOption = 100, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the windows that were moved, the last first."""
    found = record.read(config, lambda connection: renewals.list_windows(connection, limit))
    record.tell_if_cut(found, limit)
    rows = [(format(serial, "x"), w.starts, w.ends, w.explanation, w.made_by, w.made_at) for serial, w in found]
    headings = ("serial", "begins", "ends", "why", "moved by", "moved at")
    if as_json:
        record.print_json([dict(zip(headings, row, strict=True)) for row in rows])
    else:
        record.print_table(headings, rows)


def _chosen(  # noqa: PLR0917 - the options of both commands
    now: datetime,
    serial: Sequence[str] | None,
    endpoint: str | None,
    profile: str | None,
    issuer: str | None,
    older_than: str | None,
    name: str | None,
    *,
    every: bool,
) -> Chosen:
    chosen = Chosen(
        now,
        serials=tuple(map(record.serial_number, serial or ())),
        endpoint=str(record.endpoint(endpoint)) if endpoint else None,
        profile=profile,
        issuer=issuer,
        issued_before=now - record.duration(older_than) if older_than else None,
        name=name,
    )
    if every == (chosen != Chosen(now)):
        record.turn_away("say which certificates: some of the options, or --all")
    return chosen


def _move(
    connection: sa.Connection, chosen: Chosen, window: MovedWindow | None, detail: str, by: str | None = None
) -> int:
    serials = renewals.choose(connection, chosen)
    actor = window.made_by if window else by or ""
    event = AuditEvent(chosen.now, Action.RENEWALS_MOVED, actor, detail=f"{len(serials)} certificates {detail}")
    renewals.move_windows(connection, serials, window, event.row())
    return len(serials)
