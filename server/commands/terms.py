"""``certwright order agree``: an ACME account has agreed to terms of service that changed."""

from __future__ import annotations

from typing import Annotated

import typer

from policies.request import EndpointName
from server.acme.records import accounts
from server.audit import Action, AuditEvent
from server.clock import system_clock
from server.commands import record
from server.commands.record import ByOption, ConfigOption


def agree(
    account: Annotated[str, typer.Argument(help="The account's identifier, or its URL.")],
    *,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Record that an account has agreed to the terms of service that its endpoint has now."""
    wanted = account.rpartition("/")[2]
    where = record.read(config, lambda connection: accounts.endpoint_of(connection, wanted))
    if where is None:
        record.stop(f"there is no account {wanted}")
    endpoint = EndpointName.parse(where)
    known = record.configuration(config).endpoints.acme
    terms = known[endpoint].terms_of_service if endpoint in known else None
    if terms is None:
        record.turn_away(f"{where} has no terms of service; give it terms_of_service: URL")
    person, detail = record.person(by), f"account {wanted}: {terms}"
    event = AuditEvent(system_clock(), Action.TERMS_AGREED, person, detail=detail).row()
    record.write(config, lambda connection: accounts.agree(connection, wanted, terms, event))
    typer.echo(f"account {wanted} has agreed to {terms}")
