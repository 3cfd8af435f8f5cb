"""What was said in every exchange with a SCEP client, for people who ask why: a table of its own, kept for a while."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from policies.request import EndpointName
from server.store.bulk import BulkInsert
from server.store.tables import UtcTime, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

EXCHANGES_KEPT = 100_000
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SHOWN = 50

exchanges = sa.Table(
    "scep_exchanges",
    metadata,
    sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("at", UtcTime(), nullable=False),
    sa.Column("endpoint", sa.String(80), nullable=False),
    sa.Column("transaction_id", sa.Text(), nullable=False, index=True),
    sa.Column("request_id", sa.String(64)),
    sa.Column("address", sa.String(64)),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(32)),
    sa.Column("observed", sa.Text(), nullable=False),
)
"""Every message that could be answered, with what was seen of it and what became of it; no secret, no content."""


class Exchange(NamedTuple):
    """One message and its answer.

    Attributes:
        at: when.
        endpoint: where.
        transaction: its transactionID.
        request_id: the request that it was about, None when it was about none.
        address: the peer's IP address.
        outcome: ``issued``, ``pending``, ``refused`` or ``found``.
        reason: why it was refused.
        observed: what was seen of the message.
    """

    at: datetime
    endpoint: EndpointName
    transaction: str
    request_id: str | None
    address: str | None
    outcome: str
    reason: str | None
    observed: Mapping[str, Any]


_insert = BulkInsert(
    exchanges, "at", "endpoint", "transaction_id", "request_id", "address", "outcome", "reason", "observed"
)


_as_json = json.JSONEncoder(separators=(",", ":")).encode


def record_exchanges(connection: sa.Connection, items: Sequence[Exchange]) -> None:
    """Write exchanges."""
    _insert(connection, [_row(item) for item in items])


def _row(item: Exchange) -> dict[str, object]:
    return {
        "at": item.at,
        "endpoint": str(item.endpoint),
        "transaction_id": item.transaction,
        "request_id": item.request_id,
        "address": item.address,
        "outcome": item.outcome,
        "reason": item.reason,
        "observed": _as_json(item.observed),
    }


def find_exchanges(connection: sa.Connection, transaction: str) -> tuple[Exchange, ...]:
    """Return the newest exchanges with this transactionID, the oldest of them first."""
    table = exchanges.c
    query = sa.select(exchanges).where(table.transaction_id == transaction)
    rows = list(connection.execute(query.order_by(table.number.desc()).limit(_SHOWN)))
    return tuple(
        Exchange(
            at=row.at,
            endpoint=EndpointName.parse(row.endpoint),
            transaction=row.transaction_id,
            request_id=row.request_id,
            address=row.address,
            outcome=row.outcome,
            reason=row.reason,
            observed=json.loads(row.observed),
        )
        for row in reversed(rows)
    )


def forget_exchanges(connection: sa.Connection, kept: int = EXCHANGES_KEPT) -> None:
    """Remove all but the newest, so that nobody can fill the disk with them."""
    newest = sa.select(sa.func.max(exchanges.c.number)).scalar_subquery()
    connection.execute(sa.delete(exchanges).where(exchanges.c.number <= newest - kept))
