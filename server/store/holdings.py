"""How many certificates a requester holds, and how many were issued lately."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from policies.request import Kind
from server.store.certificates import find_by_serial, key_in
from server.store.claims import key_of
from server.store.prepared import Prepared
from server.store.tables import certificates, is_in, requests

if TYPE_CHECKING:
    from datetime import datetime

    from policies.decision import QuotaLimits, Rate
    from policies.request import EnrollmentRequest, Renewed

_table = certificates.c
_LONGEST_LINE = 1000
"""Certificates that renew each other in a ring, which only a hand in the database can make, have an end too."""

# What this very request was answered with is left out: who asks the same again is answered the same again.
_ASKED = sa.select(requests.c.id).where(requests.c.key == sa.bindparam("key")).scalar_subquery()
_OTHERS = _table.request_id.is_distinct_from(_ASKED)
_REQUESTERS = _table.requester == sa.bindparam("requester")


def _origin() -> sa.Select[tuple[str]]:
    start = sa.select(_table.renews, _table.requester, sa.literal(0).label("step"))
    line = start.where(_table.serial == sa.bindparam("serial")).cte("line", recursive=True)
    before = sa.select(_table.renews, _table.requester, line.c.step + 1).where(
        _table.serial == line.c.renews, line.c.step < _LONGEST_LINE
    )
    line = line.union_all(before)
    return sa.select(line.c.requester).order_by(line.c.step.desc()).limit(1)


def _is_live(table: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.not_after > sa.bindparam("now"), table.c.revoked_at.is_(None))


def _active() -> sa.Select[tuple[int]]:
    """Return what counts good certificates, of those that renew each other one for each gap between them.

    Most were never renewed: those are counted where they are, and only renewals are followed from one to the next.
    """
    new, before = certificates.alias("new"), certificates.alias("before")
    own = sa.and_(_REQUESTERS, _table.profile == sa.bindparam("profile"), _OTHERS)
    first = sa.select(new.c.serial, new.c.renews).join_from(certificates, new, new.c.renews == _table.serial).where(own)
    renewed = first.cte("renewed", recursive=True)
    renewed = renewed.union(sa.select(new.c.serial, new.c.renews).where(new.c.renews == renewed.c.serial))
    begun = sa.select(sa.func.count()).where(
        own, _is_live(certificates), _table.serial.not_in(sa.select(renewed.c.serial))
    )
    alone = (
        sa.select(sa.func.count())
        .select_from(renewed)
        .join(new, new.c.serial == renewed.c.serial)
        .join(before, before.c.serial == renewed.c.renews)
        .where(_is_live(new), sa.not_(_is_live(before)))
    )
    return sa.select((begun.scalar_subquery() + alone.scalar_subquery()).label("number"))


def _holders(*also: sa.ColumnElement[bool]) -> Prepared:
    wanted = (_table.spki == sa.bindparam("digest"), _table.requester != sa.bindparam("requester"), _OTHERS, *also)
    return Prepared(sa.select(_table.requester).where(*wanted).distinct().order_by(_table.requester))


def _issued(*also: sa.ColumnElement[bool]) -> Prepared:
    """Return what counts all that were issued, which an index tells by itself, less the answer to this very request."""
    lately = (_table.profile == sa.bindparam("profile"), _table.issued_at >= sa.bindparam("since"), *also)
    number = sa.select(sa.func.count()).select_from(certificates).where(*lately)
    own = number.where(_table.request_id == _ASKED)
    return Prepared(sa.select((number.scalar_subquery() - own.scalar_subquery()).label("number")))


def _coming(*also: sa.ColumnElement[bool]) -> Prepared:
    """Return what counts the intents of a profile but the one that asks."""
    other = requests.c.id != sa.bindparam("request_id")
    wanted = (is_in("intended"), requests.c.profile == sa.bindparam("profile"), other, *also)
    return Prepared(sa.select(sa.func.count().label("number")).select_from(requests).where(*wanted))


_OWN = requests.c.requester == sa.bindparam("requester")
_find_origin = Prepared(_origin())
_count_active = Prepared(_active())
_find_holders = _holders()
_find_other_holders = _holders(
    sa.not_(sa.and_(_table.subject == sa.bindparam("subject"), _table.names == sa.bindparam("names")))
)
_count_issued = _issued()
_count_issued_to = _issued(_REQUESTERS)
_count_coming = _coming()
_count_coming_to = _coming(_OWN)
_count_first_coming_to = _coming(_OWN, requests.c.kind == Kind.ENROLL.value)
_find_renewed = Prepared(sa.select(_table.renews).where(_table.serial == sa.bindparam("serial")))


def find_origin(connection: sa.Connection, serial: int) -> str | None:
    """Return who asked for the first certificate of the line that ends with this one, None when nothing is known."""
    found = _find_origin.first(connection, serial=serial)
    return None if found is None else found.requester


def find_key_holders(connection: sa.Connection, request: EnrollmentRequest) -> tuple[str, ...]:
    """Return who else has had a certificate for the key of a request.

    The requester itself is nobody else, and neither is whoever has the subject and names of what is renewed.
    """
    wanted = {
        "digest": hashlib.sha256(request.csr.spki).digest(),
        "requester": request.requester.identity,
        "key": key_of(request),
    }
    if request.renewed is None:
        rows = _find_holders.all(connection, **wanted)
    else:
        subject, names = str(request.renewed.subject), "\n".join(map(str, request.renewed.names))
        rows = _find_other_holders.all(connection, **wanted, subject=subject, names=names)
    return tuple(row.requester for row in rows)


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
    coming = {"profile": profile, "request_id": request_id}
    own = {**coming, "requester": request.requester.identity}

    def lately(rate: Rate, *, to_requester: bool) -> int:
        since = request.now - rate.period
        issued = count_issued(connection, request, profile, since, to_requester=to_requester)
        found = _count_coming_to.first(connection, **own) if to_requester else _count_coming.first(connection, **coming)
        number: int = issued + found.number
        return number

    if limits.active is not None and request.kind is Kind.ENROLL:
        first = _count_first_coming_to.first(connection, **own).number
        if count_active(connection, request, profile) + first >= limits.active:
            return "active"
    if limits.to_requester is not None and lately(limits.to_requester, to_requester=True) >= limits.to_requester.number:
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
        row = _find_renewed.first(connection, serial=serial)
        before = find_by_serial(connection, row.renews) if row is not None and row.renews is not None else None
        if before is None or key_in(before.der) != renewed.spki:
            break
        serial, count = before.serial, count + 1
    return count


def count_active(connection: sa.Connection, request: EnrollmentRequest, profile: str) -> int:
    """Return how many valid certificates of a profile the requester holds.

    A certificate and what it was renewed by count once, whoever asked for the renewal.
    """
    found = _count_active.first(
        connection, requester=request.requester.identity, profile=profile, key=key_of(request), now=request.now
    )
    number: int = found.number
    return number


def count_issued(
    connection: sa.Connection, request: EnrollmentRequest, profile: str, since: datetime, *, to_requester: bool
) -> int:
    """Return how many certificates of a profile were issued since a time, to the requester or to all."""
    wanted = {"profile": profile, "since": since, "key": key_of(request)}
    if to_requester:
        found = _count_issued_to.first(connection, **wanted, requester=request.requester.identity)
    else:
        found = _count_issued.first(connection, **wanted)
    number: int = found.number
    return number
