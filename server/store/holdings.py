"""How many certificates a requester holds, and how many were issued lately."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from policies.request import Kind
from server.store.certificates import find_by_serial, key_in
from server.store.tables import certificates, is_in, requests

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.sql.elements import ColumnElement

    from policies.decision import QuotaLimits, Rate
    from policies.request import EnrollmentRequest, Renewed

_table = certificates.c
_LONGEST_LINE = 1000
"""Certificates that renew each other in a ring, which only a hand in the database can make, have an end too."""


def _others(request: EnrollmentRequest) -> ColumnElement[bool]:
    """Leave out what this very request was answered with: who asks the same again is answered the same again."""
    key = hashlib.sha256(request.key.encode("utf-8", "surrogatepass")).digest()
    return _table.request_id.not_in(sa.select(requests.c.id).where(requests.c.key == key))


def find_origin(connection: sa.Connection, serial: int) -> str | None:
    """Return who asked for the first certificate of the line that ends with this one, None when nothing is known."""
    start = sa.select(_table.renews, _table.requester, sa.literal(0).label("step")).where(_table.serial == serial)
    line = start.cte("line", recursive=True)
    before = sa.select(_table.renews, _table.requester, line.c.step + 1).where(
        _table.serial == line.c.renews, line.c.step < _LONGEST_LINE
    )
    line = line.union_all(before)
    return connection.scalars(sa.select(line.c.requester).order_by(line.c.step.desc()).limit(1)).first()


def find_key_holders(connection: sa.Connection, request: EnrollmentRequest) -> tuple[str, ...]:
    """Return who else has had a certificate for the key of a request.

    The requester itself is nobody else, and neither is whoever has the subject and names of what is renewed.
    """
    digest = hashlib.sha256(request.csr.spki).digest()
    wanted = [_table.spki == digest, _table.requester != request.requester.identity, _others(request)]
    if request.renewed is not None:
        subject, names = str(request.renewed.subject), "\n".join(map(str, request.renewed.names))
        wanted.append(sa.not_(sa.and_(_table.subject == subject, _table.names == names)))
    return tuple(connection.scalars(sa.select(_table.requester).where(*wanted).distinct().order_by(_table.requester)))


def exceeded(
    connection: sa.Connection, request: EnrollmentRequest, profile: str, limits: QuotaLimits, request_id: str
) -> str | None:
    """Return which limit one more certificate would exceed, None when it fits.

    What is about to be signed for others counts, so that in the transaction that writes the intent the answer is exact.

    Args:
        connection: that transaction.
        request: what was asked.
        profile: the profile of the certificate.
        limits: how many there may be.
        request_id: the intent itself, which does not count.
    """
    intended = [is_in("intended"), requests.c.profile == profile, requests.c.id != request_id]
    own = requests.c.requester == request.requester.identity

    def coming(*also: ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(requests).where(*intended, *also)
        return connection.execute(query).scalar_one()

    def lately(rate: Rate, *also: ColumnElement[bool], to_requester: bool) -> int:
        since = request.now - rate.period
        return count_issued(connection, request, profile, since, to_requester=to_requester) + coming(*also)

    if limits.active is not None and request.kind is Kind.ENROLL:
        first = requests.c.kind == Kind.ENROLL.value
        if count_active(connection, request, profile) + coming(own, first) >= limits.active:
            return "active"
    if limits.to_requester is not None and lately(limits.to_requester, own, to_requester=True) >= (
        limits.to_requester.number
    ):
        return "per_requester"
    if limits.under_profile is not None and lately(limits.under_profile, to_requester=False) >= (
        limits.under_profile.number
    ):
        return "per_profile"
    return None


def count_key_renewals(connection: sa.Connection, renewed: Renewed, most: int) -> int:
    """Return how often the key of a certificate was renewed before, as far as `most`."""
    serial, count = renewed.serial, 0
    while count < most:
        row = connection.execute(sa.select(_table.renews).where(_table.serial == serial)).one_or_none()
        before = find_by_serial(connection, row.renews) if row is not None and row.renews is not None else None
        if before is None or key_in(before.der) != renewed.spki:
            break
        serial, count = before.serial, count + 1
    return count


def count_active(connection: sa.Connection, request: EnrollmentRequest, profile: str) -> int:
    """Return how many valid certificates of a profile the requester holds.

    A certificate and what it was renewed by count once, whoever asked for the renewal.
    """
    identity, now = request.requester.identity, request.now
    first = sa.select(_table.serial, _table.serial.label("line")).where(
        _table.requester == identity, _table.profile == profile, _others(request)
    )
    held = first.cte("held", recursive=True)
    renewed = sa.select(_table.serial, held.c.line).where(_table.renews == held.c.serial, _table.serial != held.c.line)
    held = held.union(renewed)
    live = sa.and_(_table.serial == held.c.serial, _table.not_after > now, _table.revoked_at.is_(None))
    found = connection.execute(sa.select(held.c.line, _table.serial, _table.renews).where(live)).all()
    # A renewal of the requester's own begins a line too; the line of what it renews has it already.
    serials = {row.serial for row in found}
    return len({row.serial for row in found if row.renews not in serials})


def count_issued(
    connection: sa.Connection, request: EnrollmentRequest, profile: str, since: datetime, *, to_requester: bool
) -> int:
    """Return how many certificates of a profile were issued since a time, to the requester or to all."""
    wanted = [_table.profile == profile, _table.issued_at >= since, _others(request)]
    if to_requester:
        wanted.append(_table.requester == request.requester.identity)
    return connection.execute(sa.select(sa.func.count()).select_from(certificates).where(*wanted)).scalar_one()
