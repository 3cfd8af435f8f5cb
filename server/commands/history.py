"""``certwright policy diff`` and ``audit``, and explaining a past request: the record asked again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from ca.csr import MalformedCsr
from policies.decision import Denied
from policies.document import DocumentErrors
from policies.durations import parse_duration
from server.clock import system_clock
from server.commands import record
from server.commands.explanation import print_explanation
from server.commands.record import ConfigOption, JsonOption
from server.commands.replay import Change, changes, objections
from server.commands.surroundings import Surroundings
from server.store import history, requests
from server.store.values import read_question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policies.profile_set import ProfileSet
    from server.status.addresses import Addressing

_SHOWN = 200


def diff(
    new: Annotated[list[Path], typer.Argument(help="The new policy files, or folders of them.")],
    *,
    replay: Annotated[str, typer.Option(help="How far back to replay requests, like 30d or 12h.")] = "30d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Decide recorded requests again under NEW and list those that today's files decide otherwise.

    Exit status 1 when there is any.
    """
    now = system_clock()
    try:
        since = now - parse_duration(replay)
        surroundings = Surroundings.find(config)
        before = surroundings.profiles(surroundings.files([]), selecting=True)
        after = surroundings.profiles(surroundings.files(new), selecting=True)
    except (DocumentErrors, ValueError, OverflowError) as error:
        record.turn_away(str(error))
    questions = record.read(config, lambda connection: history.questions_since(connection, since))
    found = list(changes(questions, before, after))
    if as_json:
        record.print_json({"replayed": len(questions), "changes": [_fields(one) for one in found]})
    else:
        _print(found)
        typer.echo(f"{len(questions)} requests replayed since {since:%Y-%m-%d %H:%M} UTC: {_number(found)}")
    raise typer.Exit(1 if found else 0)


def audit(*, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Judge the certificates that are valid today by today's files, and list those that would not be issued so.

    Exit status 1 when there is any.
    """
    now = system_clock()
    try:
        surroundings = Surroundings.find(config)
        profiles = surroundings.profiles(surroundings.files([]), selecting=True)
    except DocumentErrors as error:
        record.turn_away(str(error))
    questions, unknown = record.read(
        config,
        lambda c: (history.questions_of_live_certificates(c, now), history.live_without_question(c, now)),
    )
    found = list(objections(questions, profiles, _amending(surroundings)))
    if as_json:
        content = {"judged": len(questions), "without_question": unknown, "objections": [_fields(one) for one in found]}
        record.print_json(content)
    else:
        _print(found)
        typer.echo(f"{len(questions)} valid certificates judged: {_number(found)}")
        if unknown:
            typer.echo(f"{unknown} more can't be judged: what was asked for them is not on record")
    raise typer.Exit(1 if found else 0)


def _amending(surroundings: Surroundings) -> Addressing | None:
    # Here, not above: the parts of the server take a second to load, and of all policy commands only this needs them.
    from server.app.status import addressing  # noqa: PLC0415

    return None if surroundings.config is None else addressing(surroundings.config)


def explain_past(request_id: str, profiles: ProfileSet, config: Path | None) -> int:
    """Explain a request of the record under these profiles, as at the time when it came.

    Returns:
        The exit status: 1 when it would be denied.
    """
    found = record.read(config, lambda connection: requests.find_request(connection, request_id))
    if found is None:
        record.stop(f"{request_id}: no such file, and nothing is known of a request with this identifier")
    if found.asked is None or found.csr is None:
        reason = f"{found.reason}: {found.message}" if found.reason else "an earlier release recorded it"
        record.stop(f"request {request_id} never came before the policy, or not completely ({reason})")
    try:
        request = read_question(found.asked, request_id, found.received_at, found.csr)
    except MalformedCsr as error:
        record.stop(f"the CSR of request {request_id} can't be read any more: {error}")
    console = Console(soft_wrap=False, highlight=False)
    decision = profiles.decide(request)
    words = f"request {found.id} of {found.received_at:%Y-%m-%d %H:%M:%S} UTC: {found.state}"
    console.print(Text(record.text_of(words + (f", {found.reason}: {found.message}" if found.reason else "")), "bold"))
    if found.policy_digest not in {None, decision.trace.policy_digest}:
        digest = (found.policy_digest or "")[:16]
        console.print(Text(f"judged then by a policy file that has changed since (digest {digest})", style="yellow"))
        for finding in found.findings:
            then = f"  then: {finding.rule}: {finding.message} ({finding.location})"
            console.print(Text(record.text_of(then), "yellow"))
        console.print("under today's files:")
    print_explanation(console, request, decision)
    return 1 if isinstance(decision, Denied) else 0


def _fields(change: Change) -> dict[str, object]:
    return {
        "request": change.past.id,
        "at": change.past.at,
        "serial": None if change.past.serial is None else format(change.past.serial, "x"),
        "requester": change.requester,
        "subject": change.subject,
        "before": change.before,
        "after": change.after,
        "reasons": list(change.reasons),
    }


def _print(found: Sequence[Change]) -> None:
    rows = []
    for one in found[:_SHOWN]:
        after = (one.after, *one.reasons)
        rows.append((one.past.id, one.past.at, one.requester, one.subject, one.before, after))
    if rows:
        record.print_table(("request", "at", "requester", "subject", "before", "after"), rows)
    if len(found) > _SHOWN:
        typer.echo(f"... and {len(found) - _SHOWN} more; --json lists them all")


def _number(found: Sequence[Change]) -> str:
    return "no difference" if not found else f"{len(found)} differ{'s' if len(found) == 1 else ''}"
