"""From the question to the certificate: what is written before anything is signed, and after.

An intent belongs to one process for the time of its lease. Whoever finds it when the lease is over, or finds an intent
of its own that nobody works on, takes it up with the plan and the serial number that are on record.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from policies.request import CertificateEvidence, RegistrationAuthorityEvidence
from server.store import approvals, credentials, holdings
from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.tables import certificates, is_in, requests
from server.store.values import read_plan, write_asked, write_plan, write_question

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ca.plan import CertificatePlan
    from policies.decision import ApprovalTerms, QuotaLimits
    from policies.request import EnrollmentRequest


class Lease(NamedTuple):
    """Who works on an intent, and until when nobody else may.

    Attributes:
        owner: the process, by a random word.
        now: the present time.
        until: when others may take over.
        replay_from: what was issued before this time does not answer the same key any more.
    """

    owner: str
    now: datetime
    until: datetime
    replay_from: datetime


Companion: TypeAlias = "Callable[[sa.Connection, str, str], None]"
"""What a protocol records of its own in the transaction that makes the certificate the answer: takes the connection,
the request's identifier and the issuer's name. It may be called more than once."""


class Claim(NamedTuple):
    """The wish to sign a plan for a request.

    Attributes:
        request_id: the record's identifier, if it becomes a new one.
        key: SHA-256 of the idempotency key.
        request: what was asked.
        plan: what the policy approved.
        serial: the serial number to reserve.
        lease: who asks to work on it.
        deferred: on which terms persons must approve first; None when nobody must.
        limits: how many certificates of the kind there may be; None for any number.
        companion: what is recorded together with the certificate.
    """

    request_id: str
    key: bytes
    request: EnrollmentRequest
    plan: CertificatePlan
    serial: int
    lease: Lease
    deferred: ApprovalTerms | None = None
    limits: QuotaLimits | None = None
    companion: Companion | None = None


class Granted(NamedTuple):
    """The intent is on disk and the caller's: this plan may be signed now, under this serial number.

    Attributes:
        request_id: the record.
        plan, serial: what to sign; of the record, when it is resumed.
        endpoint, requester, renews: of the record, for the certificate's row.
        resumed: whether an earlier attempt was left half-done: something may have been signed then.
        csr: DER of the request.
        reference: what the CA called this request when it was pending.
        companion: what is recorded together with the certificate.
    """

    request_id: str
    plan: CertificatePlan
    serial: int
    endpoint: str
    requester: str
    renews: int | None
    resumed: bool = False
    csr: bytes | None = None
    reference: str | None = None
    companion: Companion | None = None


class AlreadyIssued(NamedTuple):
    """The key was answered lately: this certificate is the answer again."""

    request_id: str
    der: bytes
    issuer: str


@dataclass(frozen=True, slots=True)
class AwaitsApproval:
    """A person must approve first."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Another process works on it."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A person refused this lately: that is the answer again."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The request is not in a state to be worked on any more."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Spent:
    """A one-time secret that the request came with was used by another; there is no intent."""


@dataclass(frozen=True, slots=True)
class Crowded:
    """As many requests wait for a person as may; there is no intent."""


