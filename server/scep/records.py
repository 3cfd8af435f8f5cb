"""Finding the request that a CertPoll means. SCEP has no table of its own: the record of requests has it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.store.requests import State
from server.store.tables import certificates, requests

if TYPE_CHECKING:
    from policies.request import EndpointName

_LIMIT = 20
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
