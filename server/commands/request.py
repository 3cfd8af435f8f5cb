"""``certwright request``: what was asked for, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ca.csr import MalformedCsr, read_recorded_csr
from server.audit import Action, AuditEvent
from server.clock import system_clock
from server.commands import explaining, record
from server.commands.record import ByOption, ConfigOption, JsonOption, LimitOption
from server.outcome import Problem, Reason
from server.store import approvals, requests
from server.store.approvals import Vote, Voter
from server.store.requests import RequestFilter, State

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.store.approvals import Standing
    from server.store.requests import StoredRequest

app = typer.Typer(no_args_is_help=True, help="List, show, approve and reject requests.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The request's identifier.")]


@app.command("list")
def list_(
    *,
    refused: Annotated[bool, typer.Option("--refused", help="Those that were refused or failed.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Those that a person must decide.")] = False,
    state: Annotated[list[State] | None, typer.Option(help="In this state; may be repeated.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Came in there, like est/default.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Part of the requester, address, transaction, message or cause.")
    ] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List requests, the newest first."""
    states = [
        *(state or []),
        *([State.REFUSED, State.FAILED] if refused else []),
        *([State.PENDING] if pending else []),
    ]
    wanted = RequestFilter(tuple(states) or None, record.service(config, endpoint), text, limit)
    found = record.read(config, lambda connection: requests.list_requests(connection, wanted))
    record.tell_if_cut(found, limit)
    if as_json:
        record.print_json([_fields(one) for one in found])
        return
    headings = ("id", "received", "state", "endpoint", "requester", "from", "why not")
    rows = ((one.id, one.received_at, one.state, one.endpoint, one.requester, one.address, _why(one)) for one in found)
    record.print_table(headings, rows)


@app.command()
def show(request_id: IdArgument, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one request: who asked for what, what was answered and why, and what was done about it."""

    def look_up(connection: sa.Connection) -> tuple[StoredRequest | None, tuple[sa.Row[Any], ...], Standing]:
        return (
            requests.find_request(connection, request_id),
            requests.list_events(connection, request_id),
            approvals.standing(connection, request_id),
        )

    found, events, standing = record.read(config, look_up)
    if found is None:
        record.stop(f"nothing is known of a request {request_id}")
    approval = _approval(standing) if found.state is State.PENDING else {}
    happened = [{"at": e.at, "action": e.action, "by": e.actor, "detail": e.detail} for e in events]
    if as_json:
        record.print_json({**_fields(found), **approval, "events": happened})
        return
    fields = {**_fields(found), **{name: value for name, value in approval.items() if value}}
    del fields["findings"]
    record.print_fields(fields)
    if found.findings:
        typer.echo()
        headings = ("rule", "where", "finding", "asked for", "allowed")
        record.print_table(headings, ((f.rule, f.location, f.message, f.value, f.limit) for f in found.findings))
    if events:
        typer.echo()
        record.print_table(("at", "action", "by", "detail"), (tuple(event.values()) for event in happened))


@app.command()
def approve(
    request_id: IdArgument,
    *,
    by: Annotated[
        str | None, typer.Option("--as", "--by", help="Who approves, for the record; the login name when not given.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Approve a pending request: its requester gets the certificate when asking again, if the policy still agrees.

    A profile may want several persons, each with a role (server.yaml, approvers), and never the requester.
    """
    now, who = system_clock(), record.person(by)
    approvers = record.configuration(config).approvers
    name = who.partition(":")[2]
    voter = Voter(who, frozenset(role for role, names in approvers.items() if name in names))
    event = AuditEvent(now, Action.APPROVED, who, request_id).row()
    vote, standing = record.write(
        config,
        lambda c: (approvals.vote(c, request_id, voter, now, event), approvals.standing(c, request_id)),
    )
    match vote:
        case Vote.ENOUGH:
            typer.echo(f"{request_id} is approved; its certificate is issued when the requester asks again")
        case Vote.COUNTED:
            left = standing.needed - len(standing.voters)
            role = f" with the role {standing.role}" if standing.role else ""
            typer.echo(f"{request_id}: noted; {left} more{role} must approve")
        case Vote.NOT_WAITING:
            record.stop(f"no request {request_id} waits for approval")
        case _:
            record.stop(f"{request_id}: {vote.value}")


@app.command()
def reject(
    request_id: IdArgument,
    *,
    why: Annotated[str, typer.Option(help="Why, for the record; the requester does not see it.")],
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Reject a pending request."""
    who, now = record.person(by), system_clock()
    problem = Problem(Reason.POLICY, requests.REJECTED, detail=f"{who}: {why}")
    event = AuditEvent(now, Action.REJECTED, who, request_id, detail=why).row()
    if not record.write(config, lambda c: requests.reject(c, request_id, problem, now, event)):
        record.stop(f"no request {request_id} waits for approval")
    typer.echo(f"{request_id} is rejected")


def _approval(standing: Standing) -> dict[str, Any]:
    return {
        "approvals_needed": standing.needed,
        "approver_role": standing.role,
        "approvals": ", ".join(standing.voters),
        "waits_until": standing.until,
    }


@app.command()
def explain(
    transaction: Annotated[str, typer.Argument(help="A SCEP transactionID, or a request's identifier.")],
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Explain a SCEP transaction: what the client sent, which client it looks like, what was decided and why."""
    told = record.read(config, lambda connection: explaining.explain(connection, transaction))
    if not told:
        record.stop(f"nothing is known of a transaction or request {transaction}")
    if as_json:
        record.print_json([{"fields": dict(each.fields), "findings": each.findings} for each in told])
        return
    for each in told:
        typer.echo()
        record.print_fields(each.fields)
        if each.findings:
            record.print_table(("rule", "where", "finding", "asked for", "allowed"), each.findings)


def _why(one: StoredRequest) -> str:
    if one.reason is None:
        return ""
    return f"{one.reason}: {one.message}" + (f" ({one.detail})" if one.detail else "")


def _fields(one: StoredRequest) -> dict[str, Any]:
    subject, names = _asked_for(one)
    return {
        "id": one.id,
        "state": one.state,
        "endpoint": str(one.endpoint),
        "kind": one.kind,
        "profile": one.profile,
        "policy_digest": one.policy_digest,
        "requester": one.requester,
        "address": one.address,
        "transaction": one.transaction,
        "subject": subject,
        "names": names,
        "renews": None if one.renews is None else format(one.renews, "x"),
        "received_at": one.received_at,
        "finished_at": one.finished_at,
        "serial": None if one.serial is None else format(one.serial, "x"),
        "approved_by": one.approved_by,
        "reason": one.reason,
        "message": one.message,
        "detail": one.detail,
        "findings": [
            {"rule": f.rule, "where": str(f.location), "message": f.message, "value": f.value, "limit": f.limit}
            for f in one.findings
        ],
    }


def _asked_for(one: StoredRequest) -> tuple[str, list[str]]:
    """Return subject and names of the certification request, as far as it can be read."""
    if one.csr is None:
        return "", []
    try:
        csr = read_recorded_csr(one.csr)
    except MalformedCsr as error:
        return f"can't be read: {error}", []
    return str(csr.subject), [str(name) for name in csr.names]
