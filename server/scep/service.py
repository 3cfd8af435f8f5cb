"""One SCEP endpoint: who asks is settled, the envelope opened, the one door asked, the outcome put into a CertRep."""

from __future__ import annotations

import secrets
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from policies.request import EndpointName, Protocol
from server.cms.algorithms import Cipher, Digest
from server.cohort import next_step
from server.enrollment import RefusedAttempt
from server.outcome import Problem, Reason, Refused
from server.scep.advertising import Advertising
from server.scep.authorization import Panel
from server.scep.codec import Malformed, read_pki_message
from server.scep.diary import Diary
from server.scep.enrolling import Enrolling
from server.scep.exchanges import Exchange
from server.scep.exposure import Exposure, among_attributes, instead_of_envelope
from server.scep.gate import authenticate, check_time
from server.scep.lookups import Lookups
from server.scep.messages import TEXT, Answer, MessageType, accepted
from server.scep.observation import UNKNOWN_CARRIER, broken_algorithms, observe
from server.scep.opening import Envelopes, Operation
from server.scep.polling import Polling
from server.scep.problems import EC_REQUESTER, EXPOSED, TOO_LARGE, Rejected, describe_signer, unsupported_type
from server.scep.rate import Rate
from server.scep.replies import Replies
from server.scep.signers import Signers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from cryptography import x509

    from server.clock import Clock
    from server.config import ScepEndpointConfig
    from server.credentials import Credentials
    from server.enrollment import Enrollment
    from server.outcome import Outcome
    from server.scep.authorization import Authorizer
    from server.scep.gate import Sealed
    from server.scep.keyring import Keyring
    from server.scep.lookups import CurrentCrl
    from server.scep.messages import Accepted, Found
    from server.scep.observation import Carrier
    from server.store import Store

Handler: TypeAlias = "Callable[[Operation, Sealed], Awaitable[Outcome | Found]]"


def _algorithms(config: ScepEndpointConfig) -> Accepted:
    found = accepted(config.compatibility, config.switches.model_dump())
    return replace(found, ec_requesters=config.takes_ec_requesters(), key_agreement=config.switches.ec_key_agreement)


