"""Validations in the background: attempts with pauses, taken up again when the process that made them dies.

The record says of each validation when anybody may take it up. A process that works on one keeps pushing that time
ahead of itself; when it dies, the time comes, and whoever looks next goes on (section 8.2).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import structlog

from policies.request import account_identity
from server.acme import states
from server.acme.codec.replies import problem_object
from server.acme.messages import (
    Authorization,
    AuthorizationStatus,
    ChallengeStatus,
    ErrorType,
    ProblemDocument,
    Rejected,
    Subproblem,
)
from server.acme.problems import reason_of
from server.acme.records import authorizations, orders
from server.acme.service.attempts import attempt_at
from server.acme.service.limits import Limiter
from server.acme.service.orders import lost
from server.enrollment import RefusedAttempt
from server.outcome import Problem
from server.rounds import again_and_again

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import sqlalchemy as sa

    from server.acme.challenges.failure import ValidationFailed
    from server.acme.messages import Attempt, Challenge, Identifier
    from server.acme.service.endpoint import AcmeEndpoint

log = structlog.get_logger()

_AT_ONCE = 128
_AT_ONCE_FOR_ONE = 32
"""Of one account: whose hosts swallow every packet must not keep others from being validated."""
_MOST = 4096
"""Validations that this process keeps in mind; more wait in the record until there is room."""
_SWEEP_LIMIT = 100
_MIN_PAUSE = 1.0
_LOOK_AGAIN = 2


@dataclass(slots=True)
class _Running:
    """A validation that this process works on: since when it is its own, its task, and two signals."""

    since: datetime
    """When the time was set, or will be, at which others may take it up."""
    task: asyncio.Task[None] | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after each attempt."""
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client asks not to wait for the next one."""
    latest: Authorization | None = None
    """How the last attempt left the authorization; None when it is not known, such as when it was given back."""


class Validation:
    """Validates challenges that clients have answered. Start it before, stop it after serving."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint
        self._limiter = Limiter(endpoint)
        self._running: dict[str, _Running] = {}
        self._busy: dict[str, int] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for validations that were left behind."""
        if self._sweeper is None:
            pause = self._endpoint.timing.sweep
            self._sweeper = asyncio.create_task(again_and_again(self._sweep, pause, "acme_validation_sweep_failed"))

    async def stop(self) -> None:
        """Stop; what is not finished is given back, so that the next process, or another one, takes it up at once."""
        tasks, left = [each.task for each in self._running.values() if each.task is not None], tuple(self._running)
        if self._sweeper is not None:
            tasks.append(self._sweeper)
            self._sweeper = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if left:
            try:
                await self._endpoint.write(lambda c: authorizations.keep(c, left, self._endpoint.clock()))
            except Rejected as error:  # it is taken up when its lease has run out
                log.warning("acme_validations_not_given_back", detail=error.document.detail)

    def start_attempts(self, authorization: Authorization) -> None:
        """Work on an authorization with a processing challenge, unless that goes on already.

        Where there is no room for it, it is taken up when there is, and its lease has run out.
        """
        if authorization.id in self._running or len(self._running) >= _MOST:
            return
        whose = _whose(authorization)
        self._busy[whose] = self._busy.get(whose, 0) + 1
        running = _Running(self._endpoint.clock())
        self._running[authorization.id] = running
        running.task = asyncio.create_task(self._run(authorization, running))
        # Not at the end of the task itself: one that is cancelled before its first step never gets there.
        running.task.add_done_callback(lambda _: self._ended(authorization, running))

    def _ended(self, authorization: Authorization, running: _Running) -> None:
        running.settled.set()
        del self._running[authorization.id]
        whose = _whose(authorization)
        if others := self._busy.pop(whose) - 1:
            self._busy[whose] = others

    async def decide(self, authorization: Authorization, failure: ValidationFailed | None) -> None:
        """Record how a challenge went that was judged where it was answered, unless it was decided meanwhile."""
        challenge = next(each for each in authorization.challenges if each.status == ChallengeStatus.PROCESSING)
        if failure is None:
            await self._endpoint.write(lambda c: self._validated(c, authorization, challenge))
            return
        problem = ProblemDocument(failure.error, failure.detail)
        changed = _with(authorization, challenge._replace(error=problem_object(problem)))
        tried = authorization._replace(attempts=authorization.attempts + 1, challenges=changed)
        await self._endpoint.write(lambda c: self._failed(c, tried, problem))
        await self._record(tried, problem)

    def hurry(self, authorization: str) -> None:
        """Make the next attempt now rather than later: the client asked again (section 8.2)."""
        if running := self._running.get(authorization):
            running.hurry.set()

    def cancel(self, authorization: str) -> None:
        """Stop working on an authorization."""
        running = self._running.get(authorization)
        if running is not None and running.task is not None:
            running.task.cancel()

    def is_busy_for(self, authorization: Authorization) -> bool:
        """Say whether another authorization of the same order is worked on; without order, of the account."""
        return _whose(authorization) in self._busy

    async def settle(self, authorization: str) -> Authorization | None:
        """Wait a moment for an attempt that is going on: the client is spared another poll.

        Returns how the attempt left the authorization, None when there was none or it needs longer.
        """
        running = self._running.get(authorization)
        if running is None:
            return None
        try:
            async with asyncio.timeout(self._endpoint.timing.settle):
                await running.settled.wait()
        except TimeoutError:
            return None
        return running.latest

    async def _sweep(self) -> None:
        try:
            await self._keep()
            await self._take_up()
        except Rejected as error:
            log.warning("acme_validation_sweep_failed", detail=error.document.detail)

    async def _keep(self) -> None:
        """Push the time ahead at which others may take up what takes long here, or waits for its turn."""
        now, lease = self._endpoint.clock(), self._endpoint.timing.attempt_lease
        old = {name: each for name, each in self._running.items() if now - each.since >= lease / 2}
        if old:
            await self._endpoint.write(lambda c: authorizations.keep(c, tuple(old), now + lease))
            for each in old.values():
                each.since = now

    async def _take_up(self) -> None:
        if len(self._running) >= _MOST:
            return
        now, lease = self._endpoint.clock(), self._endpoint.timing.attempt_lease
        # Twice what anybody sets ahead: clocks of several machines differ a little.
        latest = now + 2 * (lease + timedelta(seconds=max(self._endpoint.timing.retries, default=0)))
        due = authorizations.Due(str(self._endpoint.name), now, latest)
        if await self._endpoint.read(lambda c: authorizations.any_due(c, due)):
            claimed = await self._endpoint.write(lambda c: authorizations.claim_due(c, due, now + lease, _SWEEP_LIMIT))
            for each in claimed:
                self.start_attempts(each)

    async def _run(self, authorization: Authorization, running: _Running) -> None:
        try:
            current: Authorization | None = authorization
            while current is not None:
                current = running.latest = await self._attempt(current)
                if current is None or current.status != AuthorizationStatus.PENDING:
                    return
                running.since = self._endpoint.clock() + timedelta(seconds=self._retry_after(current))
                running.settled.set()
                await self._pause(current, running)
                running.settled.clear()
        except Rejected as error:
            # The store has trouble; the lease runs out and the sweep takes this up again.
            log.warning("acme_validation_postponed", authorization=authorization.id, detail=error.document.detail)
        except Exception:
            log.exception("acme_validation_failed", authorization=authorization.id)

    async def _pause(self, authorization: Authorization, running: _Running) -> None:
        pause = self._retry_after(authorization)
        await asyncio.sleep(min(_MIN_PAUSE, pause))
        try:
            async with asyncio.timeout(max(0.0, pause - _MIN_PAUSE)):
                await running.hurry.wait()
        except TimeoutError:
            return
        finally:
            running.hurry.clear()

    def _retry_after(self, authorization: Authorization) -> float:
        return self._endpoint.timing.retries[authorization.attempts - 1]

    def look_again(self, authorization: Authorization) -> int:
        """Return in how many seconds a processing challenge may have changed: after the next attempt (section 8.2)."""
        return max(_LOOK_AGAIN, math.ceil(self._retry_after(authorization)) + 1 if authorization.attempts else 0)

    def _share(self, account: str) -> asyncio.Semaphore:
        """Return the part of the slots that one account may have; it is forgotten when nobody holds it."""
        share = self._shares.get(account)
        if share is None:
            share = self._shares[account] = asyncio.Semaphore(_AT_ONCE_FOR_ONE)
        return share

    async def _attempt(self, authorization: Authorization) -> Authorization | None:
        """Try once and record how it went. Returns what came of it, still pending when it is to be tried again.

        None when there is nothing to try any more.
        """
        challenge = next((c for c in authorization.challenges if c.status == ChallengeStatus.PROCESSING), None)
        if challenge is None:
            return None
        async with self._share(authorization.account), self._slots:
            failure, attempt = await attempt_at(self._endpoint, authorization, challenge)
        if failure is None:
            return await self._endpoint.write(lambda c: self._validated(c, authorization, challenge, attempt))
        problem = ProblemDocument(failure.error, failure.detail)
        attempts, history = authorization.attempts + 1, (*authorization.history, attempt)
        error = _error(problem, history, authorization.identifier)
        challenges = _with(authorization, challenge._replace(error=error))
        tried = authorization._replace(attempts=attempts, challenges=challenges, history=history)
        if failure.final or attempts > len(self._endpoint.timing.retries):
            failed = await self._endpoint.write(lambda c: self._failed(c, tried, problem))
            await self._record(tried, problem)
            return failed
        seconds = self._retry_after(tried)
        until = self._endpoint.clock() + timedelta(seconds=seconds) + self._endpoint.timing.attempt_lease
        pending = (AuthorizationStatus.PENDING,)
        changed = await self._endpoint.write(lambda c: authorizations.change_authorization(c, tried, pending, until))
        return tried if changed else None

    def _validated(
        self, connection: sa.Connection, authorization: Authorization, challenge: Challenge, *attempts: Attempt
    ) -> Authorization | None:
        """Move challenge, authorization and, with the last one, the order: clients finalize the instant they see it.

        Returns the authorization as it is then, None when it was given back meanwhile.
        """
        status = states.advance(states.CHALLENGE, challenge.status, states.ChallengeEvent.VALIDATED)
        valid = challenge._replace(status=status, validated=self._endpoint.clock(), error=None)
        event = states.AuthorizationEvent.VALIDATED
        moved = states.advance(states.AUTHORIZATION, authorization.status, event)
        history = (*authorization.history, *attempts)
        done = authorization._replace(status=moved, challenges=_with(authorization, valid), history=history)
        if not authorizations.change_authorization(connection, done, states.sources(states.AUTHORIZATION, event)):
            return None
        self._limiter.succeeded(connection, done)
        ready = states.OrderEvent.AUTHORIZED
        sources = states.sources(states.ORDER, ready)
        orders.authorized(connection, done.order, sources, states.advance(states.ORDER, sources[0], ready))
        return done

    def _failed(
        self, connection: sa.Connection, tried: Authorization, problem: ProblemDocument
    ) -> Authorization | None:
        """Move challenges, authorization and order. Returns as `_validated`."""
        event = states.ChallengeEvent.FAILED
        challenges = tuple(
            each._replace(status=states.advance(states.CHALLENGE, each.status, event))
            if each.status == ChallengeStatus.PROCESSING
            else each
            for each in tried.challenges
        )
        failed = states.AuthorizationEvent.FAILED
        status = states.advance(states.AUTHORIZATION, tried.status, failed)
        done = tried._replace(status=status, challenges=challenges)
        if not authorizations.change_authorization(connection, done, states.sources(states.AUTHORIZATION, failed)):
            return None
        self._limiter.failed(connection, done)
        subproblem = Subproblem(problem.type, problem.detail, tried.identifier)
        lost(connection, tried, problem_object(replace(problem, subproblems=(subproblem,))))
        return done

    async def _record(self, tried: Authorization, problem: ProblemDocument) -> None:
        await self._endpoint.enrollment.refuse(
            RefusedAttempt(
                self._endpoint.name,
                Problem(reason_of(problem), f"{tried.identifier.value} was not validated: {problem.detail}"),
                requester=account_identity(tried.account),
                transaction=tried.order,
            )
        )


def _whose(authorization: Authorization) -> str:
    return authorization.order or authorization.account


def _error(problem: ProblemDocument, history: Sequence[Attempt], identifier: Identifier) -> dict[str, object]:
    """Return what a challenge shows: the last failure, and an entry for each when there were several (section 8.2)."""
    entries = tuple(Subproblem(ErrorType(each.error), each.detail, identifier) for each in history if each.error)
    return problem_object(replace(problem, subproblems=entries) if len(entries) > 1 else problem)


def _with(authorization: Authorization, changed: Challenge) -> tuple[Challenge, ...]:
    return tuple(changed if each.type == changed.type else each for each in authorization.challenges)
