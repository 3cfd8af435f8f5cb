"""The record of requests: refusals, approvals, looking up, and how long refusals are kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from policies.request import EndpointName
from server.outcome import Problem, Reason
from server.store import credentials
from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.tables import audit_events, is_in, requests
from server.store.values import read_findings, write_findings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from policies.decision import Finding

REFUSALS_KEPT = 50_000
"""Older refusals are forgotten, so that nobody can fill the disk with them."""

REJECTED = "An administrator has rejected the request."
"""What the requester is told then."""

_table = requests.c


class State(StrEnum):
    """Where a request stands."""

    PENDING = "pending"
    """A person must approve."""
    INTENDED = "intended"
    """The plan may have been signed."""
    ISSUED = "issued"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One request of the record; what is not known of it is None.

    Attributes:
        id: its identifier.
        key: SHA-256 of its idempotency key, None when that is free again.
        state: where it stands.
        endpoint: where it came in.
        kind: ``enroll`` or ``renew``.
        profile: the profile that judged.
        requester: who asked, as `Requester.identity` or as far as is known.
        address: from where.
        transaction: the protocol's own identifier.
        csr: the certification request, DER.
        renews: the serial number of the certificate to be renewed.
        received_at, finished_at: when it came and when it was answered for good.
        plan: the plan as text (`server.store.values`).
        serial: the serial number reserved or issued.
        question: the whole request as text, while a person decides.
        asked: what the policy was asked, as text; None when it was refused before that.
        policy_digest: SHA-256, hex, of the policy file that judged.
        approved_by: who approved.
        reason, message, detail, findings: why there is no certificate.
        quarantined: a certificate that is not what was planned; it never left.
    """

    id: str
    key: bytes | None
    state: State
    endpoint: EndpointName
    kind: str | None
    profile: str | None
    requester: str | None
    address: str | None
    transaction: str | None
    csr: bytes | None
    renews: int | None
    received_at: datetime
    finished_at: datetime | None
    plan: str | None
    serial: int | None
    question: str | None
    asked: str | None
    policy_digest: str | None
    approved_by: str | None
    reason: Reason | None
    message: str | None
    detail: str | None
    findings: tuple[Finding, ...]
    quarantined: bytes | None

    @property
    def problem(self) -> Problem | None:
        """Why there is no certificate; None while that is not decided."""
        if self.reason is None:
            return None
        return Problem(self.reason, self.message or "", self.findings, self.detail or "")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is refused, as it is recorded.

    Attributes:
        as in `StoredRequest`; `problem` says why.
    """

    request_id: str
    endpoint: EndpointName
    problem: Problem
    at: datetime
    kind: str | None = None
    profile: str | None = None
    requester: str | None = None
    address: str | None = None
    transaction: str | None = None
    csr: bytes | None = None
    renews: int | None = None
    asked: str | None = None
    policy_digest: str | None = None


_insert = BulkInsert(
    requests,
    "id",
    "state",
    "endpoint",
    "kind",
    "profile",
    "requester",
    "address",
    "transaction_id",
    "csr",
    "renews",
    "asked",
    "policy_digest",
    "received_at",
    "finished_at",
    "reason",
    "message",
    "detail",
    "findings",
)


def record_refusals(connection: sa.Connection, refusals: Sequence[Refusal]) -> list[None]:
    """Write the refusals of a group."""
    _insert(connection, [_row(refusal) for refusal in refusals])
    return [None] * len(refusals)


def _row(refusal: Refusal) -> dict[str, object]:
    return {
        "id": refusal.request_id,
        "state": "refused",
        "endpoint": str(refusal.endpoint),
        "kind": refusal.kind,
        "profile": refusal.profile,
        "requester": refusal.requester,
        "address": refusal.address,
        "transaction_id": refusal.transaction,
        "csr": refusal.csr,
        "renews": refusal.renews,
        "asked": refusal.asked,
        "policy_digest": refusal.policy_digest,
        "received_at": refusal.at,
        "finished_at": refusal.at,
        **_problem(refusal.problem),
    }


def _problem(problem: Problem) -> dict[str, object]:
    return {
        "reason": problem.reason,
        "message": problem.message,
        "detail": problem.detail,
        "findings": write_findings(problem.findings),
    }


def forget_refusals(connection: sa.Connection, kept: int = REFUSALS_KEPT) -> None:
    """Remove all but the newest refusals."""
    refused = is_in(State.REFUSED)
    oldest_kept = sa.select(_table.number).where(refused).order_by(_table.number.desc()).offset(kept).limit(1)
    connection.execute(sa.delete(requests).where(refused, _table.number <= oldest_kept.scalar_subquery()))


def refuse_pending(
    connection: sa.Connection, request_id: str, problem: Problem, at: datetime, event: Mapping[str, object]
) -> bool:
    """Refuse a request that waits for a person, and free its key. Returns whether it was waiting.

    The one-time secrets that it used up are good again: nobody but the server says no.
    """
    if not _refuse(connection, request_id, problem, at, event, key=None):
        return False
    credentials.give_back(connection, request_id)
    return True


def reject(
    connection: sa.Connection, request_id: str, problem: Problem, at: datetime, event: Mapping[str, object]
) -> bool:
    """Refuse a request that waits for a person, who says no. Returns whether it was waiting.

    Its key stays its own for a while, so that asking again brings the refusal and not another wait.
    """
    return _refuse(connection, request_id, problem, at, event)


def _refuse(
    connection: sa.Connection,
    request_id: str,
    problem: Problem,
    at: datetime,
    event: Mapping[str, object],
    **values: object,
) -> bool:
    waiting = sa.and_(_table.id == request_id, _table.state == State.PENDING)
    values |= {"state": State.REFUSED, "finished_at": at, **_problem(problem)}
    if connection.execute(sa.update(requests).where(waiting).values(values)).rowcount != 1:
        return False
    connection.execute(sa.insert(audit_events), dict(event))
    return True


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests to list; what is None does not restrict.

    Attributes:
        states: in one of these states.
        endpoint: came in here.
        text: part of the requester, the address, the transaction, the message or the detail.
        limit: at most so many, the newest first.
    """

    states: tuple[State, ...] | None = None
    endpoint: EndpointName | None = None
    text: str | None = None
    limit: int = 100


