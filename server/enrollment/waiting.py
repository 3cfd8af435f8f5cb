"""Requests that wait for persons: how they are approved, rejected, released, or turned away after all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policies.decision import Deferred
from policies.request import NO_FACTS
from server.audit import Action, AuditEvent
from server.enrollment.judgement import No
from server.enrollment.refusals import APPROVAL_RETRY, no_room
from server.issuance import COMPROMISED, WITHDRAWN, store_unavailable
from server.outcome import Pending, Problem, Reason, Refused
from server.store import StoreUnavailable, approvals, intents, requests
from server.store.claims import LATE, AwaitsApproval, Claim, Compromised, OverQuota, Withdrawn
from server.store.values import read_question

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.clock import Clock
    from server.enrollment.judgement import Judge
    from server.issuance import Issuance
    from server.outcome import Outcome
    from server.store import Store
    from server.store.approvals import Vote, Voter
    from server.store.requests import StoredRequest


class Waiting:
    """Keeps the requests that a person must approve.

    Attributes:
        store: the record.
        judge: judges again what was approved.
        issuance: signs what was released.
        clock: the time.
        serial_number: gives unpredictable positive numbers of at most 20 octets.
    """

    def __init__(
        self, store: Store, judge: Judge, issuance: Issuance, clock: Clock, serial_number: Callable[[], int]
    ) -> None:
        self._store = store
        self._judge = judge
        self._issuance = issuance
        self._clock = clock
        self._serial_number = serial_number

    async def vote(self, request_id: str, voter: Voter) -> Vote:
        """Count a person's approval. Raises StoreUnavailable."""
        now = self._clock()
        event = AuditEvent(now, Action.APPROVED, voter.name, request_id).row()
        return await self._store.write(lambda c: approvals.vote(c, request_id, voter, now, event))

    async def reject(self, request_id: str, by: str, why: str) -> Refused | None:
        """Refuse a request as a person says; None when it does not wait. Raises StoreUnavailable."""
        now = self._clock()
        problem = Problem(Reason.POLICY, requests.REJECTED, detail=f"{by}: {why}")
        event = AuditEvent(now, Action.REJECTED, by, request_id, detail=why).row()
        done = await self._store.write(lambda c: requests.reject(c, request_id, problem, now, event))
        return Refused(problem, request_id) if done else None

    async def still(self, request_id: str) -> Outcome:
        """Return that a person must approve, or refuse what nobody approved in time. Never raises."""
        now = self._clock()
        try:
            if not await self._store.read(lambda c: approvals.is_late(c, request_id, now)):
                return Pending(request_id, APPROVAL_RETRY)
        except StoreUnavailable as error:
            return store_unavailable(error)
        return await self.turn_away(request_id, Problem(Reason.POLICY, LATE["message"]))

    async def turn_away(self, request_id: str, problem: Problem) -> Refused:
        """Refuse what waits though no person says so: what it has used up is good again. Never raises."""
        now = self._clock()
        event = AuditEvent(now, Action.FAILED, "certwright", request_id, detail=problem.message).row()
        try:
            await self._store.write(lambda c: requests.refuse_pending(c, request_id, problem, now, event))
        except StoreUnavailable as error:
            return store_unavailable(error)
        return Refused(problem, request_id)

    async def release(self, row: StoredRequest, key: bytes) -> Outcome:
        """Issue what a person has approved, if the policy approves it now, too. Raises StoreUnavailable.

        Args:
            row: the request.
            key: SHA-256 of its idempotency key.
        """
        now, serial = self._clock(), self._serial_number()
        request = read_question(row.question or "", key.hex(), now)
        if self._judge.gather is not None:
            request = await self._judge.gather(replace(request, facts=NO_FACTS))
        verdict = self._judge.judge(request, serial)
        if isinstance(verdict, No):
            problem = verdict.problem
            event = AuditEvent(now, Action.FAILED, "certwright", row.id, detail=problem.message).row()
            await self._store.write(lambda c: requests.refuse_pending(c, row.id, problem, now, event))
            return Refused(problem, row.id)
        terms = verdict.terms if isinstance(verdict, Deferred) else None
        claim = Claim(row.id, key, request, verdict.plan, serial, self._issuance.lease(), terms, verdict.limits)
        started = await self._store.write(lambda c: intents.start(c, claim))
        if isinstance(started, AwaitsApproval):
            return Pending(row.id, APPROVAL_RETRY)
        if isinstance(started, Withdrawn):
            return await self.turn_away(row.id, WITHDRAWN)
        if isinstance(started, Compromised):
            return await self.turn_away(row.id, COMPROMISED)
        if isinstance(started, OverQuota):
            return Refused(no_room(started, verdict.plan).problem, row.id)
        return await self._issuance.go_on(started)
