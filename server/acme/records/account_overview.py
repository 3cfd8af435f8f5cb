"""Works for administrators: accounts of any endpoint, with what they have ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.acme.records.accounts import read_account
from server.acme.records.tables import accounts, orders

if TYPE_CHECKING:
    from datetime import datetime

    from server.acme.messages import Account, AccountStatus


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """An account.

    Attributes:
        account: the account.
        endpoint: where it is one.
        created_at, address: since when, and from where it was made.
        orders: how many orders it has, those that are kept.
        last_order_at: when it placed the last of them, None for none.
    """

    account: Account
    endpoint: str
    created_at: datetime
    address: str | None
    orders: int
    last_order_at: datetime | None


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """Which accounts; what is None does not restrict.

    Attributes:
        statuses: in one of these states.
        endpoint: of this endpoint.
        text: part of the identifier, a contact, the address, the thumbprint or the key of the binding.
        limit: at most so many, the newest first.
    """

    statuses: tuple[AccountStatus, ...] | None = None
    endpoint: str | None = None
    text: str | None = None
    limit: int = 100


_OWN = orders.c.account_id == accounts.c.id
_ACCOUNTS = sa.select(
    accounts,
    sa.select(sa.func.count()).select_from(orders).where(_OWN).scalar_subquery().label("orders"),
    sa.select(sa.func.max(orders.c.created_at, type_=orders.c.created_at.type))
    .where(_OWN)
    .scalar_subquery()
    .label("last_order_at"),
)


def _found(row: sa.Row[Any]) -> FoundAccount:
    return FoundAccount(read_account(row), row.endpoint, row.created_at, row.address, row.orders, row.last_order_at)


def find_any_account(connection: sa.Connection, account: str) -> FoundAccount | None:
    """Return an account."""
    row = connection.execute(_ACCOUNTS.where(accounts.c.id == account)).one_or_none()
    return _found(row) if row else None


def search_accounts(connection: sa.Connection, wanted: AccountFilter) -> tuple[FoundAccount, ...]:
    """Return the accounts that pass the filter, the newest first."""
    table = accounts.c
    query = _ACCOUNTS.order_by(table.created_at.desc(), table.id).limit(wanted.limit)
    if wanted.endpoint is not None:
        query = query.where(table.endpoint == wanted.endpoint)
    if wanted.statuses is not None:
        query = query.where(table.status.in_(wanted.statuses))
    if wanted.text is not None:
        searched = (table.id, sa.cast(table.contact, sa.Text()), table.address, table.thumbprint, table.credential_id)
        query = query.where(sa.or_(*(column.icontains(wanted.text, autoescape=True) for column in searched)))
    return tuple(map(_found, connection.execute(query)))
