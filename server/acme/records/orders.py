"""Works on orders and on the certificates they led to."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from server.acme.messages import AuthorizationStatus, Identifier, Order, OrderStatus, order_status
from server.acme.records.accounts import OWNED, active_among
from server.acme.records.authorizations import insert_authorizations
from server.acme.records.renewals import is_replaced
from server.acme.records.tables import accounts, authorizations, chains, orders
from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.tables import certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from server.acme.messages import Authorization, Owner, Rejected

_STATUSES = {each.value: each for each in OrderStatus}

_owned = Prepared(
    sa.select(orders)
    .join(accounts, OWNED)
    .where(orders.c.id == sa.bindparam("order"), orders.c.account_id == accounts.c.id)
)
_certificate = Prepared(
    sa.select(certificates.c.der, chains.c.pem)
    .select_from(orders)
    .join(accounts, OWNED)
    .join(certificates, certificates.c.request_id == orders.c.request_id)
    .join(chains, chains.c.digest == orders.c.chain)
    .where(orders.c.id == sa.bindparam("order"), orders.c.account_id == accounts.c.id)
)
_kept = Prepared(sa.select(chains.c.digest).where(chains.c.digest == sa.bindparam("digest")))
_UPDATE = orders.update().where(orders.c.id == sa.bindparam("order"))
_begin = Prepared(_UPDATE.values(status=sa.bindparam("new_status"), csr=sa.bindparam("new_csr"), error=None))
_whose = Prepared(sa.select(orders.c.account_id).where(orders.c.request_id == sa.bindparam("request")))
_END = _UPDATE.where(orders.c.status == OrderStatus.PROCESSING)
_issued = Prepared(
    _END.values(
        status=sa.bindparam("new_status"), request_id=sa.bindparam("new_request"), chain=sa.bindparam("new_chain")
    )
)
_note = Prepared(_END.where(orders.c.csr == sa.bindparam("same_csr")).values(request_id=sa.bindparam("new_request")))
_INSERT = BulkInsert(
    orders,
    "id",
    "account_id",
    "endpoint",
    "status",
    "created_at",
    "address",
    "expires",
    "identifiers",
    "authorizations",
    "replaces",
    "profile",
)


@cache
def _authorized(sources: tuple[OrderStatus, ...]) -> Prepared:
    """Return the statement that moves an order in one of these states when all its authorizations are valid."""
    unproven = sa.exists().where(
        authorizations.c.order_id == sa.bindparam("order"), authorizations.c.status != AuthorizationStatus.VALID
    )
    return Prepared(_UPDATE.where(orders.c.status.in_(sources), ~unproven).values(status=sa.bindparam("new_status")))


def read_order(row: Any, now: datetime) -> Order:
    """Return the order that a row holds, with the status that it has now."""
    stored = _STATUSES[row.status]
    status = order_status(stored, row.expires, now)
    return Order(
        id=row.id,
        account=row.account_id,
        status=status,
        expires=row.expires,
        identifiers=tuple(Identifier(type_, value) for type_, value in row.identifiers),
        authorizations=tuple(row.authorizations),
        error=row.error,
        csr=row.csr,
        request_id=row.request_id,
        certificate=row.chain is not None,
        replaces=row.replaces,
        profile=row.profile,
        expired=status is not stored,
    )


class Placement(NamedTuple):
    """A new order to be recorded.

    Attributes:
        owner: whose it is.
        order: the order.
        parts: its authorizations.
        endpoint: where.
        now: the time.
        replaced: the serial number of the certificate that it replaces.
        address: from where it was asked for.
        limit: counts it, or returns why there can't be another now; asked last, as what is refused does not count.
    """

    owner: Owner
    order: Order
    parts: tuple[Authorization, ...]
    endpoint: str
    now: datetime
    replaced: int | None = None
    address: str | None = None
    limit: Callable[[sa.Connection], Rejected | None] | None = None


class Placed(StrEnum):
    """How recording a new order went."""

    YES = "yes"
    NO_ACCOUNT = "no-account"
    """The account may not act."""
    REPLACED = "replaced"
    """What it replaces is replaced by another order."""


def place(connection: sa.Connection, placements: Sequence[Placement]) -> list[Placed | Rejected]:
    """Record new orders with their authorizations. Says of each how it went; if not well, it is not there."""
    good = active_among(connection, [each.owner for each in placements])
    taken: list[Placement] = []
    results: list[Placed | Rejected] = []
    replacing: set[str] = set()
    for each, valid in zip(placements, good, strict=True):
        result = _judged(connection, each, replacing) if valid else Placed.NO_ACCOUNT
        results.append(result)
        if result is Placed.YES:
            taken.append(each)
    if taken:
        _INSERT(connection, [_row(each) for each in taken])
        parts = [(each.endpoint, part) for each in taken for part in each.parts]
        if parts:
            insert_authorizations(connection, parts)
    return results


def _judged(connection: sa.Connection, placement: Placement, replacing: set[str]) -> Placed | Rejected:
    """Judge what an order replaces, then whether it is one too many; of those that come together, the first gets it."""
    if _is_replaced(connection, placement, replacing):
        return Placed.REPLACED
    refusal = None if placement.limit is None else placement.limit(connection)
    if refusal is not None:
        return refusal
    if placement.order.replaces is not None:
        replacing.add(placement.order.replaces)
    return Placed.YES


def _is_replaced(connection: sa.Connection, placement: Placement, replacing: set[str]) -> bool:
    certificate, serial = placement.order.replaces, placement.replaced
    if certificate is None or serial is None:
        return False
    return certificate in replacing or is_replaced(connection, certificate, serial, placement.now)


def _row(placement: Placement) -> dict[str, object]:
    order = placement.order
    return {
        "id": order.id,
        "account_id": order.account,
        "endpoint": placement.endpoint,
        "status": order.status,
        "created_at": placement.now,
        "address": placement.address,
        "expires": order.expires,
        "identifiers": [[each.type, each.value] for each in order.identifiers],
        "authorizations": list(order.authorizations),
        "replaces": order.replaces,
        "profile": order.profile,
    }


def find_order(connection: sa.Connection, owner: Owner, order: str, now: datetime) -> Order | None:
    """Return an order of the owner, None also when the owner is not valid any more."""
    row = _owned.first(connection, order=order, account=owner.account, thumbprint=owner.thumbprint)
    return read_order(row, now) if row else None


def list_orders(
    connection: sa.Connection, account: str, now: datetime, before: str | None, limit: int
) -> tuple[str, ...]:
    """Return identifiers of the account's orders that are not invalid, the newest first, those before a cursor."""
    query = sa.select(orders.c.id).where(
        orders.c.account_id == account,
        orders.c.status != OrderStatus.INVALID,
        sa.or_(orders.c.status.in_((OrderStatus.PROCESSING, OrderStatus.VALID)), orders.c.expires > now),
    )
    if before is not None:
        made = sa.select(orders.c.created_at).where(orders.c.id == before, orders.c.account_id == account)
        then = made.scalar_subquery()
        query = query.where(
            sa.or_(orders.c.created_at < then, sa.and_(orders.c.created_at == then, orders.c.id < before))
        )
    newest_first = query.order_by(orders.c.created_at.desc(), orders.c.id.desc()).limit(limit)
    return tuple(connection.execute(newest_first).scalars())


