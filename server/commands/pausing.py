"""``certwright order failing`` and ``unpause``: ACME accounts that never succeed."""

from __future__ import annotations

from typing import Annotated

import typer

from server.acme.records import limits
from server.audit import Action, AuditEvent
from server.clock import system_clock
from server.commands import record
from server.commands.record import ByOption, ConfigOption, JsonOption, LimitOption


def failing(
    *,
    paused: Annotated[bool, typer.Option("--paused", help="Only those that can't order the name any more.")] = False,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List accounts that fail to show control over a name, where the endpoint counts that (pause_after)."""
    found = record.read(config, lambda connection: limits.list_failing(connection, paused=paused, limit=limit))
    record.tell_if_cut(found, limit)
    rows = [
        {
            "account": one.account,
            "endpoint": one.endpoint,
            "name": f"{one.identifier.type}:{one.identifier.value}",
            "failures": one.failures,
            "last_at": one.last_at,
            "paused_at": one.paused_at,
        }
        for one in found
    ]
    if as_json:
        record.print_json(rows)
    else:
        headings = ("account", "endpoint", "name", "failures", "last at", "paused at")
        record.print_table(headings, (tuple(row.values()) for row in rows))


def unpause(
    account: Annotated[str, typer.Argument(help="The account's identifier, or its URL.")],
    *,
    name: Annotated[str | None, typer.Option(help="For this name only, without wildcard.")] = None,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Let an account order names again that it failed to show control over too often."""
    wanted = account.rpartition("/")[2]
    detail = f"account {wanted}" + (f" for {name}" if name else "")
    event = AuditEvent(system_clock(), Action.UNPAUSED, record.person(by), detail=detail).row()
    number = record.write(config, lambda connection: limits.unpause(connection, wanted, name, event))
    if not number:
        record.stop(f"{detail} is not paused")
    typer.echo(f"account {wanted} may order {number} names again")
