"""Finalize: from a ready order and a CSR to a certificate (RFC 8555 section 7.4)."""

from __future__ import annotations

import asyncio
import hashlib
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ca.csr import MalformedCsr, parse_csr
from ca.names import DnsName, IpAddress, MalformedName, OtherName, dns_name
from policies.request import EnrollmentRequest, Kind, account_identity
from server.acme import problems, states
from server.acme.challenges.failure import ValidationFailed
from server.acme.codec.device_identifiers import DEVICE_TYPES, to_other_name
from server.acme.codec.replies import problem_object
from server.acme.codec.requests import decode_finalize
from server.acme.messages import (
    AuthorizationStatus,
    ChallengeStatus,
    ErrorType,
    Order,
    OrderStatus,
    ProblemDocument,
    Rejected,
    Reply,
    rejected,
)
from server.acme.records import orders
from server.acme.records.accounts import is_account_key
from server.acme.records.authorizations import find_authorizations
from server.acme.service.attempts import check_caa_again
from server.acme.service.authentication import account_thumbprint, missing
from server.acme.service.certificates import chain_text
from server.acme.service.endings import is_given_back, keep_waiting
from server.acme.service.orders import devices_of, names_of, order_reply, requester
from server.enrollment import RefusedAttempt
from server.outcome import TEMPORARY, Issued, Outcome, Pending, Problem, Reason, Refused
from server.store.admission import is_compromised

if TYPE_CHECKING:
    import sqlalchemy as sa
    from cryptography import x509

    from ca.csr import Csr
    from server.acme.service.authentication import Authentication, Call, Signed
    from server.acme.service.endpoint import AcmeEndpoint

_COMPROMISED = "a certificate with this key was revoked because the key was compromised: use a new key"
_ACCOUNT_KEY = "the certificate's key must not be the key of an account"
_LOOK_AGAIN = 0.2
"""Seconds after which a server that stops looks again for what has begun to ask in the meantime."""
_GIVEN_BACK = "an authorization of the order was given back, or its account has ended"
_NOT_READY = "the order is not ready: every authorization must be valid, and finalize is for once"