def processing_orders(connection: sa.Connection, endpoint: str, now: datetime) -> tuple[Order, ...]:
    """Return the orders of an endpoint that wait for their certificate."""
    query = sa.select(orders).where(orders.c.endpoint == endpoint, orders.c.status == OrderStatus.PROCESSING)
    return tuple(read_order(row, now) for row in connection.execute(query))


def waiting(
    connection: sa.Connection, account: str, authorization: str | None, now: datetime
) -> tuple[tuple[Order, str], ...]:
    """Return the processing orders of an account, or those that list an authorization, with their requests."""
    query = sa.select(orders).where(
        orders.c.account_id == account,
        orders.c.status == OrderStatus.PROCESSING,
        orders.c.request_id.is_not(None),
    )
    rows = connection.execute(query)
    return tuple((read_order(row, now), row.request_id) for row in rows if authorization in (None, *row.authorizations))


def relying_on(
    connection: sa.Connection, account: str, authorization: str, sources: Sequence[OrderStatus]
) -> tuple[str, ...]:
    """Return the orders of an account that are in one of these states and list an authorization."""
    query = sa.select(orders.c.id, orders.c.authorizations).where(
        orders.c.account_id == account, orders.c.status.in_(sources)
    )
    return tuple(row.id for row in connection.execute(query) if authorization in row.authorizations)


def authorized(connection: sa.Connection, order: str, sources: Sequence[OrderStatus], status: OrderStatus) -> None:
    """Move an order that is in one of these states if every one of its authorizations is valid."""
    _authorized(tuple(sources)).change(connection, order=order, new_status=status)


def begin_processing(connection: sa.Connection, order: str, status: OrderStatus, csr: bytes) -> None:
    """Move an order on, with its CSR."""
    _begin.change(connection, order=order, new_status=status, new_csr=csr)


def end_issued(connection: sa.Connection, order: str, status: OrderStatus, request_id: str, chain: str) -> None:
    """Move a processing order on, with the request at the door that was answered and the chain's digest."""
    _issued.change(connection, order=order, new_status=status, new_request=request_id, new_chain=chain)


def end_refused(connection: sa.Connection, order: Order, status: OrderStatus, error: dict[str, object]) -> None:
    """Move a processing order on without a certificate; its CSR is not remembered."""
    same = _END.where(orders.c.csr == order.csr)  # what has another CSR by now stays: two processes may judge the first
    connection.execute(same.values(status=status, error=error, csr=None, request_id=None), {"order": order.id})


def note_request(connection: sa.Connection, order: Order, request_id: str) -> None:
    """Record which request at the door a processing order waits for, unless the answer has come meanwhile."""
    _note.change(connection, order=order.id, same_csr=order.csr, new_request=request_id)


def keep_chain(connection: sa.Connection, digest: str, pem: str) -> None:
    """Record a chain unless it is there."""
    if _kept.first(connection, digest=digest) is None:
        connection.execute(chains.insert().values(digest=digest, pem=pem))


def find_certificate(connection: sa.Connection, owner: Owner, order: str) -> tuple[bytes, str] | None:
    """Return DER of the certificate of an order of the owner, and its chain in PEM."""
    row = _certificate.first(connection, order=order, account=owner.account, thumbprint=owner.thumbprint)
    return (row.der, row.pem) if row else None


def issued_to(connection: sa.Connection, account: str, request_id: str) -> bool:
    """Say whether a request at the door belongs to an order of the account."""
    found = _whose.first(connection, request=request_id)
    return found is not None and found.account_id == account


def move_order(
    connection: sa.Connection,
    order: str,
    sources: Sequence[OrderStatus],
    status: OrderStatus,
    error: dict[str, object],
) -> None:
    """Move an order that is in one of these states; otherwise it stays as it is."""
    connection.execute(
        orders.update().where(orders.c.id == order, orders.c.status.in_(sources)).values(status=status, error=error)
    )