class ScepEndpoint:
    """A SCEP service under one label (RFC 8894).

    Args:
        label: the path segment.
        config: profiles, algorithms and compatibility switches.
        store: the record, where polls look.
        enrollment: the one door to the signer.
        credentials: judges challenges and certificates.
        authorizers: say who may have a first certificate, in the order in which they are asked.
        proxies: SHA-256 of the certificates that may sign requests for keys of others.
        keys: those that open requests and sign replies.
        chain: returns the issuing CA's certificate and those above it, root last.
        clock: tells the time of a request.
        nonce: returns 16 fresh octets for a senderNonce.
        random: returns that many octets for content keys and initialisation vectors.
        current_crl: gives revocation lists for GetCRL; None: there are none.
        seconds: a monotonic clock.
    """

    def __init__(
        self,
        *,
        label: str,
        config: ScepEndpointConfig,
        store: Store,
        enrollment: Enrollment,
        credentials: Credentials,
        keys: Keyring,
        authorizers: tuple[Authorizer, ...],
        proxies: frozenset[bytes] = frozenset(),
        chain: Callable[[], tuple[x509.Certificate, ...]],
        clock: Clock,
        nonce: Callable[[], bytes],
        random: Callable[[int], bytes] = secrets.token_bytes,
        current_crl: CurrentCrl | None = None,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self.name = EndpointName(Protocol.SCEP, label)
        self._config = config
        self._accepted = _algorithms(config)
        most = config.most_per_minute_of_address
        self._rate = None if most is None else Rate(most, seconds)
        self._enrollment = enrollment
        self._keys = keys
        self._diary = Diary(store)
        self._signers = Signers(self.name, config, credentials)
        self._exposure = Exposure(self.name, store, credentials, clock)
        self._panel = Panel(authorizers, self.name, enrollment)
        self._envelopes = Envelopes(keys, self._accepted, random)
        self._takes_broken = Digest.MD5 in self._accepted.digests or Cipher.DES in self._accepted.ciphers
        self.advertising = Advertising(config, self._accepted, keys, chain, clock)
        self._clock = clock
        self._replies = Replies(
            accepted=self._accepted,
            status_content=config.status_content,
            with_ca=config.switches.ca_in_reply,
            hresult=config.switches.hresult,
            clock=clock,
            nonce=nonce,
            random=random,
        )
        enrolling = Enrolling(
            self.name,
            config,
            enrollment=enrollment,
            envelopes=self._envelopes,
            signers=self._signers,
            panel=self._panel,
            keys=keys,
            proxies=proxies,
            clock=clock,
        )
        lookups = Lookups(store, (self.name, *config.certificates_from), current_crl, decoy=keys.current.addressed.der)
        self._dispatch: dict[MessageType, Handler] = {
            MessageType.PKCS_REQ: enrolling.pkcs_req,
            MessageType.RENEWAL_REQ: enrolling.renewal_req,
            MessageType.CERT_POLL: Polling(self.name, store, enrollment, self._panel).cert_poll,
            **dict(self._shown(lookups)),
        }

    def _shown(self, lookups: Lookups) -> Iterator[tuple[MessageType, Handler]]:
        """Yield what answers questions for what is public."""
        if self._config.get_cert:
            yield MessageType.GET_CERT, lambda _, request: self._look_up(request, lookups.certificate)
        if lookups.have_crls:
            yield MessageType.GET_CRL, lambda _, request: self._look_up(request, lookups.crl)

    async def too_large(self, address: str | None) -> Answer:
        """Answer a message beyond the limit, of which nothing was read."""
        await self._refuse(TOO_LARGE, address)
        return Answer(413, TEXT, f"{TOO_LARGE.message}\n".encode(), notes=TOO_LARGE.notes())

    async def malformed(self, error: Malformed, address: str | None) -> Answer:
        """Answer what no CertRep can answer, because there is no transaction in it."""
        problem = Problem(Reason.MALFORMED, str(error))
        await self._refuse(problem, address)
        return Answer(400, TEXT, f"{problem.message}\n".encode(), notes=problem.notes())

    async def pki_operation(self, data: bytes, address: str | None, carrier: Carrier = UNKNOWN_CARRIER) -> Answer:
        """Answer a pkiMessage (RFC 8894 section 4.3).

        Args:
            data: the message as received.
            address: the peer's IP address, for the record.
            carrier: how it came.
        """
        wait = 0 if self._rate is None else self._rate.wait(address)
        if wait:
            return Answer(429, TEXT, b"too many messages from this address\n", wait, {"outcome": "rate-limited"})
        try:
            message = read_pki_message(data)
        except Malformed as error:
            return await self.malformed(error, address)
        await next_step()
        operation = Operation(message, address, self._keys.current)
        try:
            outcome = await self._judge(operation)
        except Rejected as rejection:
            outcome = await self._refuse(rejection.problem, address, operation)
        await next_step()
        answer = await self._replies.answer(operation.message, operation.sealed, outcome, operation.ra)
        if self._takes_broken and (broken := broken_algorithms(message, operation.sealed)):
            answer = replace(answer, notes={**answer.notes, "broken": " ".join(broken)})
        self._diary.note(self._seen(operation, carrier, answer))
        return answer

    def _seen(self, operation: Operation, carrier: Carrier, answer: Answer) -> Exchange:
        message, notes = operation.message, answer.notes
        request_id, reason = notes.get("request_id"), notes.get("reason")
        return Exchange(
            at=self._clock(),
            endpoint=self.name,
            transaction=message.transaction,
            request_id=None if request_id is None else str(request_id),
            address=operation.address,
            outcome=str(notes["outcome"]),
            reason=None if reason is None else str(reason),
            observed=observe(message, carrier, operation.sealed, operation.csr),
        )

    async def drain(self) -> None:
        """Return when all that was noted is on record."""
        await self._diary.drain()

    async def close(self) -> None:
        """Have all on record, and close what is open to services outside."""
        await self.drain()
        await self._panel.close()

    async def _judge(self, operation: Operation) -> Outcome | Found:
        message = operation.message
        authentic = authenticate(message, self._accepted)
        await next_step()
        if self._config.signing_time is not None:
            check_time(message, self._clock(), self._config.signing_time)
        exposed = among_attributes(message)
        if exposed is not None:
            await self._exposure.withdraw(exposed, operation.address)
            raise Rejected(EXPOSED)
        handler = self._dispatch.get(message.message_type) if message.message_type else None
        if handler is None:
            raise Rejected(unsupported_type(message.type_text))
        try:
            request = operation.sealed = self._envelopes.sealed(authentic)
        except Rejected:
            exposed = instead_of_envelope(message)
            if exposed is not None:
                await self._exposure.withdraw(exposed, operation.address)
            raise
        operation.ra = self._keys.holder(request.ours)
        return await handler(operation, request)

    async def _look_up(self, request: Sealed, look_up: Callable[[bytes | None], Awaitable[Found]]) -> Found:
        """GetCert and GetCRL (sections 3.3.4 and 4.6): what is public goes to whoever asks."""
        if request.reply_to is None:
            raise Rejected(EC_REQUESTER)
        return await look_up(await self._envelopes.deciphered(self._keys.holder(request.ours), request))

    async def _refuse(self, problem: Problem, address: str | None, operation: Operation | None = None) -> Refused:
        message = operation.message if operation else None
        signer = message.signer if message else None
        ours = signer is not None and self._signers.claims_to_be_ours(signer)
        return await self._enrollment.refuse(
            RefusedAttempt(
                endpoint=self.name,
                problem=problem,
                requester=describe_signer(signer, ours=ours),
                address=address,
                transaction=message.transaction if message else None,
                csr=operation.csr if operation else None,
            )
        )
