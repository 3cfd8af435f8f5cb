"""New requests: from the question to the intent on disk, or to the refusal on record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

import structlog

from policies.decision import Deferred
from server import possession
from server.cohort import next_step
from server.enrollment.judgement import No
from server.enrollment.refusals import APPROVAL_RETRY, no_room, of_request
from server.issuance import TAKEN_RETRY, internal
from server.outcome import Pending, Problem, Reason, Refused
from server.store import StoreUnavailable, intents, requests
from server.store.claims import (
    AlreadyIssued,
    AwaitsApproval,
    Claim,
    Compromised,
    Crowded,
    Granted,
    OverQuota,
    Rejected,
    Spent,
    Taken,
    Withdrawn,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from policies.decision import Approved
    from policies.request import EnrollmentRequest
    from server.enrollment.judgement import Judge
    from server.enrollment.refusals import Refusals
    from server.issuance import Issuance
    from server.outcome import Outcome
    from server.store import Store
    from server.store.claims import Companion

log = structlog.get_logger()


class Submission:
    """Takes new requests.

    Attributes:
        store: the record.
        judge: says yes or no.
        refusals: keeps the noes.
        issuance: signs what was granted.
        serial_number: gives unpredictable positive numbers of at most 20 octets.
        request_id: gives unique identifiers.
        patience: for how long a duplicate waits for another process that works on the same.
    """

    def __init__(
        self,
        store: Store,
        judge: Judge,
        refusals: Refusals,
        issuance: Issuance,
        *,
        serial_number: Callable[[], int],
        request_id: Callable[[], str],
        patience: timedelta,
    ) -> None:
        self._store = store
        self._judge = judge
        self._refusals = refusals
        self._issuance = issuance
        self._serial_number = serial_number
        self._request_id = request_id
        self._patience = patience

    async def submit(self, request: EnrollmentRequest, key: bytes, companion: Companion | None) -> Outcome:
        """Judge a request and, when the policy approves, claim its key and have the certificate issued.

        Args:
            request: what is asked for.
            key: SHA-256 of its idempotency key.
            companion: what the protocol records of its own together with the certificate.

        Raises:
            StoreUnavailable: nothing is on record but, perhaps, the intent, which the next attempt finds.
        """
        if request.csr.statement is not None:
            problem = await possession.objection(self._store, request.csr, request.now)
            if problem is not None:
                return await self._refuse(request, No(problem))
        serial = self._serial_number()
        if self._judge.gather is not None:
            request = await self._judge.gather(request)
        await next_step()
        verdict = self._judge.judge(request, serial)
        if isinstance(verdict, No):
            return await self._refuse(request, verdict)
        await next_step()
        try:
            return await self._claim(request, key, verdict, serial, companion)
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("enrollment_failed")
            return await self._refuse(request, No(internal(repr(error))))

    async def _claim(
        self,
        request: EnrollmentRequest,
        key: bytes,
        verdict: Approved | Deferred,
        serial: int,
        companion: Companion | None,
    ) -> Outcome:
        request_id, deferred = self._request_id(), verdict.terms if isinstance(verdict, Deferred) else None
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._patience.total_seconds(), 0.02
        while True:
            lease, plan = self._issuance.lease(), verdict.plan
            claim = Claim(request_id, key, request, plan, serial, lease, deferred, verdict.limits, companion)
            claimed = await self._store.write_together(intents.claim, claim)
            match claimed:
                case Granted():
                    return await self._issuance.perform(claimed)
                case AlreadyIssued():
                    return self._issuance.answer(claimed)
                case AwaitsApproval():
                    return Pending(claimed.request_id, APPROVAL_RETRY)
                case Rejected():
                    return Refused(Problem(Reason.POLICY, requests.REJECTED), claimed.request_id)
                case Spent() | Crowded() | OverQuota() | Withdrawn() | Compromised():
                    return await self._refusals.record(of_request(request_id, request, no_room(claimed, plan)))
                case Taken():
                    if loop.time() >= until:
                        return Pending(claimed.request_id, TAKEN_RETRY)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.5)
                case _:
                    assert_never(claimed)

    async def _refuse(self, request: EnrollmentRequest, verdict: No) -> Refused:
        return await self._refusals.record(of_request(self._request_id(), request, verdict))
