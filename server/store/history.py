"""What the policy was asked in the past, to be asked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.store.tables import certificates, requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.sql.elements import ColumnElement

_table = requests.c
_BATCH = 500


@dataclass(frozen=True, slots=True)
class PastQuestion:
    """A question that the policy answered.

    Attributes:
        id: the request's identifier.
        state: what became of it.
        at: when it came.
        asked: what was asked, as text (`server.store.values`).
        csr: the certification request, DER.
        plan: what was approved, as text; None when nothing was.
        serial: the certificate's serial number, None when there is none.
        policy_digest: of the policy file that judged.
    """

    id: str
    state: str
    at: datetime
    asked: str
    csr: bytes
    plan: str | None
    serial: int | None
    policy_digest: str | None


_COLUMNS = (
    _table.number,
    _table.id,
    _table.state,
    _table.received_at.label("at"),
    _table.asked,
    _table.csr,
    _table.plan,
    _table.policy_digest,
)
_COMPLETE = sa.and_(_table.asked.is_not(None), _table.csr.is_not(None))


def questions_since(connection: sa.Connection, since: datetime) -> tuple[PastQuestion, ...]:
    """Return every question since a time, the oldest first."""
    return tuple(_read(connection, sa.and_(_COMPLETE, _table.received_at >= since)))


def questions_of_live_certificates(connection: sa.Connection, now: datetime) -> tuple[PastQuestion, ...]:
    """Return the questions behind the certificates that are valid now and not revoked, the oldest first."""
    live = sa.and_(certificates.c.revoked_at.is_(None), certificates.c.not_after > now)
    return tuple(_read(connection, sa.and_(_COMPLETE, live)))


def live_without_question(connection: sa.Connection, now: datetime) -> int:
    """Return how many valid certificates have no question on record; an earlier release issued them."""
    joined = certificates.join(requests, _table.id == certificates.c.request_id)
    live = sa.and_(certificates.c.revoked_at.is_(None), certificates.c.not_after > now, sa.not_(_COMPLETE))
    return connection.execute(sa.select(sa.func.count()).select_from(joined).where(live)).scalar_one()


def _read(connection: sa.Connection, condition: ColumnElement[bool]) -> Iterator[PastQuestion]:
    joined = requests.outerjoin(certificates, _table.id == certificates.c.request_id)
    query = sa.select(*_COLUMNS, certificates.c.serial).select_from(joined).where(condition).order_by(_table.number)
    last = 0
    while True:
        rows: list[Any] = list(connection.execute(query.where(_table.number > last).limit(_BATCH)))
        for row in rows:
            yield PastQuestion(row.id, row.state, row.at, row.asked, row.csr, row.plan, row.serial, row.policy_digest)
        if len(rows) < _BATCH:
            return
        last = rows[-1].number
