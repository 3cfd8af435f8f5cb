"""Refusals and their record: who was turned away, why, and what little was known of who asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

import structlog

from policies.decision import Finding, Location
from server.enrollment.judgement import No, denied
from server.issuance import COMPROMISED, WITHDRAWN
from server.outcome import Problem, Reason, Refused
from server.store import requests
from server.store.claims import Compromised, Crowded, OverQuota, Spent, Withdrawn
from server.store.requests import Refusal
from server.store.values import write_asked

if TYPE_CHECKING:
    from datetime import datetime

    from ca.csr import Csr
    from ca.plan import CertificatePlan
    from policies.request import EndpointName, EnrollmentRequest
    from server.store import Store

log = structlog.get_logger()

APPROVAL_RETRY = 60
"""Seconds after which asking again makes sense when a person must act."""

_LARGEST_CSR_OF_REFUSED = 8192
_LONGEST_TEXT_OF_REFUSED = 512
"""Anyone can be refused, so the record of a refusal must stay small."""
_FORGET_EVERY = 1000
"""After so many refusals of this process the oldest are forgotten."""
_CROWDED = Problem(Reason.RATE_LIMITED, "Too many requests wait for approval.", retry_after=APPROVAL_RETRY)
_SPENT = Problem(Reason.BAD_CREDENTIALS, "The one-time password was used before.")
_TOO_MANY = {
    "active": "the requester holds as many valid certificates as it may",
    "per_requester": "too many certificates to this requester were issued lately",
    "per_profile": "too many certificates of this kind were issued lately",
}


@dataclass(frozen=True, slots=True)
class RefusedAttempt:
    """A request that is refused before there is anything for a policy to judge.

    Attributes:
        endpoint: where it came in.
        problem: why.
        requester: who asked, as far as is known; unproven.
        address: the peer's IP address.
        transaction: the protocol's own identifier.
        csr: the certification request, if it could be read.
    """

    endpoint: EndpointName
    problem: Problem
    requester: str | None = None
    address: str | None = None
    transaction: str | None = None
    csr: Csr | None = None


class Refusals:
    """Records refusals, and forgets the oldest of them now and then.

    Attributes:
        store: the record.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._count = 0

    async def record(self, refusal: Refusal) -> Refused:
        """Record a refusal and return it. Never raises: a full disk is only logged."""
        refused = Refused(refusal.problem, refusal.request_id)
        try:
            await self._store.write_together(requests.record_refusals, refusal)
            self._count += 1
            if self._count % _FORGET_EVERY == 0:
                await self._store.write(requests.forget_refusals)
        except Exception as error:
            log.exception("refusal_not_recorded", reason=refusal.problem.reason, detail=str(error))
        return refused


def of_attempt(request_id: str, attempt: RefusedAttempt, at: datetime) -> Refusal:
    """Return the record of a refusal that comes before the policy; what nobody has proven is cut where it is long."""
    csr = attempt.csr.der if attempt.csr is not None else None
    problem = attempt.problem
    return Refusal(
        request_id=request_id,
        endpoint=attempt.endpoint,
        problem=replace(problem, detail=_short(problem.detail)),
        at=at,
        requester=attempt.requester and _short(attempt.requester),
        address=attempt.address,
        transaction=attempt.transaction and _short(attempt.transaction),
        csr=csr if csr is None or len(csr) <= _LARGEST_CSR_OF_REFUSED else None,
    )


def _short(text: str) -> str:
    longest = _LONGEST_TEXT_OF_REFUSED
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def of_request(request_id: str, request: EnrollmentRequest, verdict: No) -> Refusal:
    """Return the record of a request that was judged, with what it takes to judge it again."""
    return Refusal(
        request_id=request_id,
        endpoint=request.endpoint,
        problem=verdict.problem,
        at=request.now,
        kind=request.kind,
        profile=verdict.profile or request.profile,
        requester=request.requester.identity,
        address=request.requester.address,
        transaction=request.transaction,
        csr=request.csr.der,
        renews=request.renewed.serial if request.renewed else None,
        asked=write_asked(request),
        policy_digest=verdict.policy_digest,
    )


def no_room(found: Spent | Crowded | OverQuota | Withdrawn | Compromised, plan: CertificatePlan) -> No:
    """Return the refusal of what another request, perhaps in the same instant, left nothing or no room for."""
    match found:
        case Spent():
            problem = _SPENT
        case Crowded():
            problem = _CROWDED
        case Withdrawn():
            problem = WITHDRAWN
        case Compromised():
            problem = COMPROMISED
        case OverQuota(limit):
            problem = denied((Finding("quota", _TOO_MANY[limit], Location(f"profile {plan.profile}", 1, 1)),))
        case _:
            assert_never(found)
    return No(problem, plan.profile, plan.policy_digest)