class Finalization:
    """The finalize resource, and the work behind it that goes on when nobody waits."""

    def __init__(self, endpoint: AcmeEndpoint, authentication: Authentication) -> None:
        self._endpoint = endpoint
        self._authentication = authentication
        self._running: dict[str, asyncio.Task[Order | Rejected]] = {}
        self._asking: set[str] = set()

    async def start(self) -> None:
        """Go on with the orders that a process left behind while they were processing. Raises Rejected."""
        scope, now = str(self._endpoint.name), self._endpoint.clock()
        for order in await self._endpoint.read(lambda c: orders.processing_orders(c, scope, now)):
            self.resume(order)

    async def stop(self) -> None:
        """Return when nothing is going on any more: what is being signed is signed and recorded.

        Where DNS is still asked whether it may be, nothing has been begun, and the next start goes on: a hundred names
        and a slow resolver would keep the server from ending for minutes.
        """
        while self._running:
            for order in self._asking:
                self._running[order].cancel()
            await asyncio.wait(self._running.values(), timeout=_LOOK_AGAIN)

    async def finalize(self, call: Call, order: str) -> Reply:
        """Answer finalize: issue, and wait for it for a while; the same CSR again gives the same order again."""
        signed = await self._authentication.by_account(call)
        call.transaction = order
        csr = self._csr(call, signed)
        thumbprint = account_thumbprint(csr.key, csr.spki)
        found = await self._endpoint.write(lambda c: self._begin(c, signed, order, csr, thumbprint))
        if found.status == OrderStatus.PROCESSING:
            task = self._task(found, csr, call.address)
            await asyncio.wait((task,), timeout=self._endpoint.timing.finalize)
            outcome = task.result() if task.done() else found
            if isinstance(outcome, Rejected):
                raise outcome
            found = outcome
        return order_reply(found, signed, 200, self._endpoint.timing.processing_retry)

    def resume(self, order: Order) -> None:
        """Go on with a processing order, unless that goes on already."""
        if order.csr is not None:
            _ = self._task(order, None, None)

    def _csr(self, call: Call, signed: Signed) -> Csr:
        try:
            csr = parse_csr(decode_finalize(signed.payload))
        except MalformedCsr as error:
            raise rejected(ErrorType.BAD_CSR, str(error)) from None
        call.csr = csr
        return csr

    def _begin(
        self, connection: sa.Connection, signed: Signed, order: str, csr: Csr, thumbprint: str | None
    ) -> Order | Rejected:
        """Take the order from ready to processing, with the CSR, if all is as it must be."""
        now = self._endpoint.clock()
        found = orders.find_order(connection, signed.owner, order, now) or missing(connection, signed)
        if isinstance(found, Rejected):
            return found
        if found.status in {OrderStatus.PROCESSING, OrderStatus.VALID} and found.csr == csr.der:
            return found  # FortiOS polls by finalizing again; others repeat what got lost
        if not states.allows(states.ORDER, found.status, states.OrderEvent.FINALIZED):
            return rejected(ErrorType.ORDER_NOT_READY, _NOT_READY)
        refusal = self._objection(connection, found)
        if refusal is not None:
            return refusal
        fault = _COMPROMISED * is_compromised(connection, csr.spki) or _ACCOUNT_KEY * _is_account_key(
            connection, thumbprint
        )
        fault = fault or _names_fault(csr, found) or self._key_fault(connection, csr, found)
        if fault:
            return rejected(ErrorType.BAD_CSR, fault)
        status = states.advance(states.ORDER, found.status, states.OrderEvent.FINALIZED)
        orders.begin_processing(connection, order, status, csr.der)
        return found._replace(status=status, csr=csr.der, error=None)

    def _key_fault(self, connection: sa.Connection, csr: Csr, order: Order) -> str:
        """Say whether the key of the CSR is another one than those that devices have attested, empty when not."""
        if not devices_of(order.identifiers):
            return ""
        found = find_authorizations(connection, order.authorizations, self._endpoint.clock())
        keys = {each.attested for one in found for each in one.challenges if each.status == ChallengeStatus.VALID}
        wrong = keys - {None, hashlib.sha256(csr.spki).hexdigest()}
        return "the key of the CSR is not the one that the device has attested" if wrong else ""

    def _objection(self, connection: sa.Connection, order: Order) -> Rejected | None:
        """Return what has changed since the order was placed so that it can't be finalized, None for nothing."""
        if order.profile is not None and order.profile not in self._endpoint.profiles:
            return rejected(ErrorType.INVALID_PROFILE, "the profile of the order is not offered any more")
        if self._endpoint.pre_authorization and not self._still_authorized(connection, order):
            sources = states.sources(states.ORDER, states.OrderEvent.AUTHORIZATION_LOST)
            lost = ProblemDocument(ErrorType.UNAUTHORIZED, "an authorization of the order is not valid any more")
            orders.move_order(connection, order.id, sources, OrderStatus.INVALID, problem_object(lost))
            return Rejected(lost)
        return None

    def _still_authorized(self, connection: sa.Connection, order: Order) -> bool:
        """Say whether all authorizations are valid now; those that belong to no order may have been given back."""
        found = find_authorizations(connection, order.authorizations, self._endpoint.clock())
        return len(found) == len(order.authorizations) and all(
            each.status == AuthorizationStatus.VALID for each in found
        )

    def _task(self, order: Order, csr: Csr | None, address: str | None) -> asyncio.Task[Order | Rejected]:
        task = self._running.get(order.id)
        if task is None:
            task = asyncio.create_task(self._work(order, csr, address))
            self._running[order.id] = task
            task.add_done_callback(lambda _: self._running.pop(order.id, None))
        return task

    async def _work(self, order: Order, csr: Csr | None, address: str | None) -> Order | Rejected:
        """Submit the order and record the outcome. Returns it, or the refusal for who waits; never raises.

        The order as it is when the server stops before anything is submitted.
        """
        try:
            forbidden = await self._forbidden(order, resumed=csr is None)
            if forbidden is not None:
                return await self._end_forbidden(order, forbidden, address)
            return await self._record(order, await self._outcome(order, csr, address))
        except Rejected as refusal:
            return refusal  # the store has trouble; the order stays as it is and is resumed when asked for
        except asyncio.CancelledError:
            return order  # by `stop`; the next start resumes it

    async def _forbidden(self, order: Order, *, resumed: bool) -> ValidationFailed | None:
        """Return what stands against an order by now, None for nothing: the owners of its names, or its own account.

        Args:
            order: an order that is processing.
            resumed: whether it became so earlier than a moment ago.
        """
        asks = self._endpoint.proofs(order.profile).caa is not None
        if order.request_id is not None or not (asks or resumed):
            return None
        now = self._endpoint.clock()
        if asks:
            found = await self._endpoint.read(lambda c: find_authorizations(c, order.authorizations, now))
            self._asking.add(order.id)
            try:
                await check_caa_again(self._endpoint, order, found)
            except ValidationFailed as failed:
                return failed
            finally:
                self._asking.discard(order.id)
        # DNS may have taken minutes, and a restart longer.
        given_back = await self._endpoint.read(lambda c: is_given_back(c, order, now))
        return ValidationFailed(ErrorType.UNAUTHORIZED, _GIVEN_BACK, final=True) if given_back else None

    async def _end_forbidden(self, order: Order, failed: ValidationFailed, address: str | None) -> Rejected:
        document = ProblemDocument(failed.error, failed.detail)
        # What can't be looked up now may be looked up later, with the same order.
        event = states.OrderEvent.FAILED if failed.final else states.OrderEvent.CSR_REFUSED
        status, error = states.advance(states.ORDER, OrderStatus.PROCESSING, event), problem_object(document)
        await self._endpoint.write(lambda c: orders.end_refused(c, order, status, error))
        problem = Problem(problems.reason_of(document), document.detail)
        who = account_identity(order.account)
        await self._endpoint.enrollment.refuse(
            RefusedAttempt(self._endpoint.name, problem, who, address, transaction=order.id)
        )
        return Rejected(document, recorded=True)

    async def _outcome(self, order: Order, csr: Csr | None, address: str | None) -> Outcome:
        if order.request_id is not None:
            return await self._endpoint.enrollment.poll(order.request_id)
        csr = csr or parse_csr(order.csr or b"")
        # Names of devices are in the certificate when they are in the CSR, where they may be left out.
        shown = tuple(name for name in csr.names if isinstance(name, OtherName))
        who = requester(order.account, (*names_of(order.identifiers), *shown), address, devices_of(order.identifiers))

        def companion(connection: sa.Connection, request_id: str, issuer: str) -> None:
            self._end(connection, order, request_id, self._endpoint.enrollment.chain(issuer))

        return await self._endpoint.enrollment.submit(
            EnrollmentRequest(
                key=f"acme/order/{order.id}",
                kind=Kind.ENROLL,
                endpoint=self._endpoint.name,
                profile=order.profile,
                csr=csr,
                requester=who,
                now=self._endpoint.clock(),
                transaction=order.id,
            ),
            companion,
        )

    async def _record(self, order: Order, outcome: Outcome) -> Order | Rejected:
        match outcome:
            case Issued():
                return await self._issued(order, outcome)
            case Pending(request_id=request_id):
                if order.request_id != request_id:
                    now = self._endpoint.clock()
                    await self._endpoint.write(lambda c: keep_waiting(c, order, request_id, now))
                return order
            case Refused(problem=problem):
                document = problems.from_outcome(problem)
                if problem.reason is Reason.STORE_UNAVAILABLE:
                    return Rejected(document, recorded=True)  # it may stand all the same: it goes on when asked for
                # What was wrong with the CSR, or will pass, can be tried again with the same order.
                again = document.type == ErrorType.BAD_CSR or problem.reason in TEMPORARY
                event = states.OrderEvent.CSR_REFUSED if again else states.OrderEvent.FAILED
                status = states.advance(states.ORDER, OrderStatus.PROCESSING, event)
                # In a ready order, too: who was answered `processing` reads there what was wrong.
                error = problem_object(document)
                await self._endpoint.write(lambda c: orders.end_refused(c, order, status, error))
                return Rejected(document, recorded=True)

    async def _issued(self, order: Order, issued: Issued) -> Order:
        if order.request_id is not None:  # it was asked for again, not submitted: nothing has been recorded with it
            await self._endpoint.write(lambda c: self._end(c, order, issued.request_id, issued.chain))
        status = states.advance(states.ORDER, OrderStatus.PROCESSING, states.OrderEvent.ISSUED)
        return order._replace(status=status, certificate=True)

    def _end(
        self, connection: sa.Connection, order: Order, request_id: str, chain: tuple[x509.Certificate, ...]
    ) -> None:
        """Record that an order is valid, with the chain as it is now."""
        pem, digest = _chain(chain)
        orders.keep_chain(connection, digest, pem)
        status = states.advance(states.ORDER, OrderStatus.PROCESSING, states.OrderEvent.ISSUED)
        orders.end_issued(connection, order.id, status, request_id, digest)


