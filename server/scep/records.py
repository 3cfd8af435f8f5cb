"""Finding the request that a CertPoll means, and what was renewed. SCEP has no table of its own for either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.store.requests import State
from server.store.tables import certificates, requests

if TYPE_CHECKING:
    from datetime import datetime

    from policies.request import EndpointName

_LIMIT = 20
_SUPERSEDED_AT_ONCE = 1000
_STANDING = (State.PENDING, State.INTENDED, State.ISSUED)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request with the transactionID in question.

    Attributes:
        request_id: its identifier.
        csr: the certification request, DER.
        renews: DER of the certificate to be renewed, None for a first enrollment.
    """

    request_id: str
    csr: bytes
    renews: bytes | None


def find_candidates(connection: sa.Connection, endpoint: EndpointName, transaction: str) -> tuple[Candidate, ...]:
    """Return the newest requests of an endpoint with this transactionID that a person may have judged.

    Refusals that no person made are left out: the client has had its answer, and anyone can cause them.
    """
    row = requests.c
    query = (
        sa.select(row.id, row.csr, certificates.c.der)
        .select_from(requests.outerjoin(certificates, certificates.c.serial == row.renews))
        .where(row.transaction_id == transaction, row.endpoint == str(endpoint), row.csr.is_not(None))
        .where(sa.or_(row.state.in_(_STANDING), row.question.is_not(None)))
        .order_by(row.number.desc())
        .limit(_LIMIT)
    )
    return tuple(Candidate(found.id, found.csr, found.der) for found in connection.execute(query))


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
