"""Works that remove what nobody can need any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.acme.messages import OrderStatus
from server.acme.records.tables import authorizations, failures, limits, orders
from server.store.tables import certificates

if TYPE_CHECKING:
    from datetime import datetime


def forget_orders(connection: sa.Connection, endpoint: str, before: datetime, limit: int) -> int:
    """Remove orders of an endpoint with their authorizations, some at a time. Returns how many there were.

    Orders without a certificate go when they expired before this time, others when their certificate did; as long as
    it is good, it can be downloaded, replaced and revoked by its account.
    """
    table = orders.c
    ended = sa.and_(table.status != OrderStatus.VALID, table.status != OrderStatus.PROCESSING)
    expired = sa.exists().where(certificates.c.request_id == table.request_id, certificates.c.not_after < before)
    query = (
        sa.select(table.id)
        .where(table.endpoint == endpoint, table.expires < before, sa.or_(ended, expired))
        .limit(limit)
    )
    found = list(connection.scalars(query))
    if found:
        connection.execute(authorizations.delete().where(authorizations.c.order_id.in_(found)))
        connection.execute(orders.delete().where(table.id.in_(found)))
    return len(found)


def forget_authorizations(connection: sa.Connection, endpoint: str, before: datetime) -> None:
    """Remove authorizations that belonged to no order and expired before this time."""
    table = authorizations.c
    alone = sa.and_(table.endpoint == endpoint, table.order_id.is_(None), table.expires < before)
    connection.execute(authorizations.delete().where(alone))


def forget_counts(connection: sa.Connection, endpoint: str, before: datetime, now: datetime) -> None:
    """Remove rate limits that say nothing any more, and failures from before this time unless they led to a pause."""
    connection.execute(limits.delete().where(limits.c.until <= now))
    old = sa.and_(failures.c.endpoint == endpoint, failures.c.last_at < before, failures.c.paused_at.is_(None))
    connection.execute(failures.delete().where(old))