@lru_cache(maxsize=8)
def _chain(certificates: tuple[x509.Certificate, ...]) -> tuple[str, str]:
    """Return the chain in PEM without the root, which clients have or must not take from here, and its SHA-256."""
    pem = chain_text(certificates)
    return pem, hashlib.sha256(pem.encode("ascii")).hexdigest()


def _is_account_key(connection: sa.Connection, thumbprint: str | None) -> bool:
    """Say whether a key is one of any account (section 11.1): what signs as TLS asks could sign for it."""
    return thumbprint is not None and is_account_key(connection, thumbprint)


def _names_fault(csr: Csr, order: Order) -> str:
    """Say how the names of a CSR differ from those of the order, empty when they are the same (section 7.4)."""
    devices = {to_other_name(each) for each in order.identifiers if each.type in DEVICE_TYPES}
    asked = set(csr.names) - devices
    for common_name in csr.subject.common_names:
        if common_name in devices_of(order.identifiers):
            continue
        try:
            asked.add(_named(common_name))
        except MalformedName:
            return "the CSR's common name is not one of the order's names"
    if len(csr.subject.common_names) > 1:
        return "the CSR has more than one common name"
    if any(not isinstance(name, DnsName | IpAddress) for name in asked):
        return "the CSR asks for names of other types than the order"
    if asked != set(names_of(order.identifiers)):
        return "the CSR's names are not exactly those of the order"
    return ""


def _named(common_name: str) -> DnsName | IpAddress:
    """Return the name that a common name is. Raises MalformedName."""
    try:
        return IpAddress(ip_address(common_name))
    except ValueError:
        return dns_name(common_name)