EVERYTHING = RequestFilter()


def _stored(row: Any) -> StoredRequest:
    return StoredRequest(
        id=row.id,
        key=row.key,
        state=State(row.state),
        endpoint=EndpointName.parse(row.endpoint),
        kind=row.kind,
        profile=row.profile,
        requester=row.requester,
        address=row.address,
        transaction=row.transaction_id,
        csr=row.csr,
        renews=row.renews,
        received_at=row.received_at,
        finished_at=row.finished_at,
        plan=row.plan,
        serial=row.serial,
        question=row.question,
        asked=row.asked,
        policy_digest=row.policy_digest,
        approved_by=row.approved_by,
        reason=None if row.reason is None else Reason(row.reason),
        message=row.message,
        detail=row.detail,
        findings=read_findings(row.findings),
        quarantined=row.quarantined,
    )


_by_id = Prepared(sa.select(requests).where(_table.id == sa.bindparam("wanted")))


def find_request(connection: sa.Connection, request_id: str) -> StoredRequest | None:
    """Return the request with this identifier, None when nothing is known of it."""
    row = _by_id.first(connection, wanted=request_id)
    return None if row is None else _stored(row)


def list_requests(connection: sa.Connection, wanted: RequestFilter = EVERYTHING) -> tuple[StoredRequest, ...]:
    """Return the requests that pass the filter, the newest first.

    Those in a state other than issued are found by an index. Otherwise the table is read from its end until there are
    enough. A text, or an endpoint, that hardly any request has takes reading all of it, seconds for a million requests;
    an index for that would cost every enrollment, and none finds the middle of a text.
    """
    query = sa.select(requests).order_by(_table.number.desc()).limit(wanted.limit)
    if wanted.endpoint is not None:
        query = query.where(_table.endpoint == str(wanted.endpoint))
    if wanted.text is not None:
        searched = (_table.requester, _table.address, _table.transaction_id, _table.message, _table.detail)
        query = query.where(sa.or_(*(column.icontains(wanted.text, autoescape=True) for column in searched)))
    if wanted.states is None:
        return tuple(map(_stored, connection.execute(query)))
    # One state after the other: of several at once the database would sort all there are.
    conditions = [_table.state == each if each is State.ISSUED else is_in(each) for each in set(wanted.states)]
    found = [row for condition in conditions for row in connection.execute(query.where(condition))]
    found.sort(key=lambda row: row.number, reverse=True)
    return tuple(map(_stored, found[: wanted.limit]))


def list_transaction(connection: sa.Connection, transaction: str) -> tuple[StoredRequest, ...]:
    """Return the requests of a transaction of the protocol, by its whole name, the newest first; 100 at most."""
    query = sa.select(requests).where(_table.transaction_id == transaction).order_by(_table.number.desc()).limit(100)
    return tuple(map(_stored, connection.execute(query)))


def list_events(connection: sa.Connection, request_id: str) -> tuple[sa.Row[Any], ...]:
    """Return the audit events of a request in order: ``at``, ``action``, ``actor``, ``serial``, ``detail``."""
    table = audit_events.c
    query = sa.select(audit_events).where(table.request_id == request_id).order_by(table.number)
    return tuple(connection.execute(query))