@dataclass(frozen=True, slots=True)
class OverQuota:
    """One more certificate would be more than a quota lets through; there is no intent.

    Attributes:
        limit: which quota, by its key in policy files.
    """

    limit: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A certificate that the requester is known by, or renews, was revoked meanwhile; there is no intent."""


Claimed: TypeAlias = (
    Granted | AlreadyIssued | AwaitsApproval | Rejected | Taken | Spent | Crowded | OverQuota | Withdrawn
)

Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"

FETCHED_WITHIN = timedelta(days=7)
"""For how long what a person has approved is the answer: who waited may come but once a day."""

LATE = {"reason": "policy", "message": "Nobody approved the request in time."}
"""What becomes of a request that has waited too long."""

_table = requests.c
_FOUND = (
    _table.id,
    _table.key,
    _table.state,
    _table.endpoint,
    _table.requester,
    _table.renews,
    _table.received_at,
    _table.finished_at,
    _table.plan,
    _table.serial,
    _table.owner,
    _table.leased_until,
    _table.approved_by,
    _table.policy_digest,
    _table.csr,
    _table.issuer_reference,
)
_BY_KEYS = sa.select(*_FOUND).where(_table.key.in_(sa.bindparam("keys", expanding=True))).with_for_update()
BY_ID = sa.select(*_FOUND).where(_table.id == sa.bindparam("wanted")).with_for_update()
_insert = BulkInsert(
    requests,
    "id",
    "key",
    "state",
    "endpoint",
    "kind",
    "profile",
    "requester",
    "address",
    "transaction_id",
    "signer",
    "csr",
    "renews",
    "received_at",
    "plan",
    "serial",
    "owner",
    "leased_until",
    "question",
    "asked",
    "policy_digest",
    unless="key",
)
_UPDATE = sa.update(requests).where(_table.id == sa.bindparam("wanted"))
ANSWER = sa.select(certificates.c.der, certificates.c.issuer, certificates.c.revoked_at).where(
    certificates.c.request_id == sa.bindparam("wanted")
)


_REVOKED = Prepared(
    sa.select(certificates.c.serial).where(
        certificates.c.serial == sa.bindparam("serial"), certificates.c.revoked_at.is_not(None)
    )
)


def change(connection: sa.Connection, request_id: str, **values: object) -> None:
    """Set columns of one request."""
    connection.execute(_UPDATE.values(**values), {"wanted": request_id})


def claim(connection: sa.Connection, claims: Sequence[Claim]) -> list[Claimed]:
    """Write the intents of a group, one answer for each; what is on record under a key already comes back instead."""
    if len(claims) > 1 and any(one.limits is not None for one in claims):
        return [claim(connection, [one])[0] for one in claims]  # those before count
    if _insert(connection, [_row(one) for one in claims]) == len(claims):
        return [_new(connection, one) for one in claims]
    found = {row.key: row for row in connection.execute(_BY_KEYS, {"keys": [one.key for one in claims]})}
    return [
        _new(connection, one) if found[one.key].id == one.request_id else _join(connection, one, found[one.key])
        for one in claims
    ]


def _is_withdrawn(connection: sa.Connection, request: EnrollmentRequest) -> bool:
    """Whether a certificate of ours that shows who asks, or is renewed, is revoked by now: it was good when judged."""
    own = {
        one.serial
        for one in request.requester.evidence
        if isinstance(one, RegistrationAuthorityEvidence)
        or (isinstance(one, CertificateEvidence) and one.anchor == "own")
    }
    if request.renewed is not None:
        own.add(request.renewed.serial)
    return any(_REVOKED.first(connection, serial=serial) is not None for serial in own)


def _new(connection: sa.Connection, one: Claim) -> Granted | AwaitsApproval | Spent | Crowded | OverQuota | Withdrawn:
    """Keep to the limits and use up what a new intent spends; else there is no intent."""
    if _is_withdrawn(connection, one.request):
        connection.execute(sa.delete(requests).where(_table.id == one.request_id))
        return Withdrawn()
    if one.limits is not None and one.deferred is None:
        over = holdings.exceeded(connection, one.request, one.plan.profile, one.limits, one.request_id)
        if over is not None:
            connection.execute(sa.delete(requests).where(_table.id == one.request_id))
            return OverQuota(over)
    if one.deferred is not None and _is_crowded(connection, one.request):
        connection.execute(sa.delete(requests).where(_table.id == one.request_id))
        return Crowded()
    spends, instead_of = one.request.spends, one.request.instead_of
    if spends and not credentials.spend(connection, spends, one.request_id, one.lease.now, instead_of):
        connection.execute(sa.delete(requests).where(_table.id == one.request_id))
        return Spent()
    if one.deferred is not None:
        approvals.defer(connection, one.request_id, one.deferred, one.lease.now)
        return AwaitsApproval(one.request_id)
    return _granted(one)


def _is_crowded(connection: sa.Connection, request: EnrollmentRequest) -> bool:
    """Whether too many wait, this one among them."""
    if request.pending is None:
        return False
    waiting = sa.select(sa.func.count()).select_from(requests).where(is_in("pending"))
    here = waiting.where(_table.endpoint == str(request.endpoint))
    if connection.execute(here).scalar_one() > request.pending.endpoint:
        return True
    return connection.execute(here.where(_table.address == request.requester.address)).scalar_one() > (
        request.pending.address
    )


def _granted(one: Claim) -> Granted:
    request = one.request
    renews = request.renewed.serial if request.renewed else None
    endpoint, requester = str(request.endpoint), request.requester.identity
    granted = Granted(one.request_id, one.plan, one.serial, endpoint, requester, renews, csr=request.csr.der)
    return granted if one.companion is None else granted._replace(companion=one.companion)


def _row(one: Claim) -> dict[str, object]:
    request, lease = one.request, one.lease
    return {
        "id": one.request_id,
        "key": one.key,
        "state": "pending" if one.deferred else "intended",
        "endpoint": str(request.endpoint),
        "kind": str(request.kind),
        "profile": one.plan.profile,
        "requester": request.requester.identity,
        "address": request.requester.address,
        "transaction_id": request.transaction,
        "signer": request.signer,
        "csr": request.csr.der,
        "renews": request.renewed.serial if request.renewed else None,
        "received_at": request.now,
        "plan": write_plan(one.plan),
        "serial": None if one.deferred else one.serial,
        "owner": None if one.deferred else lease.owner,
        "leased_until": None if one.deferred else lease.until,
        "question": write_question(request) if one.deferred else None,
        "asked": write_asked(request),
        "policy_digest": one.plan.policy_digest,
    }


def _join(connection: sa.Connection, one: Claim, row: Row) -> Claimed:
    """Answer from the record, or take the key away from a record that does not answer it any more."""
    lease = one.lease
    if row.state == "pending":
        if one.deferred is None or row.approved_by is not None:
            return _with(_release(connection, row, one), one)
        if not approvals.is_late(connection, row.id, lease.now):
            return AwaitsApproval(row.id)
        change(connection, row.id, state="refused", key=None, finished_at=lease.now, **LATE)
        credentials.give_back(connection, row.id)
    elif row.state == "refused":
        if row.finished_at >= lease.replay_from:
            return Rejected(row.id)
        change(connection, row.id, key=None)
    elif row.state == "intended":
        if _begun(row) >= lease.replay_from:
            return _with(_resume(connection, row, lease), one)
        change(connection, row.id, state="failed", key=None, finished_at=lease.now, detail="given up: too old")
    else:
        answer = connection.execute(ANSWER, {"wanted": row.id}).one()
        if answer.revoked_at is None and row.finished_at >= _answers_from(row, lease):
            if one.companion is not None:
                one.companion(connection, row.id, answer.issuer)
            return AlreadyIssued(row.id, answer.der, answer.issuer)
        change(connection, row.id, key=None)
    _insert(connection, [_row(one)])
    return _new(connection, one)


def _begun(row: Row) -> datetime:
    """Return when an intent began; what a person has approved may have waited for long before its lease."""
    begun: datetime = row.received_at if row.approved_by is None else row.leased_until
    return begun


def _answers_from(row: Row, lease: Lease) -> datetime:
    """Return since when a certificate must have been made to be the answer still."""
    return lease.replay_from if row.approved_by is None else min(lease.replay_from, lease.now - FETCHED_WITHIN)


def _with(claimed: Claimed, one: Claim) -> Claimed:
    """Let what is granted of the record be recorded with the companion of who asks now."""
    return claimed._replace(companion=one.companion) if isinstance(claimed, Granted) and one.companion else claimed


def _is_held(until: datetime, lease: Lease) -> bool:
    """Whether another's lease goes on; one that ends much later than a lease of now would is that of a wrong clock."""
    return lease.now < until <= lease.until + (lease.until - lease.now)


