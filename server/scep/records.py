"""Finding the request that a CertPoll means, and what was renewed. SCEP has no table of its own for either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.store.prepared import Prepared
from server.store.requests import State
from server.store.tables import certificates, requests

if TYPE_CHECKING:
    from datetime import datetime

    from policies.request import EndpointName

_SUPERSEDED_AT_ONCE = 1000
_STANDING = (State.PENDING, State.INTENDED, State.ISSUED)
_row = requests.c
_polled = Prepared(
    sa.select(_row.id, _row.requester, _row.csr)
    .select_from(requests.outerjoin(certificates, certificates.c.request_id == _row.id))
    .where(
        _row.transaction_id == sa.bindparam("transaction"),
        _row.endpoint == sa.bindparam("endpoint"),
        _row.signer == sa.bindparam("signer"),
    )
    .where(sa.or_(_row.state.in_(_STANDING), _row.question.is_not(None)))
    .where(certificates.c.revoked_at.is_(None), _row.csr.is_not(None))
    .order_by(_row.number.desc())
    .limit(sa.literal_column("1"))
)


@dataclass(frozen=True, slots=True)
class Polled:
    """The request that a CertPoll means.

    Attributes:
        request_id: its identifier.
        requester: who asked, as `Requester.identity`.
        csr: the certification request, DER.
    """

    request_id: str
    requester: str
    csr: bytes


def find_polled(connection: sa.Connection, endpoint: EndpointName, transaction: str, signer: str) -> Polled | None:
    """Return the newest request of an endpoint with this transactionID that the same key signed, None for none.

    Refusals that no person made are left out: the client has had its answer, and anyone can cause them. So is what
    has become a certificate that is revoked meanwhile.

    Args:
        connection: reads the store.
        endpoint: where the poll came in.
        transaction: its transactionID.
        signer: SHA-256, hex, of the key that signed it.
    """
    found = _polled.first(connection, transaction=transaction, endpoint=str(endpoint), signer=signer)
    return None if found is None else Polled(found.id, found.requester or "", found.csr)


def find_superseded(
    connection: sa.Connection, endpoint: EndpointName, renewed_before: datetime, now: datetime
) -> tuple[int, ...]:
    """Return the serial numbers of good certificates that were renewed through an endpoint before a time."""
    old, new = certificates.alias("old"), certificates.alias("new")
    query = (
        sa.select(old.c.serial)
        .distinct()
        .select_from(old.join(new, new.c.renews == old.c.serial))
        .where(new.c.endpoint == str(endpoint), new.c.issued_at <= renewed_before, new.c.revoked_at.is_(None))
        .where(old.c.revoked_at.is_(None), old.c.not_after > now)
        .limit(_SUPERSEDED_AT_ONCE)
    )
    return tuple(connection.scalars(query))
