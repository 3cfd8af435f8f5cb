"""The door itself: what protocols and administrators ask of it. It never raises where it returns an outcome."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from server.audit import Action, AuditEvent
from server.enrollment.in_flight import InFlight
from server.enrollment.judgement import Judge, No
from server.enrollment.refusals import Refusals, of_attempt
from server.enrollment.submission import Submission
from server.enrollment.waiting import Waiting
from server.issuance import Issuance, store_unavailable
from server.outcome import Issued, Problem, Reason, Refused
from server.store import StoreUnavailable, certificates, leases, requests, revocations
from server.store.approvals import Vote, Voter
from server.store.claims import key_of
from server.store.requests import State
from server.store.revocations import Revocation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from cryptography import x509

    from ca.issuer import Issuer
    from ca.lint import Linter
    from ca.plan import CertificatePlan
    from policies.decision import Decision
    from policies.request import EnrollmentRequest
    from server.clock import Clock
    from server.enrollment.refusals import RefusedAttempt
    from server.outcome import Outcome
    from server.store import Store
    from server.store.certificates import RevocationOutcome
    from server.store.claims import Companion, Lease
    from server.store.requests import StoredRequest
    from server.store.revocations import ReleaseOutcome

_RECOVERED_AT_ONCE = 100
"""A start that finds a CA dead must not wait for it once for each request that was under way."""


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
        replay: for how long the same key is answered with the same certificate, while no more than half of its life is
            gone.
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
        self._clock = clock
        self._serial_number = serial_number
        self._request_id = request_id
        self._judge = Judge(decide, issuers, linter, gather, amend)
        self._refusals = Refusals(store)
        self._issuance = Issuance(store, issuers, clock, lease=lease, replay=replay, sample=sample)
        self._submission = Submission(
            store,
            self._judge,
            self._refusals,
            self._issuance,
            serial_number=serial_number,
            request_id=request_id,
            patience=patience,
        )
        self._waiting = Waiting(store, self._judge, self._issuance, clock, serial_number)
        self._in_flight = InFlight()

    async def submit(self, request: EnrollmentRequest, companion: Companion | None = None) -> Outcome:
        """Decide a request and, when the policy approves, issue the certificate. Never raises for any failure.

        The same key again gives the same certificate for as long as `replay` says, and joins the work when that is
        still going on. The work goes on when the caller is cancelled.

        Args:
            request: what is asked for.
            companion: what the protocol records of its own. When the outcome is Issued, it has been recorded with it,
                or the companion of who asked for the same first.
        """
        key = key_of(request)
        return await self._in_flight.once(key, lambda: self._submission.submit(request, key, companion))

    def chain(self, issuer: str) -> tuple[x509.Certificate, ...]:
        """Return the chain of the issuer with this name, its own certificate first; empty for an unknown one."""
        return self._issuance.chain(issuer)

    def lease(self) -> Lease:
        """Return the claim of this process on intents, from now; it tells whether another still works on one."""
        return self._issuance.lease()

    async def foresee(self, request: EnrollmentRequest) -> Problem | None:
        """Return why a request would be refused, None when it would not. Nothing is recorded."""
        if self._judge.gather is not None:
            request = await self._judge.gather(request)
        verdict = self._judge.judge(request, self._serial_number())
        return verdict.problem if isinstance(verdict, No) else None

    async def refuse(self, attempt: RefusedAttempt) -> Refused:
        """Record a refusal that comes before the policy and return it. Never raises: a full disk is only logged."""
        return await self._refusals.record(of_attempt(self._request_id(), attempt, self._clock()))

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
            return await self._waiting.still(request_id)
        key = row.key
        return await self._in_flight.once(key, lambda: self._go_on(row, key))

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
        try:
            vote = await self._waiting.vote(request_id, Voter(by, roles))
        except StoreUnavailable as error:
            return store_unavailable(error)
        if vote in {Vote.ENOUGH, Vote.COUNTED, Vote.LATE}:
            return await self.poll(request_id)
        if vote is Vote.NOT_WAITING:
            return await self._not_pending(request_id)
        return Refused(Problem(Reason.CONFLICT, "The approval does not count.", detail=vote.value), request_id)

    async def reject(self, request_id: str, by: str, why: str) -> Outcome:
        """Refuse a pending request. `why` is for administrators; the requester gets a constant."""
        try:
            refused = await self._waiting.reject(request_id, by, why)
        except StoreUnavailable as error:
            return store_unavailable(error)
        return await self._not_pending(request_id) if refused is None else refused

    async def turn_away(self, request_id: str, problem: Problem) -> Outcome:
        """Refuse a request that waits for a person, and no person says so: what it has used up is good again."""
        return await self._waiting.turn_away(request_id, problem)

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
            reason: the CRLReason; ``certificateHold`` can be undone by `release`, or become final, and any other can
                become ``keyCompromise``.
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

    async def recover(self, *, abandoned: bool = False) -> int:
        """Finish what was left half-done, by processes that died or for want of a store or CA; at start and later.

        Args:
            abandoned: whether a CA that asked for time is asked for the outcome, too, where nobody has come for it
                lately: what is never asked for would count as under way for ever. Not for a start, which would wait.

        Returns how many there were.

        Raises:
            StoreUnavailable: the record can't be read.
        """
        lease = self._issuance.lease()
        left = await self._store.read(lambda c: leases.interrupted(c, lease, abandoned=abandoned))
        gate = asyncio.Semaphore(_RECOVERED_AT_ONCE)

        async def finish(request_id: str) -> None:
            async with gate:
                await self.poll(request_id)

        await asyncio.gather(*map(finish, left))
        return len(left)

    async def drain(self) -> None:
        """Return when nothing is going on any more."""
        await self._in_flight.drain()

    async def _go_on(self, row: StoredRequest, key: bytes) -> Outcome:
        """Go on with a request of the record: left half-done, or approved by a person."""
        if row.state is State.INTENDED:
            return await self._issuance.resume(row.id)
        return await self._waiting.release(row, key)

    async def _not_pending(self, request_id: str) -> Outcome:
        outcome = await self.poll(request_id)
        if isinstance(outcome, Refused) and outcome.problem.reason is Reason.UNKNOWN_REQUEST:
            return outcome
        return Refused(Problem(Reason.CONFLICT, "The request does not wait for approval."), request_id)
