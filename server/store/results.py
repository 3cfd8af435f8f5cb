"""What became of an intent: the certificate, or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from server.store import credentials
from server.store.bulk import BulkInsert
from server.store.claims import AlreadyIssued, Gone, Granted
from server.store.intents import find_answer
from server.store.leases import change, find
from server.store.prepared import Prepared
from server.store.tables import audit_events, certificates, requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

_table = requests.c
_issued = Prepared(
    sa.update(requests)
    .where(_table.id == sa.bindparam("wanted"), _table.state == "intended", _table.owner == sa.bindparam("worker"))
    .values(state="issued", finished_at=sa.bindparam("at"), owner=None, leased_until=None)
)
_insert = BulkInsert(
    certificates,
    "serial",
    "issuer",
    "der",
    "fingerprint",
    "endpoint",
    "profile",
    "requester",
    "subject",
    "names",
    "not_before",
    "not_after",
    "issued_at",
    "request_id",
    "renews",
    "policy_digest",
    "spki",
)
_audit = BulkInsert(audit_events, "at", "action", "actor", "request_id", "serial", "detail")


class Result(NamedTuple):
    """What was signed for an intent.

    Attributes:
        granted: the intent.
        owner: who works on it.
        der: the certificate.
        fingerprint: its SHA-256.
        at: when it was signed.
        event: the row for ``audit_events``.
        serial: the certificate's own number; the granted one unless the CA numbers its certificates itself.
    """

    granted: Granted
    owner: str
    der: bytes
    fingerprint: bytes
    at: datetime
    event: Mapping[str, object]
    serial: int


class _TakenOver(Exception):
    """An intent of the group is another process's now."""


@dataclass(frozen=True, slots=True)
class SerialTaken:
    """A CA has given a serial number that another certificate of the record has."""

    request_id: str


def record(connection: sa.Connection, results: Sequence[Result]) -> list[AlreadyIssued | Gone | SerialTaken]:
    """Write certificates, outcomes and audit events of a group; answer with what is on record for each.

    Where another process took the intent over and was first, its certificate is the answer and this one is dropped:
    it has the same content and has gone nowhere. From a CA elsewhere that knows requests again it is the very same.
    """
    foreign = [result for result in results if result.serial != result.granted.serial]
    if foreign:
        if len(results) > 1:
            raise _TakenOver  # each alone: they are rare, and each may clash
        if not _is_held(connection, foreign[0].granted.request_id, foreign[0].owner):
            return [_on_record(connection, foreign[0].granted)]  # its number may be the one that is on record
        if _is_taken(connection, foreign[0].serial):
            return [SerialTaken(foreign[0].granted.request_id)]
        change(connection, foreign[0].granted.request_id, serial=foreign[0].serial)
    closed = _issued.change_each(
        connection, [{"wanted": one.granted.request_id, "worker": one.owner, "at": one.at} for one in results]
    )
    if closed != len(results):
        if len(results) > 1:
            raise _TakenOver  # the store asks again, for each alone
        return [_on_record(connection, results[0].granted)]
    _insert(connection, [_certificate(result) for result in results])
    _audit(connection, [result.event for result in results])
    for result in results:
        _accompany(connection, result.granted, result.granted.plan.issuer)
    return [AlreadyIssued(r.granted.request_id, r.der, r.granted.plan.issuer) for r in results]


def _accompany(connection: sa.Connection, granted: Granted, issuer: str) -> None:
    if granted.companion is not None:
        granted.companion(connection, granted.request_id, issuer)


def _on_record(connection: sa.Connection, granted: Granted) -> AlreadyIssued | Gone:
    row = find_answer(connection, granted.request_id)
    if row is None:
        return Gone(granted.request_id)
    _accompany(connection, granted, row.issuer)
    return AlreadyIssued(granted.request_id, row.der, row.issuer)


def _is_held(connection: sa.Connection, request_id: str, owner: str) -> bool:
    """Say whether an intent is still that of the process that works on it."""
    row = find(connection, request_id)
    return row is not None and (row.state, row.owner) == ("intended", owner)


def _is_taken(connection: sa.Connection, serial: int) -> bool:
    with_it = (sa.select(column).where(column == serial) for column in (certificates.c.serial, _table.serial))
    return connection.execute(sa.union_all(*with_it)).first() is not None


def _certificate(result: Result) -> dict[str, object]:
    granted, plan = result.granted, result.granted.plan
    return {
        "serial": result.serial,
        "issuer": plan.issuer,
        "der": result.der,
        "fingerprint": result.fingerprint,
        "endpoint": granted.endpoint,
        "profile": plan.profile,
        "requester": granted.requester,
        "subject": str(plan.subject),
        "names": "\n".join(map(str, plan.names)),
        "not_before": plan.not_before,
        "not_after": plan.not_after,
        "issued_at": result.at,
        "request_id": granted.request_id,
        "renews": granted.renews,
        "policy_digest": plan.policy_digest,
        "spki": hashlib.sha256(plan.spki).digest(),
    }


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an intent came to nothing.

    Attributes:
        request_id, owner: the intent and who worked on it.
        at: when.
        reason, message, detail: as `server.outcome.Problem` has them.
        event: the row for ``audit_events``.
        gives_back: whether what it has used up is good again, because there is no certificate that anybody could use.
        quarantined: DER of a certificate that is not what was planned.
    """

    request_id: str
    owner: str
    at: datetime
    reason: str
    message: str
    detail: str
    event: Mapping[str, object]
    gives_back: bool
    quarantined: bytes | None = None


def fail(connection: sa.Connection, failure: Failure) -> None:
    """Close an intent without a certificate and free its key, unless another process has taken it over.

    The one-time secrets that it used up are good again where `Failure.gives_back` says so.
    """
    if not _is_held(connection, failure.request_id, failure.owner):
        return
    change(
        connection,
        failure.request_id,
        state="failed",
        key=None,
        owner=None,
        leased_until=None,
        finished_at=failure.at,
        reason=failure.reason,
        message=failure.message,
        detail=failure.detail,
        quarantined=failure.quarantined,
    )
    if failure.gives_back:
        credentials.give_back(connection, failure.request_id)
    _audit(connection, [failure.event])
