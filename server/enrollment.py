"""The one door to the signer: every certificate of every protocol, renewals and approvals included, comes through here.

Decide, lint, write the intent; then `server.issuance` signs, compares and records; then the answer leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

import structlog

from policies.decision import Approved, Deferred, Denied, Finding, Location
from policies.request import NO_FACTS
from server import possession
from server.audit import Action, AuditEvent
from server.cohort import next_step
from server.issuance import TAKEN_RETRY, Issuance, internal, store_unavailable
from server.outcome import Issued, Pending, Problem, Reason, Refused
from server.store import StoreUnavailable, approvals, certificates, intents, requests, revocations
from server.store.approvals import Vote, Voter
from server.store.intents import (
    AlreadyIssued,
    AwaitsApproval,
    Claim,
    Crowded,
    Granted,
    OverQuota,
    Rejected,
    Spent,
    Taken,
    Withdrawn,
)
from server.store.requests import Refusal, State, StoredRequest
from server.store.revocations import Revocation
from server.store.values import read_question, write_asked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from datetime import datetime

    from cryptography import x509

    from ca.csr import Csr
    from ca.issuer import Issuer
    from ca.lint import Linter
    from ca.plan import CertificatePlan
    from policies.decision import Decision
    from policies.request import EndpointName, EnrollmentRequest
    from server.clock import Clock
    from server.outcome import Outcome
    from server.store import Store
    from server.store.certificates import RevocationOutcome
    from server.store.intents import Companion
    from server.store.revocations import ReleaseOutcome

log = structlog.get_logger()

APPROVAL_RETRY = 60
"""Seconds after which asking again makes sense when a person must act."""

_LARGEST_CSR_OF_REFUSED = 8192
"""Anyone can be refused, so the record of a refusal must stay small."""
_RECOVERED_AT_ONCE = 100
"""A start that finds a CA dead must not wait for it once for each request that was under way."""
_FORGET_EVERY = 1000
"""After so many refusals of this process the oldest are forgotten."""
_CROWDED = Problem(Reason.RATE_LIMITED, "Too many requests wait for approval.", retry_after=APPROVAL_RETRY)
_WITHDRAWN = Problem(Reason.CERTIFICATE_REJECTED, "The certificate that the request came with, or renews, was revoked.")
_SPENT = Problem(Reason.BAD_CREDENTIALS, "The one-time password was used before.")


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


@dataclass(frozen=True, slots=True)
class _No:
    """The request is not to be granted."""

    problem: Problem
    profile: str | None = None
    policy_digest: str | None = None


class Enrollment:
    """The door.

    Attributes:
        store: the record.
        decide: the policy; pure.
        gather: returns the request with what its profile wants to know besides; None: nothing is gathered.
        issuers: by configured name.
        linter: the pre-signing lint.
        clock: the time.
        serial_number: gives unpredictable positive numbers of at most 20 octets.
        request_id: gives unique identifiers.
        lease: for how long an intent belongs to the process that works on it; longer than any issuer takes.
        replay: for how long the same key is answered with the same certificate.
        amend: adds to a plan what depends on its issuer and serial number, such as the shard of its revocation list.
        patience: for how long a duplicate waits for another process that works on the same.
        sample: is offered the profile and DER of each new certificate; None: nobody is.
    """

    def __init__(
        self,
        *,
        store: Store,
        decide: Callable[[EnrollmentRequest], Decision],
        issuers: Mapping[str, Issuer],
        linter: Linter,
        clock: Clock,
        serial_number: Callable[[], int],
        request_id: Callable[[], str],
        gather: Callable[[EnrollmentRequest], Awaitable[EnrollmentRequest]] | None = None,
        lease: timedelta = timedelta(seconds=10),
        replay: timedelta = timedelta(hours=24),
        amend: Callable[[CertificatePlan, int], CertificatePlan] | None = None,
        patience: timedelta = timedelta(seconds=12),
        sample: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._store = store
        self._decide = decide
        self._gather = gather
        self._issuers = issuers
        self._linter = linter
        self._clock = clock
        self._serial_number = serial_number
        self._request_id = request_id
        self._issuance = Issuance(store, issuers, clock, lease=lease, replay=replay, sample=sample)
        self._amend = amend
        self._patience = patience
        self._running: dict[bytes, asyncio.Task[Outcome]] = {}
        self._refusals = 0

    async def submit(self, request: EnrollmentRequest, companion: Companion | None = None) -> Outcome:
        """Decide a request and, when the policy approves, issue the certificate. Never raises for any failure.

        The same key again gives the same certificate for as long as `replay` says, and joins the work when that is
        still going on. The work goes on when the caller is cancelled.

        Args:
            request: what is asked for.
            companion: what the protocol records of its own. When the outcome is Issued, it has been recorded with it,
                or the companion of who asked for the same first.
        """
        key = hashlib.sha256(request.key.encode("utf-8", "surrogatepass")).digest()
        return await self._once(key, lambda: self._submit(request, key, companion))

    def chain(self, issuer: str) -> tuple[x509.Certificate, ...]:
        """Return the chain of the issuer with this name, its own certificate first; empty for an unknown one."""
        return self._issuance.chain(issuer)

    async def foresee(self, request: EnrollmentRequest) -> Problem | None:
        """Return why a request would be refused, None when it would not. Nothing is recorded."""
        if self._gather is not None:
            request = await self._gather(request)
        verdict = self._judge(request, self._serial_number())
        return verdict.problem if isinstance(verdict, _No) else None

    async def refuse(self, attempt: RefusedAttempt) -> Refused:
        """Record a refusal that comes before the policy and return it. Never raises: a full disk is only logged."""
        csr = attempt.csr.der if attempt.csr is not None else None
        return await self._refuse(
            Refusal(
                request_id=self._request_id(),
                endpoint=attempt.endpoint,
                problem=attempt.problem,
                at=self._clock(),
                requester=attempt.requester,
                address=attempt.address,
                transaction=attempt.transaction,
                csr=csr if csr is None or len(csr) <= _LARGEST_CSR_OF_REFUSED else None,
            )
        )

    async def poll(self, request_id: str) -> Outcome:
        """Return where a request stands; issue the certificate if a person has approved or a process died over it."""
        try:
            row = await self._store.read(lambda connection: requests.find_request(connection, request_id))
            if row is None:
                return Refused(Problem(Reason.UNKNOWN_REQUEST, "Nothing is known of this request."))
            if row.state is State.ISSUED:
                stored = await self._store.read(lambda connection: certificates.find_by_request(connection, request_id))
                if stored is not None:
                    return Issued(stored.der, self._issuance.chain(stored.issuer), request_id)
        except StoreUnavailable as error:
            return store_unavailable(error)
        if row.problem is not None:
            return Refused(row.problem, request_id)
        if row.key is None or (row.state is State.PENDING and row.approved_by is None):
            return await self._still_waiting(request_id)
        key = row.key
        return await self._once(key, lambda: self._take_up(row, key))

    async def find(self, request_id: str) -> StoredRequest | None:
        """Return a request of the record, for those protocols that must know whose it is. Raises StoreUnavailable."""
        return await self._store.read(lambda connection: requests.find_request(connection, request_id))

    async def approve(self, request_id: str, by: str, roles: frozenset[str] = frozenset()) -> Outcome:
        """Approve a pending request. The policy judges it again, now: an approval can't outlive the rules.

        Args:
            request_id: the request.
            by: who approves, for the record.
            roles: the roles of who approves.

        Returns:
            What `poll` returns when the approval counts; else a refusal that says why it does not.
        """
        now = self._clock()
        event = AuditEvent(now, Action.APPROVED, by, request_id).row()
        voter = Voter(by, roles)
        try:
            vote = await self._store.write(lambda c: approvals.vote(c, request_id, voter, now, event))
        except StoreUnavailable as error:
            return store_unavailable(error)
        if vote in {Vote.ENOUGH, Vote.COUNTED, Vote.LATE}:
            return await self.poll(request_id)
        if vote is Vote.NOT_WAITING:
            return await self._not_pending(request_id)
        return Refused(Problem(Reason.CONFLICT, "The approval does not count.", detail=vote.value), request_id)

    async def _still_waiting(self, request_id: str) -> Outcome:
        """Return that a person must approve, or refuse what nobody approved in time."""
        now = self._clock()
        try:
            if not await self._store.read(lambda c: approvals.is_late(c, request_id, now)):
                return Pending(request_id, APPROVAL_RETRY)
        except StoreUnavailable as error:
            return store_unavailable(error)
        return await self.turn_away(request_id, Problem(Reason.POLICY, intents.LATE["message"]))

    async def turn_away(self, request_id: str, problem: Problem) -> Outcome:
        """Refuse a request that waits for a person, and no person says so: what it has used up is good again."""
        now = self._clock()
        event = AuditEvent(now, Action.FAILED, "certwright", request_id, detail=problem.message).row()
        try:
            await self._store.write(lambda c: requests.refuse_pending(c, request_id, problem, now, event))
        except StoreUnavailable as error:
            return store_unavailable(error)
        return Refused(problem, request_id)

    async def reject(self, request_id: str, by: str, why: str) -> Outcome:
        """Refuse a pending request. `why` is for administrators; the requester gets a constant."""
        now = self._clock()
        problem = Problem(Reason.POLICY, requests.REJECTED, detail=f"{by}: {why}")
        event = AuditEvent(now, Action.REJECTED, by, request_id, detail=why).row()
        try:
            done = await self._store.write(lambda c: requests.reject(c, request_id, problem, now, event))
        except StoreUnavailable as error:
            return store_unavailable(error)
        return Refused(problem, request_id) if done else await self._not_pending(request_id)

    async def revoke(
        self,
        serial: int,
        reason: x509.ReasonFlags,
        by: str,
        at: datetime | None = None,
        invalid_since: datetime | None = None,
    ) -> RevocationOutcome:
        """Revoke a certificate: at once for whoever authenticates with it, soon in revocation lists.

        Args:
            serial: its serial number.
            reason: the CRLReason; ``certificateHold`` can be undone by `release`, or become final.
            by: who asks, for the record.
            at: since when, aware UTC; None for now.
            invalid_since: since when it should not have been trusted, None when that is not known.

        Raises:
            StoreUnavailable: nothing was recorded, so nothing is revoked.
        """
        now = self._clock()
        event = AuditEvent(now, Action.REVOKED, by, serial=serial, detail=reason.value).row()
        revocation = Revocation(serial, reason, at or now, invalid_since)
        return await self._store.write(lambda c: revocations.revoke(c, revocation, event))

    async def release(self, serial: int, by: str) -> ReleaseOutcome:
        """Make a certificate good again that is on hold. Raises StoreUnavailable."""
        now = self._clock()
        event = AuditEvent(now, Action.RELEASED, by, serial=serial).row()
        return await self._store.write(lambda c: revocations.release(c, serial, now, event))

    async def recover(self) -> int:
        """Finish what was left half-done, by processes that died or for want of a store or CA; at start and later.

        Returns how many there were.

        Raises:
            StoreUnavailable: the record can't be read.
        """
        left = await self._store.read(lambda connection: intents.interrupted(connection, self._issuance.lease()))
        gate = asyncio.Semaphore(_RECOVERED_AT_ONCE)

        async def finish(request_id: str) -> None:
            async with gate:
                await self.poll(request_id)

        await asyncio.gather(*map(finish, left))
        return len(left)

    async def drain(self) -> None:
        """Return when nothing is going on any more."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def _once(self, key: bytes, work: Callable[[], Coroutine[None, None, Outcome]]) -> Outcome:
        """Run the work in a task that outlives its callers; who comes with the same key meanwhile gets its outcome."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._guarded(work))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key))
        return await asyncio.shield(task)

    async def _guarded(self, work: Callable[[], Coroutine[None, None, Outcome]]) -> Outcome:
        try:
            return await work()
        except StoreUnavailable as error:
            return store_unavailable(error)
        except Exception as error:
            log.exception("enrollment_failed")
            return Refused(internal(repr(error)))

    async def _submit(self, request: EnrollmentRequest, key: bytes, companion: Companion | None) -> Outcome:
        if request.csr.statement is not None:
            problem = await possession.objection(self._store, request.csr, request.now)
            if problem is not None:
                return await self._refuse(_refusal(self._request_id(), request, _No(problem)))
        serial = self._serial_number()
        if self._gather is not None:
            request = await self._gather(request)
        await next_step()
        verdict = self._judge(request, serial)
        if isinstance(verdict, _No):
            return await self._refuse(_refusal(self._request_id(), request, verdict))
        await next_step()
        try:
            return await self._claim(request, key, verdict, serial, companion)
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("enrollment_failed")
            return await self._refuse(_refusal(self._request_id(), request, _No(internal(repr(error)))))

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
                case Spent() | Crowded() | OverQuota() | Withdrawn():
                    return await self._refuse(_refusal(request_id, request, _no_room(claimed, verdict.plan)))
                case Taken():
                    if loop.time() >= until:
                        return Pending(claimed.request_id, TAKEN_RETRY)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.5)
                case _:
                    assert_never(claimed)

    def _judge(self, request: EnrollmentRequest, serial: int) -> Approved | Deferred | _No:
        """Ask the policy, then lint what it would have signed. An error is a no."""
        try:
            decision = self._decide(request)
            for shadow in decision.trace.shadows:
                who, place = request.requester.identity, str(shadow.location)
                log.warning("shadow_rule_would_deny", rule=shadow.rule, where=place, requester=who)
            if isinstance(decision, Denied):
                trace = decision.trace
                return _No(_denied(decision.findings), trace.profile or None, trace.policy_digest)
            if self._amend is not None:
                decision = decision._replace(plan=self._amend(decision.plan, serial))
            plan = decision.plan
            issuer = self._issuers[plan.issuer].chain()[0]
            found = self._linter.lint(plan, serial, issuer, full=decision.full_lint)
        except Exception as error:
            log.exception("decision_failed")
            return _No(internal(f"decision: {error!r}"))
        if not found:
            return decision
        where = Location(f"profile {plan.profile}", 1, 1)
        message = "The certificate would break a rule of X.509."
        findings = tuple(Finding("lint", message, where, value=str(one)) for one in found)
        return _No(_denied(findings), plan.profile, plan.policy_digest)

    async def _take_up(self, row: StoredRequest, key: bytes) -> Outcome:
        """Go on with a request of the record: approved by a person, or left half-done."""
        if row.state is State.INTENDED:
            return await self._issuance.resume(row.id)
        now, serial = self._clock(), self._serial_number()
        request = read_question(row.question or "", key.hex(), now)
        if self._gather is not None:
            request = await self._gather(replace(request, facts=NO_FACTS))
        verdict = self._judge(request, serial)
        if isinstance(verdict, _No):
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
            return await self.turn_away(row.id, _WITHDRAWN)
        if isinstance(started, OverQuota):
            return Refused(_no_room(started, verdict.plan).problem, row.id)
        return await self._issuance.go_on(started)

    async def _not_pending(self, request_id: str) -> Outcome:
        outcome = await self.poll(request_id)
        if isinstance(outcome, Refused) and outcome.problem.reason is Reason.UNKNOWN_REQUEST:
            return outcome
        return Refused(Problem(Reason.CONFLICT, "The request does not wait for approval."), request_id)

    async def _refuse(self, refusal: Refusal) -> Refused:
        refused = Refused(refusal.problem, refusal.request_id)
        try:
            await self._store.write_together(requests.record_refusals, refusal)
            self._refusals += 1
            if self._refusals % _FORGET_EVERY == 0:
                await self._store.write(requests.forget_refusals)
        except Exception as error:
            log.exception("refusal_not_recorded", reason=refusal.problem.reason, detail=str(error))
        return refused


_TOO_MANY = {
    "active": "the requester holds as many valid certificates as it may",
    "per_requester": "too many certificates to this requester were issued lately",
    "per_profile": "too many certificates of this kind were issued lately",
}


def _no_room(found: Spent | Crowded | OverQuota | Withdrawn, plan: CertificatePlan) -> _No:
    """Return the refusal of what another request, perhaps in the same instant, left nothing or no room for."""
    match found:
        case Spent():
            problem = _SPENT
        case Crowded():
            problem = _CROWDED
        case Withdrawn():
            problem = _WITHDRAWN
        case OverQuota(limit):
            problem = _denied((Finding("quota", _TOO_MANY[limit], Location(f"profile {plan.profile}", 1, 1)),))
        case _:
            assert_never(found)
    return _No(problem, plan.profile, plan.policy_digest)


def _denied(findings: tuple[Finding, ...]) -> Problem:
    messages = dict.fromkeys(finding.message for finding in findings)
    return Problem(Reason.POLICY, " ".join(messages) or "The policy does not allow this.", findings)


def _refusal(request_id: str, request: EnrollmentRequest, verdict: _No) -> Refusal:
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
