"""From the intent on disk to the certificate on disk. Permits are made here and nowhere else.

The order is Boulder's: the intent is written, then signed, then compared, then recorded, then answered. A process that
dies in between leaves the intent behind; whoever takes it up signs the same plan under the same serial number.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never, cast

import structlog

from ca.check import PlanMismatch, check
from ca.issuer import (
    NO_LATITUDE,
    AnswerUnusable,
    IssuerPending,
    IssuerRefused,
    IssuerUnavailable,
    NothingSigned,
    Permit,
    RemoteIssuer,
)
from server.audit import Action, AuditEvent
from server.cohort import next_step
from server.outcome import Issued, Outcome, Pending, Problem, Reason, Refused
from server.store import StoreUnavailable, admission, leases, results
from server.store.claims import GIVEN_UP, AlreadyIssued, Compromised, Gone, Granted, Lease, Taken
from server.store.results import Failure, Result, SerialTaken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from cryptography import x509

    from ca.issuer import Issuer
    from server.clock import Clock
    from server.store import Store

log = structlog.get_logger()

TAKEN_RETRY = 5
"""Seconds after which asking again makes sense when another process is at work."""
STORE_RETRY = 10
ISSUER_RETRY = 30
WITHDRAWN = Problem(Reason.CERTIFICATE_REJECTED, "The certificate that the request came with, or renews, was revoked.")
_OVER = Problem(Reason.ISSUER_UNAVAILABLE, GIVEN_UP["message"])
COMPROMISED = Problem(
    Reason.POLICY, "A certificate with this key was revoked because the key was compromised: make a new key."
)


def internal(detail: str) -> Problem:
    """Return the problem for a fault of the server; the detail is for administrators."""
    return Problem(Reason.INTERNAL, "The server has an internal problem.", detail=detail, retry_after=ISSUER_RETRY)


def store_unavailable(error: StoreUnavailable) -> Refused:
    """Return the outcome when nothing can be recorded, and log why: there is no other record of it."""
    log.error("store_unavailable", detail=str(error))
    message = "The server can't record requests now."
    problem = Problem(Reason.STORE_UNAVAILABLE, message, detail=str(error), retry_after=STORE_RETRY)
    return Refused(problem)


@lru_cache(maxsize=32)
def _may_choose(kind: type[Issuer]) -> bool:
    """Whether issuers of this class are remote: asking for a protocol takes long, and every certificate asks."""
    return issubclass(kind, RemoteIssuer)


def _leaves_nothing(issuer: Issuer, granted: Granted, error: Exception) -> bool:
    """Whether there can't be a certificate when an issuer fails so: then what the request has spent is given back.

    What is signed here and not recorded is gone. A CA elsewhere keeps what it signs, and knows it again: its no to what
    it was asked before, and has not answered, may be for that reason.
    """
    if not _may_choose(type(issuer)):
        return True
    if isinstance(error, AnswerUnusable) or not isinstance(error, IssuerRefused):
        return False
    return not granted.resumed or isinstance(error, NothingSigned)


class Issuance:
    """Signs what was granted.

    Attributes:
        store: the record.
        issuers: by configured name.
        clock: the time.
        lease: for how long an intent belongs to the process that works on it; longer than any issuer takes.
        replay: for how long the same key is answered with the same certificate.
        sample: is offered the profile and DER of each certificate that is on record; None: nobody is.
    """

    def __init__(
        self,
        store: Store,
        issuers: Mapping[str, Issuer],
        clock: Clock,
        *,
        lease: timedelta,
        replay: timedelta,
        sample: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._sample = sample
        self._store = store
        self._issuers = issuers
        self._clock = clock
        self._lease = lease
        self._replay = replay
        self._owner = secrets.token_hex(16)
        self._here = frozenset(name for name, issuer in issuers.items() if not _may_choose(type(issuer)))

    def lease(self) -> Lease:
        """Return this process's claim on what it works on, from now."""
        now = self._clock()
        return Lease(self._owner, now, now + self._lease, now - self._replay, self._here)

    def chain(self, issuer: str) -> tuple[x509.Certificate, ...]:
        """Return an issuer's chain, nothing for one that is not configured any more."""
        known = self._issuers.get(issuer)
        return () if known is None else known.chain()

    def answer(self, issued: AlreadyIssued) -> Issued:
        """Return the outcome for a certificate of the record."""
        return Issued(issued.der, self.chain(issued.issuer), issued.request_id)

    async def resume(self, request_id: str) -> Outcome:
        """Take up an intent that was left half-done. Raises StoreUnavailable."""
        return await self.go_on(await self._store.write(lambda c: leases.resume(c, request_id, self.lease())))

    async def go_on(self, taken: Granted | Taken | Gone) -> Outcome:
        """Sign what was granted. Raises StoreUnavailable."""
        match taken:
            case Granted():
                return await self.perform(taken)
            case Taken() | Gone():
                return Pending(taken.request_id, TAKEN_RETRY)
            case _:
                assert_never(taken)

    async def perform(self, granted: Granted) -> Outcome:
        """Sign, compare, record.

        Raises:
            StoreUnavailable: the certificate, if there is one, has gone nowhere; the intent stays on record.
        """
        if granted.resumed:
            lapsed = await self._lapsed(granted)
            if lapsed is not None:
                return lapsed
        plan, serial = granted.plan, granted.serial
        issuer = self._issuers.get(plan.issuer)
        if issuer is None:
            missing = internal(f"no issuer {plan.issuer!r} is configured")
            return await self._fail(granted, missing, gives_back=not granted.resumed)
        certificate = await self._ask(issuer, granted)
        if not isinstance(certificate, bytes):
            return certificate
        await next_step()
        try:
            latitude = cast("RemoteIssuer", issuer).latitude() if _may_choose(type(issuer)) else NO_LATITUDE
            given = check(plan, serial, certificate, issuer.chain()[0], latitude)
        except PlanMismatch as error:
            return await self._fail(granted, internal(f"not what was planned: {error}"), quarantined=certificate)
        await next_step()
        return await self._record(granted, certificate, given)

    async def _lapsed(self, granted: Granted) -> Refused | None:
        """Close an intent that was left half-done if it may be finished no more, whatever a CA elsewhere made of it."""
        is_here = granted.plan.issuer in self._here
        if granted.plan.not_after <= self._clock():  # it would be signed for nothing
            return await self._fail(granted, _OVER, gives_back=is_here)
        found = await self._store.read(lambda c: admission.lapsed(c, granted))
        if found is None:
            if granted.reference is None:
                log.warning("intent_resumed", request_id=granted.request_id, serial=format(granted.serial, "x"))
            return None
        problem = COMPROMISED if isinstance(found, Compromised) else WITHDRAWN
        return await self._fail(granted, problem, gives_back=is_here)

    async def _ask(self, issuer: Issuer, granted: Granted) -> bytes | Outcome:
        plan, serial = granted.plan, granted.serial
        try:
            permit = Permit(granted.request_id, plan, serial, granted.csr, granted.reference, granted.renews)
            return await issuer.issue(permit, plan, serial)
        except IssuerPending as pending:
            return await self._wait(granted, pending)
        except IssuerUnavailable as error:
            return await self._postpone(granted, error)
        except IssuerRefused as error:
            refused = Problem(Reason.ISSUER_REFUSED, "The certification authority has refused.", detail=str(error))
            return await self._fail(granted, refused, gives_back=_leaves_nothing(issuer, granted, error))
        except Exception as error:
            log.exception("issuer_failed", request_id=granted.request_id)
            broken = internal(f"issuer {plan.issuer!r}: {error!r}")
            return await self._fail(granted, broken, gives_back=_leaves_nothing(issuer, granted, error))

    async def _record(self, granted: Granted, der: bytes, serial: int) -> Outcome:
        now = self._clock()
        event = AuditEvent(now, Action.ISSUED, granted.requester, granted.request_id, serial)
        result = Result(granted, self._owner, der, hashlib.sha256(der).digest(), now, event.row(), serial)
        recorded = await self._store.write_together(results.record, result)
        if isinstance(recorded, Gone):
            return Refused(internal("the intent was closed while it was signed"), granted.request_id)
        if isinstance(recorded, SerialTaken):
            clash = internal(f"another certificate has the serial number {serial:x} that the CA has given")
            return await self._fail(granted, clash, quarantined=der)
        if serial != granted.serial and recorded.der != der:
            # Nobody has it, but the CA elsewhere that has signed it may count it among its own.
            log.warning("certificate_dropped", request_id=granted.request_id, serial=format(serial, "x"))
        if self._sample is not None:
            self._sample(granted.plan.profile, der)
        return self.answer(recorded)

    async def _wait(self, granted: Granted, pending: IssuerPending) -> Pending:
        """Leave the intent with a CA that needs time; whoever asks again resumes it with the CA's reference."""
        log.info("issuer_pending", request_id=granted.request_id, reference=pending.reference[:200])
        await self._store.write(
            lambda c: leases.leave_with_issuer(c, granted.request_id, self.lease(), pending.reference)
        )
        return Pending(granted.request_id, pending.retry_after)

    async def _postpone(self, granted: Granted, error: IssuerUnavailable) -> Refused:
        """Leave the intent for the next attempt: the CA may have signed, so the same must be asked again."""
        log.warning("issuer_unavailable", request_id=granted.request_id, detail=str(error))
        await self._store.write(lambda c: leases.let_go(c, granted.request_id, self.lease()))
        message = "The certification authority can't be reached now."
        problem = Problem(Reason.ISSUER_UNAVAILABLE, message, detail=str(error), retry_after=ISSUER_RETRY)
        return Refused(problem, granted.request_id)

    async def _fail(
        self, granted: Granted, problem: Problem, *, gives_back: bool = False, quarantined: bytes | None = None
    ) -> Refused:
        """Close the intent and free its key, so that the next attempt starts anew."""
        now = self._clock()
        action = Action.FAILED if quarantined is None else Action.QUARANTINED
        log.error("not_issued", action=action, request_id=granted.request_id, detail=problem.detail)
        event = AuditEvent(now, action, "certwright", granted.request_id, granted.serial, problem.detail)
        failure = Failure(
            request_id=granted.request_id,
            owner=self._owner,
            at=now,
            reason=problem.reason,
            message=problem.message,
            detail=problem.detail,
            event=event.row(),
            gives_back=gives_back,
            quarantined=quarantined,
        )
        await self._store.write(lambda c: results.fail(c, failure))
        return Refused(problem, granted.request_id)
