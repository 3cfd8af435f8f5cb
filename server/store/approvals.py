"""Who approved what: votes on requests that wait for a person, and the terms on which they are released.

A vote counts for the policy file under which it was given: when that has changed, people must look again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.tables import approval_terms, approval_votes, audit_events, requests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from policies.decision import ApprovalTerms

_terms, _votes, _requests = approval_terms.c, approval_votes.c, requests.c
_WANTED: sa.BindParameter[str] = sa.bindparam("wanted")
_terms_of = Prepared(sa.select(approval_terms).where(_terms.request_id == _WANTED))
_voters_of = Prepared(sa.select(_votes.voter).where(_votes.request_id == _WANTED).order_by(_votes.number))
_forget_terms = Prepared(sa.delete(approval_terms).where(_terms.request_id == _WANTED))
_forget_votes = Prepared(sa.delete(approval_votes).where(_votes.request_id == _WANTED))
_insert_terms = BulkInsert(approval_terms, "request_id", "needed", "role", "until")


class Vote(Enum):
    """What became of a person's approval."""

    ENOUGH = "the request is approved"
    COUNTED = "more persons must approve"
    NOT_WAITING = "the request does not wait for approval"
    OWN = "nobody approves a request of their own"
    TWICE = "this person has approved already"
    WRONG_ROLE = "this person does not have the role that must approve"
    LATE = "the request was not approved in time"


@dataclass(frozen=True, slots=True)
class Voter:
    """Who approves.

    Attributes:
        name: as audit events write it, such as ``admin:alice``.
        roles: the roles that the person has.
    """

    name: str
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the approval of a request is.

    Attributes:
        needed: how many persons must approve.
        role: the role that they must have, None for anybody.
        until: when it is too late, None for never.
        voters: who has approved, in order.
    """

    needed: int
    role: str | None
    until: datetime | None
    voters: tuple[str, ...] = ()


def defer(connection: sa.Connection, request_id: str, terms: ApprovalTerms, now: datetime) -> None:
    """Write down on which terms a request is released, instead of earlier terms and votes."""
    for forget in (_forget_terms, _forget_votes):
        forget.change(connection, wanted=request_id)
    until = None if terms.expires is None else now + terms.expires
    _insert_terms(connection, [{"request_id": request_id, "needed": terms.count, "role": terms.role, "until": until}])


def standing(connection: sa.Connection, request_id: str) -> Standing:
    """Return how far an approval is; a request without terms needs one person."""
    row = _terms_of.first(connection, wanted=request_id)
    voters = tuple(each.voter for each in _voters_of.all(connection, wanted=request_id))
    return Standing(1, None, None, voters) if row is None else Standing(row.needed, row.role, row.until, voters)


def vote(connection: sa.Connection, request_id: str, voter: Voter, now: datetime, event: Mapping[str, object]) -> Vote:
    """Count a person's approval, and note that there are enough when there are.

    Args:
        connection: a transaction.
        request_id: the request.
        voter: who approves.
        now: the time.
        event: the row for ``audit_events``, written when the vote counts.
    """
    waiting = sa.and_(_requests.id == request_id, _requests.state == "pending", _requests.approved_by.is_(None))
    row = connection.execute(sa.select(_requests.requester).where(waiting).with_for_update()).one_or_none()
    if row is None:
        return Vote.NOT_WAITING
    found = standing(connection, request_id)
    refused = _refused(found, voter, row.requester or "", now)
    if refused is not None:
        return refused
    connection.execute(sa.insert(approval_votes).values(request_id=request_id, voter=voter.name, at=now))
    connection.execute(sa.insert(audit_events), dict(event))
    voters = (*found.voters, voter.name)
    if len(voters) < found.needed:
        return Vote.COUNTED
    connection.execute(sa.update(requests).where(waiting).values(approved_by=", ".join(voters)))
    return Vote.ENOUGH


def _refused(found: Standing, voter: Voter, requester: str, now: datetime) -> Vote | None:
    if found.until is not None and now >= found.until:
        return Vote.LATE
    if _person(voter.name) == _person(requester):
        return Vote.OWN
    if found.role is not None and found.role not in voter.roles:
        return Vote.WRONG_ROLE
    return Vote.TWICE if _person(voter.name) in map(_person, found.voters) else None


def _person(name: str) -> str:
    return name.partition(":")[2].casefold()


def is_late(connection: sa.Connection, request_id: str, now: datetime) -> bool:
    """Whether the time for approval is over."""
    until = standing(connection, request_id).until
    return until is not None and now >= until


def suffices(connection: sa.Connection, request_id: str, terms: ApprovalTerms) -> bool:
    """Whether the votes on record are enough for these terms, should the policy have changed since."""
    found = standing(connection, request_id)
    return len(found.voters) >= terms.count and terms.role in {None, found.role}
