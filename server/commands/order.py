"""``certwright order``: ACME orders, each from the request to the certificate or to what kept it away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.acme.messages import AuthorizationStatus, ChallengeStatus, OrderStatus
from server.acme.records import overview
from server.acme.records.overview import OrderFilter
from server.clock import system_clock
from server.commands import pausing, record, terms
from server.commands.record import ConfigOption, JsonOption, LimitOption
from server.store import certificates, requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import sqlalchemy as sa

    from server.acme.messages import Authorization
    from server.acme.records.overview import FoundOrder
    from server.store.certificates import StoredCertificate
    from server.store.requests import StoredRequest

app = typer.Typer(no_args_is_help=True, help="List and show ACME orders; let accounts try again.")
app.command()(pausing.failing)
app.command()(pausing.unpause)
app.command()(terms.agree)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an order: when, what, by or to whom, and the details, a line each."""

    at: datetime
    what: str
    who: str
    details: tuple[str, ...] = ()


@app.command("list")
def list_(
    *,
    status: Annotated[list[OrderStatus] | None, typer.Option(help="In this state; may be repeated.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Placed there, like acme/default.")] = None,
    text: Annotated[str | None, typer.Option(help="Part of a name, the account or the address.")] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List orders, the newest first."""
    where = record.service(config, endpoint)
    wanted = OrderFilter(system_clock(), tuple(status or ()) or None, str(where) if where else None, text, limit)
    found = record.read(config, lambda connection: overview.search_orders(connection, wanted))
    record.tell_if_cut(found, limit)
    shown = ("id", "created_at", "status", "endpoint", "names", "account", "address", "error")
    record.print_listed(shown, [_fields(one) for one in found], as_json=as_json)


@app.command()
def show(
    order: Annotated[str, typer.Argument(metavar="ID", help="The order's identifier, or its URL.")],
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show one order: who asked, what every attempt to validate met, what was decided and why, what was issued."""
    now, wanted = system_clock(), order.removesuffix("/finalize").rpartition("/")[2]
    found = record.read(config, lambda connection: look_up(connection, wanted, now))
    if found is None:
        record.stop(f"there is no order {wanted}")
    fields, events = found
    if as_json:
        happened = [{"at": e.at, "what": e.what, "who": e.who, "details": e.details} for e in events]
        record.print_json({**fields, "events": happened})
        return
    record.print_fields({**fields, "contact": " ".join(fields["contact"])})
    typer.echo()
    rows = ((e.at, e.what, e.who, e.details) for e in events)
    record.print_table(("at", "what", "who", "details"), rows)


def look_up(connection: sa.Connection, order: str, now: datetime) -> tuple[dict[str, Any], list[Event]] | None:
    """Return what an order is and what happened to it, the oldest first; None when there is none."""
    found = overview.find_any_order(connection, order, now)
    if found is None:
        return None
    events = [*_placed(found)]
    for each in overview.authorizations_of(connection, found, now):
        events += _validation(each)
    for request_id in overview.requests_of(connection, found):
        stored = requests.find_request(connection, request_id)
        if stored is not None:
            events += _request(stored)
        for one in requests.list_events(connection, request_id):
            details = (f"serial {one.serial:x}",) if one.serial else ()
            events.append(Event(one.at, one.action, one.actor, (*details, *filter(None, (one.detail,)))))
    certificate = certificates.find_by_request(connection, found.order.request_id or "")
    return {**_fields(found), **_certificate(certificate)}, sorted(events, key=lambda event: event.at)


def _fields(found: FoundOrder) -> dict[str, Any]:
    order = found.order
    return {
        "id": order.id,
        "status": order.status.value,
        "endpoint": found.endpoint,
        "account": order.account,
        "contact": list(found.contact),
        "address": found.address,
        "names": [f"{each.type}:{each.value}" for each in order.identifiers],
        "profile": order.profile,
        "replaces": order.replaces,
        "created_at": found.created_at,
        "expires": order.expires,
        "error": "the order has expired" if order.expired else order.error["detail"] if order.error else None,
    }


def _certificate(certificate: StoredCertificate | None) -> dict[str, Any]:
    if certificate is None:
        return {}
    return {
        "serial": format(certificate.serial, "x"),
        "not_after": certificate.not_after,
        "revoked_at": certificate.revoked_at,
    }


def _placed(found: FoundOrder) -> Iterator[Event]:
    where = f" from {found.address}" if found.address else ""
    yield Event(found.created_at, "ordered", f"account:{found.order.account}{where}")


def _validation(authorization: Authorization) -> Iterator[Event]:
    name = f"{'*.' if authorization.wildcard else ''}{authorization.identifier.value}"
    for each in authorization.history:
        outcome = f"{each.error}: {each.detail}" if each.error else "control was shown"
        details = (*each.trail, f"{outcome} ({each.seconds:.3f} s)")
        yield Event(each.at, f"{each.challenge} {'failed' if each.error else 'valid'}", name, details)
    busy = any(each.status == ChallengeStatus.PROCESSING for each in authorization.challenges)
    if authorization.status not in {AuthorizationStatus.VALID, AuthorizationStatus.INVALID}:
        details = ("a challenge is answered, the next attempt will be made",) if busy else ()
        details = details or ("no challenge was answered",) * (not authorization.history)
        yield Event(authorization.expires, f"authorization {authorization.status}", name, details)


def _request(stored: StoredRequest) -> Iterator[Event]:
    who = f"{stored.requester or ''}{f' from {stored.address}' if stored.address else ''}"
    if stored.reason is None:
        yield Event(stored.received_at, "finalized", who, (f"request {stored.id}: {stored.state}",))
        return
    findings = tuple(
        f"{each.rule} at {each.location}: {each.message} {each.value}".rstrip() for each in stored.findings
    )
    causes = tuple(filter(None, (stored.message, stored.detail)))
    yield Event(stored.received_at, stored.state, who, (f"request {stored.id}: {stored.reason}", *causes, *findings))
