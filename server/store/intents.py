"""From the question to the intent: what is written before anything is signed, or found there under the same key."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.store import admission, approvals, credentials
from server.store.bulk import BulkInsert
from server.store.claims import (
    GIVEN_UP,
    LATE,
    AlreadyIssued,
    AwaitsApproval,
    Compromised,
    Gone,
    Granted,
    Rejected,
    Withdrawn,
)
from server.store.leases import FOUND, change, find, is_anothers, take_up
from server.store.prepared import Prepared
from server.store.tables import certificates, requests
from server.store.values import read_plan, write_asked, write_plan, write_question

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ca.plan import CertificatePlan
    from server.store.claims import Claim, Claimed, Crowded, Lease, OverQuota, Spent
    from server.store.leases import Row

FETCHED_WITHIN = timedelta(days=7)
"""For how long what a person has approved is the answer: who waited may come but once a day."""
_ANOTHER_KEY = "given up: asked for with another key"

_table = requests.c
_by_key = Prepared(sa.select(*FOUND).where(_table.key == sa.bindparam("key")).with_for_update())
_remove = Prepared(sa.delete(requests).where(_table.id == sa.bindparam("wanted")))
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
_answer = Prepared(
    sa.select(certificates.c.der, certificates.c.issuer, certificates.c.revoked_at, certificates.c.not_after).where(
        certificates.c.request_id == sa.bindparam("wanted")
    )
)


def find_answer(connection: sa.Connection, request_id: str) -> Any:
    """Return the certificate that answers a request: DER, issuer, end and revocation; None when none does."""
    return _answer.first(connection, wanted=request_id)


def claim(connection: sa.Connection, claims: Sequence[Claim]) -> list[Claimed]:
    """Write the intents of a group, one answer for each; what is on record under a key already comes back instead."""
    if len(claims) > 1 and any(one.limits is not None for one in claims):
        return [claim(connection, [one])[0] for one in claims]  # those before count
    wary = admission.is_any_compromised(connection)
    if _insert(connection, [_row(one) for one in claims]) == len(claims):
        return [_new(connection, one, wary=wary) for one in claims]
    found = [_by_key.first(connection, key=one.key) for one in claims]
    return [
        _new(connection, one, wary=wary) if row.id == one.request_id else _join(connection, one, row)
        for one, row in zip(claims, found, strict=True)
    ]


def _new(
    connection: sa.Connection, one: Claim, *, wary: bool = True
) -> Granted | AwaitsApproval | Spent | Crowded | OverQuota | Withdrawn | Compromised:
    """Admit a new intent; else there is none."""
    objection = admission.admit(connection, one, wary=wary)
    if objection is not None:
        _remove.change(connection, wanted=one.request_id)
        return objection
    if one.deferred is not None:
        approvals.defer(connection, one.request_id, one.deferred, one.lease.now)
        return AwaitsApproval(one.request_id)
    return _granted(one)


def _granted(one: Claim) -> Granted:
    request = one.request
    renews = request.renewed.serial if request.renewed else None
    endpoint, requester = str(request.endpoint), request.requester.identity
    csr, companion = request.csr.der, one.companion
    return Granted(one.request_id, one.plan, one.serial, endpoint, requester, renews, csr=csr, companion=companion)


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
        waiting = _join_waiting(connection, one, row)
        if waiting is not None:
            return waiting
    elif row.state == "refused":
        if row.finished_at >= lease.replay_from:
            return Rejected(row.id)
        change(connection, row.id, key=None)
    elif row.state == "intended":
        if is_anothers(row, lease) or not _give_up(connection, one, row):
            return _with(take_up(connection, row, lease), one)
    else:
        answer = find_answer(connection, row.id)
        if answer.revoked_at is None and _answers(row, one, answer.not_after):
            if one.companion is not None:
                one.companion(connection, row.id, answer.issuer)
            return AlreadyIssued(row.id, answer.der, answer.issuer)
        change(connection, row.id, key=None)
    _insert(connection, [_row(one)])
    return _new(connection, one)


def _join_waiting(connection: sa.Connection, one: Claim, row: Row) -> Claimed | None:
    """Answer who asks for what waits for a person; None where it waits no longer."""
    if read_plan(row.plan).spki != one.plan.spki:  # at which nobody has looked
        _close(connection, row, one.lease, state="refused", detail=_ANOTHER_KEY, **GIVEN_UP)
        credentials.give_back(connection, row.id)
        return None
    if one.deferred is None or row.approved_by is not None:
        return _with(_release(connection, row, one), one)
    if not approvals.is_late(connection, row.id, one.lease.now):
        return AwaitsApproval(row.id)
    _close(connection, row, one.lease, state="refused", **LATE)
    credentials.give_back(connection, row.id)
    return None


def _give_up(connection: sa.Connection, one: Claim, row: Row) -> bool:
    """Close an intent that is not the answer to what is asked now. Returns whether that was done.

    What was signed here and not recorded is nowhere, so the secret that it has used up is good for the next. A CA
    elsewhere may have signed: there is no other certificate for that secret, so the same is asked again while it lasts.
    """
    plan, lease = read_plan(row.plan), one.lease
    why = _why_not(row, plan, one)
    is_here = plan.issuer in lease.here
    if why is None or (one.request.spends and not is_here and plan.not_after > lease.now):
        return False
    _close(connection, row, lease, state="failed", detail=why, **GIVEN_UP)
    if is_here:
        credentials.give_back(connection, row.id)
    return True


def _close(connection: sa.Connection, row: Row, lease: Lease, **why: str) -> None:
    """End a request without a certificate and free its key."""
    change(connection, row.id, key=None, finished_at=lease.now, **why)


def _why_not(row: Row, plan: CertificatePlan, one: Claim) -> str | None:
    """Return why an intent is not to be finished for who asks now, None when it is."""
    now, begun = one.lease.now, _begun(row)
    if plan.spki != one.plan.spki:
        return _ANOTHER_KEY  # that of the first may be gone
    return "given up: too old" if begun < one.lease.replay_from or now - begun > plan.not_after - now else None


def _begun(row: Row) -> datetime:
    """Return when an intent began; what a person has approved may have waited for long before its lease."""
    begun: datetime = row.received_at if row.approved_by is None else row.leased_until
    return begun


def _answers(row: Row, one: Claim, not_after: datetime) -> bool:
    """Tell whether a certificate is the answer still.

    Of one that lives for hours half of its life is the bound: who asks then has not lost a reply, but needs another.
    Nor is one that the server has finished by itself, for who has made another key meanwhile.
    """
    lease = one.lease
    since = lease.replay_from if row.approved_by is None else min(lease.replay_from, lease.now - FETCHED_WITHIN)
    made: datetime = row.finished_at
    is_fresh = made >= since and lease.now - made <= not_after - lease.now
    return is_fresh and read_plan(row.plan).spki == one.plan.spki


def _with(claimed: Claimed, one: Claim) -> Claimed:
    """Let what is granted of the record be recorded with the companion of who asks now."""
    return claimed._replace(companion=one.companion) if isinstance(claimed, Granted) and one.companion else claimed


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


def _release(
    connection: sa.Connection, row: Row, one: Claim
) -> Granted | AwaitsApproval | OverQuota | Withdrawn | Compromised:
    """Start what persons have approved; when the policy has changed since and wants approval, they must look again."""
    if admission.is_withdrawn(connection, one.request):
        return Withdrawn()
    if admission.is_compromised(connection, one.plan.spki):
        return Compromised()
    changed = one.plan.policy_digest != row.policy_digest
    if one.deferred is not None and (changed or not approvals.suffices(connection, row.id, one.deferred)):
        approvals.defer(connection, row.id, one.deferred, one.lease.now)
        digest = one.plan.policy_digest
        change(connection, row.id, approved_by=None, plan=write_plan(one.plan), policy_digest=digest)
        return AwaitsApproval(row.id)
    over = admission.over_quota(connection, one, row.id)
    return over if over is not None else _start(connection, row, one.plan, one.serial, one.lease)


def start(
    connection: sa.Connection, one: Claim
) -> Granted | AwaitsApproval | OverQuota | Withdrawn | Compromised | Gone:
    """Turn an approved request into an intent for this plan, if the approvals are enough for these terms."""
    row = find(connection, one.request_id)
    approved = row is not None and row.state == "pending" and row.approved_by is not None
    return _release(connection, row, one) if approved else Gone(one.request_id)
