"""Works for administrators: orders of any account, with what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.acme.messages import OrderStatus
from server.acme.records.authorizations import find_authorizations
from server.acme.records.orders import read_order
from server.acme.records.tables import accounts, orders
from server.store.tables import requests

if TYPE_CHECKING:
    from datetime import datetime

    from server.acme.messages import Authorization, Order


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """An order, whoever has it.

    Attributes:
        order: the order.
        endpoint: where it was placed.
        created_at, address: when, and from where.
        contact: what its account gave to be written to.
    """

    order: Order
    endpoint: str
    created_at: datetime
    address: str | None
    contact: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders; what is None does not restrict.

    Attributes:
        now: the time, on which the status depends.
        statuses: in one of these states.
        endpoint: placed there.
        text: part of a name, the account's identifier or the address.
        limit: at most so many, the newest first.
    """

    now: datetime
    statuses: tuple[OrderStatus, ...] | None = None
    endpoint: str | None = None
    text: str | None = None
    limit: int = 100


_ORDERS = sa.select(orders, accounts.c.contact).join(accounts, accounts.c.id == orders.c.account_id)


def _found(row: sa.Row[Any], now: datetime) -> FoundOrder:
    return FoundOrder(read_order(row, now), row.endpoint, row.created_at, row.address, tuple(row.contact))


def find_any_order(connection: sa.Connection, order: str, now: datetime) -> FoundOrder | None:
    """Return an order."""
    row = connection.execute(_ORDERS.where(orders.c.id == order)).one_or_none()
    return _found(row, now) if row else None


def search_orders(connection: sa.Connection, wanted: OrderFilter) -> tuple[FoundOrder, ...]:
    """Return the orders that pass the filter, the newest first."""
    table = orders.c
    query = _ORDERS.order_by(table.created_at.desc(), table.id).limit(wanted.limit)
    if wanted.endpoint is not None:
        query = query.where(table.endpoint == wanted.endpoint)
    if wanted.statuses is not None:
        query = query.where(sa.or_(*(_is(status, wanted.now) for status in wanted.statuses)))
    if wanted.text is not None:
        searched = (sa.cast(table.identifiers, sa.Text()), table.account_id, table.address)
        query = query.where(sa.or_(*(column.icontains(wanted.text, autoescape=True) for column in searched)))
    return tuple(_found(row, wanted.now) for row in connection.execute(query))


def _is(status: OrderStatus, now: datetime) -> sa.ColumnElement[bool]:
    """Say in SQL what `order_status` says of one order."""
    unfinished = orders.c.status.in_((OrderStatus.PENDING, OrderStatus.READY))
    if status in {OrderStatus.PENDING, OrderStatus.READY}:
        return sa.and_(orders.c.status == status, orders.c.expires > now)
    if status == OrderStatus.INVALID:
        return sa.or_(orders.c.status == status, sa.and_(unfinished, orders.c.expires <= now))
    return orders.c.status == status


def authorizations_of(connection: sa.Connection, found: FoundOrder, now: datetime) -> tuple[Authorization, ...]:
    """Return the authorizations of an order, with their attempts."""
    return find_authorizations(connection, found.order.authorizations, now)


def requests_of(connection: sa.Connection, found: FoundOrder) -> tuple[str, ...]:
    """Return the identifiers of what is on record of an order beside itself, the oldest first."""
    table = requests.c
    query = sa.select(table.id).where(table.transaction_id == found.order.id, table.endpoint == found.endpoint)
    return tuple(connection.scalars(query.order_by(table.number)))