def _resume(connection: sa.Connection, row: Row, lease: Lease) -> Granted | Taken:
    if row.owner != lease.owner and _is_held(row.leased_until, lease):
        return Taken(row.id)
    change(connection, row.id, owner=lease.owner, leased_until=lease.until)
    return Granted(
        row.id,
        read_plan(row.plan),
        row.serial,
        row.endpoint,
        row.requester,
        row.renews,
        resumed=True,
        csr=row.csr,
        reference=row.issuer_reference,
    )


def _start(connection: sa.Connection, row: Row, plan: CertificatePlan, serial: int, lease: Lease) -> Granted:
    change(
        connection,
        row.id,
        state="intended",
        plan=write_plan(plan),
        policy_digest=plan.policy_digest,
        serial=serial,
        owner=lease.owner,
        leased_until=lease.until,
    )
    return Granted(row.id, plan, serial, row.endpoint, row.requester, row.renews, csr=row.csr)


def resume(connection: sa.Connection, request_id: str, lease: Lease) -> Granted | Taken | Gone:
    """Take up an intent that was left half-done."""
    row = connection.execute(BY_ID, {"wanted": request_id}).one()
    return _resume(connection, row, lease) if row.state == "intended" else Gone(request_id)


def _release(connection: sa.Connection, row: Row, one: Claim) -> Granted | AwaitsApproval | OverQuota | Withdrawn:
    """Start what persons have approved; when the policy has changed since and wants approval, they must look again."""
    if _is_withdrawn(connection, one.request):
        return Withdrawn()
    changed = one.plan.policy_digest != row.policy_digest
    if one.deferred is not None and (changed or not approvals.suffices(connection, row.id, one.deferred)):
        approvals.defer(connection, row.id, one.deferred, one.lease.now)
        digest = one.plan.policy_digest
        change(connection, row.id, approved_by=None, plan=write_plan(one.plan), policy_digest=digest)
        return AwaitsApproval(row.id)
    if one.limits is not None:
        over = holdings.exceeded(connection, one.request, one.plan.profile, one.limits, row.id)
        if over is not None:
            return OverQuota(over)
    return _start(connection, row, one.plan, one.serial, one.lease)


