"""``certwright account``: ACME accounts, and the end of one that must not go on (RFC 8555 section 7.1.6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.acme.messages import AccountStatus
from server.acme.records import account_overview
from server.acme.records.account_overview import AccountFilter
from server.acme.service.endings import end_account
from server.acme.states import ACCOUNT, AccountEvent, allows
from server.clock import system_clock
from server.commands import record
from server.commands.record import ByOption, ConfigOption, JsonOption, LimitOption

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.acme.records.account_overview import FoundAccount

app = typer.Typer(no_args_is_help=True, help="List, show and end ACME accounts.")

_LISTED = ("id", "created_at", "status", "endpoint", "contact", "address", "orders", "last_order_at")

AccountArgument = Annotated[str, typer.Argument(metavar="ID", help="The account's identifier, or its URL.")]


@app.command("list")
def list_(
    *,
    status: Annotated[list[AccountStatus] | None, typer.Option(help="In this state; may be repeated.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Of this endpoint, like acme/default.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Part of the identifier, a contact, the address, the thumbprint or the EAB key.")
    ] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List accounts, the newest first."""
    where = record.service(config, endpoint)
    wanted = AccountFilter(tuple(status or ()) or None, str(where) if where else None, text, limit)
    found = record.read(config, lambda connection: account_overview.search_accounts(connection, wanted))
    record.tell_if_cut(found, limit)
    record.print_listed(_LISTED, [_fields(one) for one in found], as_json=as_json)


@app.command()
def show(account: AccountArgument, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one account: whose it is, its key, what it agreed to, what it ordered."""
    wanted = account.rpartition("/")[2]
    found = record.read(config, lambda connection: account_overview.find_any_account(connection, wanted))
    if found is None:
        record.stop(f"there is no account {wanted}")
    fields = _fields(found)
    if as_json:
        record.print_json(fields)
    else:
        record.print_fields({**fields, "contact": " ".join(fields["contact"])})


@app.command()
def revoke(account: AccountArgument, *, by: ByOption = None, config: ConfigOption = None) -> None:
    """End an account for ever: its key opens nothing any more, and what it has begun is given up.

    Its certificates stay good: ``cert list --text account:ID`` lists them, ``cert revoke`` revokes each.
    """
    wanted, who, now = account.rpartition("/")[2], record.person(by), system_clock()

    def work(connection: sa.Connection) -> AccountStatus | None:
        found = account_overview.find_any_account(connection, wanted)
        if found is None or not allows(ACCOUNT, found.account.status, AccountEvent.REVOKED):
            return None if found is None else found.account.status
        end_account(connection, wanted, AccountEvent.REVOKED, who, now)
        return AccountStatus.VALID

    before = record.write(config, work)
    if before is None:
        record.stop(f"there is no account {wanted}")
    if before is not AccountStatus.VALID:
        record.stop(f"account {wanted} is {before} already")
    typer.echo(f"account {wanted} is revoked")


def _fields(found: FoundAccount) -> dict[str, Any]:
    account, key = found.account, json.loads(found.account.jwk)
    return {
        "id": account.id,
        "status": account.status.value,
        "endpoint": found.endpoint,
        "contact": list(account.contact),
        "created_at": found.created_at,
        "address": found.address,
        "key": " ".join(filter(None, (key.get("kty"), key.get("crv")))),
        "thumbprint": account.thumbprint,
        "terms": account.terms,
        "eab_key": account.credential,
        "orders": found.orders,
        "last_order_at": found.last_order_at,
    }