def start(connection: sa.Connection, one: Claim) -> Granted | AwaitsApproval | OverQuota | Withdrawn | Gone:
    """Turn an approved request into an intent for this plan, if the approvals are enough for these terms."""
    row = connection.execute(BY_ID, {"wanted": one.request_id}).one()
    approved = row.state == "pending" and row.approved_by is not None
    return _release(connection, row, one) if approved else Gone(one.request_id)


def let_go(connection: sa.Connection, request_id: str, lease: Lease) -> None:
    """End the lease at once, so that whoever comes next takes the intent up with the same plan and serial number."""
    held = sa.and_(_table.id == request_id, _table.state == "intended", _table.owner == lease.owner)
    connection.execute(sa.update(requests).where(held).values(leased_until=lease.now))


def leave_with_issuer(connection: sa.Connection, request_id: str, lease: Lease, reference: str) -> None:
    """End the lease and keep what the CA calls the request, which it has taken and will answer later."""
    held = sa.and_(_table.id == request_id, _table.state == "intended", _table.owner == lease.owner)
    values = {"leased_until": lease.now, "issuer_reference": reference}
    connection.execute(sa.update(requests).where(held).values(values))


def interrupted(connection: sa.Connection, lease: Lease) -> list[str]:
    """Return the identifiers of the intents whose lease is over, the oldest first; not those that wait for a CA."""
    left = sa.and_(is_in("intended"), _table.issuer_reference.is_(None))
    rows = connection.execute(sa.select(_table.id, _table.leased_until).where(left).order_by(_table.number))
    return [row.id for row in rows if not _is_held(row.leased_until, lease)]
