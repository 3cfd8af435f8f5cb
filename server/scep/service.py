"""One SCEP endpoint: who asks is settled, the envelope opened, the one door asked, the outcome put into a CertRep."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from ca.csr import MalformedCsr, parse_with_secret
from policies.request import EndpointName, EnrollmentRequest, Kind, PendingLimits, Protocol, Requester
from server.cms.algorithms import Cipher, Digest
from server.cms.enveloped import Undecipherable, decipher
from server.cms.passwords import Password
from server.cohort import next_step
from server.enrollment import RefusedAttempt
from server.outcome import Issued, Problem, Reason, Refused
from server.scep.advertising import Advertising
from server.scep.authorization import Asked, Panel
from server.scep.codec import Malformed, read_pki_message
from server.scep.diary import Diary
from server.scep.exchanges import Exchange
from server.scep.exposure import Exposure, among_attributes, instead_of_envelope
from server.scep.gate import Authentic, Sealed, authenticate, check_time, sealed
from server.scep.lookups import Lookups
from server.scep.messages import (
    TEXT,
    Answer,
    MessageType,
    accepted,
)
from server.scep.observation import UNKNOWN_CARRIER, broken_algorithms, observe
from server.scep.problems import (
    EC_POLL,
    EC_REQUESTER,
    EXPOSED,
    KEY_MISMATCH,
    NO_RENEWAL,
    OTHER_PROFILE,
    STORE_UNAVAILABLE,
    TOO_LARGE,
    UNKNOWN_TRANSACTION,
    UNREADABLE,
    Rejected,
    describe_signer,
    unsupported_type,
)
from server.scep.rate import Rate
from server.scep.records import find_polled
from server.scep.replies import Replies
from server.scep.signers import Signers
from server.scep.transactions import idempotency_key, signer_of
from server.store.certificates import renewed_from
from server.store.lane import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cryptography import x509

    from ca.csr import Csr
    from policies.request import Renewed
    from server.clock import Clock
    from server.cms.certificates import BagCertificate
    from server.config import ScepEndpointConfig
    from server.credentials import Credentials, ThirdParty
    from server.enrollment import Enrollment
    from server.outcome import Outcome
    from server.scep.authorization import Authorizer
    from server.scep.keyring import Keyring
    from server.scep.lookups import CurrentCrl
    from server.scep.messages import Found, PkiMessage
    from server.scep.observation import Carrier
    from server.scep.ra import RaKey
    from server.store import Store

Handler: TypeAlias = "Callable[[_Exchange, Sealed], Awaitable[Outcome | Found]]"


@dataclass(slots=True)
class _Exchange:
    """One request while it is worked on: what is known of it, for the reply and for the record."""

    message: PkiMessage
    address: str | None
    ra: RaKey
    sealed: Sealed | None = None
    csr: Csr | None = None


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
        algorithms = accepted(config.compatibility, config.switches.model_dump())
        self._accepted = replace(algorithms, ec_requesters=config.takes_ec_requesters())
        most = config.most_per_minute_of_address
        self._rate = None if most is None else Rate(most, seconds)
        self._pending = PendingLimits(config.most_pending, config.most_pending_of_address)
        self._store = store
        self._enrollment = enrollment
        self._signers = Signers(self.name, config, credentials)
        self._keys = keys
        self._diary = Diary(store)
        self._exposure = Exposure(self.name, store, credentials, clock)
        self._panel = Panel(authorizers, self.name, enrollment)
        self._proxies = proxies
        self._takes_broken = Digest.MD5 in self._accepted.digests or Cipher.DES in self._accepted.ciphers
        self.advertising = Advertising(config, self._accepted, keys, chain, clock)
        self._clock = clock
        self._random = random
        self._replies = Replies(
            accepted=self._accepted,
            status_content=config.status_content,
            with_ca=config.switches.ca_in_reply,
            hresult=config.switches.hresult,
            clock=clock,
            nonce=nonce,
            random=random,
        )
        dispatch: dict[MessageType, Handler] = {
            MessageType.PKCS_REQ: self._pkcs_req,
            MessageType.RENEWAL_REQ: self._renewal_req,
            MessageType.CERT_POLL: self._cert_poll,
        }
        lookups = Lookups(store, (self.name, *config.certificates_from), current_crl)
        if config.get_cert:
            dispatch[MessageType.GET_CERT] = lambda _, request: self._look_up(request, lookups.certificate)
        if current_crl is not None:
            dispatch[MessageType.GET_CRL] = lambda _, request: self._look_up(request, lookups.crl)
        self._dispatch: Mapping[MessageType, Handler] = dispatch

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
        exchange = _Exchange(message, address, self._keys.current)
        try:
            outcome = await self._judge(exchange)
        except Rejected as rejection:
            outcome = await self._refuse(rejection.problem, address, exchange)
        await next_step()
        answer = await self._replies.answer(exchange.message, exchange.sealed, outcome, exchange.ra)
        if self._takes_broken and (broken := broken_algorithms(message, exchange.sealed)):
            answer = replace(answer, notes={**answer.notes, "broken": " ".join(broken)})
        self._diary.note(self._seen(exchange, carrier, answer))
        return answer

    def _seen(self, exchange: _Exchange, carrier: Carrier, answer: Answer) -> Exchange:
        message, notes = exchange.message, answer.notes
        request_id, reason = notes.get("request_id"), notes.get("reason")
        return Exchange(
            at=self._clock(),
            endpoint=self.name,
            transaction=message.transaction,
            request_id=None if request_id is None else str(request_id),
            address=exchange.address,
            outcome=str(notes["outcome"]),
            reason=None if reason is None else str(reason),
            observed=observe(message, carrier, exchange.sealed, exchange.csr),
        )

    async def drain(self) -> None:
        """Return when all that was noted is on record."""
        await self._diary.drain()

    async def close(self) -> None:
        """Have all on record, and close what is open to services outside."""
        await self.drain()
        await self._panel.close()

    async def _judge(self, exchange: _Exchange) -> Outcome | Found:
        message = exchange.message
        authentic = authenticate(message, self._accepted)
        await next_step()
        if self._config.signing_time is not None:
            check_time(message, self._clock(), self._config.signing_time)
        exposed = among_attributes(message)
        if exposed is not None:
            await self._exposure.withdraw(exposed, exchange.address)
            raise Rejected(EXPOSED)
        handler = self._dispatch.get(message.message_type) if message.message_type else None
        if handler is None:
            raise Rejected(unsupported_type(message.type_text))
        try:
            request = exchange.sealed = self._sealed(authentic)
        except Rejected:
            exposed = instead_of_envelope(message)
            if exposed is not None:
                await self._exposure.withdraw(exposed, exchange.address)
            raise
        exchange.ra = self._keys.holder(request.ours)
        return await handler(exchange, request)

    def _sealed(self, authentic: Authentic) -> Sealed:
        """Return the envelope; one that names no RA of ours may be for one that another process has renewed."""

        def read() -> Sealed:
            return sealed(authentic, tuple(key.addressed for key in self._keys.live()), self._accepted)

        found = read()
        return found if found.wrapped.names(found.ours) or not self._keys.catch_up() else read()

    async def _pkcs_req(self, exchange: _Exchange, request: Sealed) -> Outcome:
        """PKCSReq (section 3.3.1): a first enrollment, or a renewal where a certificate of ours signed it.

        Renewals by PKCSReq are what most clients send; the challenge that some repeat in them is long spent, and is
        ignored.
        """
        authentic = request.authentic
        is_proxy = self._signs_for_others(authentic.signer)  # whose certificate may be one of ours
        if not is_proxy and self._config.renewal and self._signers.claims_to_be_ours(authentic.signer):
            return await self._renewal_req(exchange, request)
        vouched = None if is_proxy else await self._signers.alternate(authentic)
        if vouched is not None:
            return await self._alternate(exchange, request, vouched)
        csr, bare = await self._open(exchange, request)
        if csr.key != authentic.key and not is_proxy:
            raise Rejected(KEY_MISMATCH)
        asked = Asked(self.name, authentic.message.transaction, csr, csr.challenge_password, exchange.address)
        admission = await self._panel.admit(asked)
        if isinstance(admission, Problem):
            raise Rejected(admission)
        requester = Requester(admission.identity, (admission.evidence,), exchange.address)
        outcome = await self._submit(
            exchange, authentic, bare, requester, profile=admission.profile, spends=admission.spends
        )
        return await self._panel.settle(asked.transaction, csr.der, outcome)

    def _signs_for_others(self, signer: BagCertificate) -> bool:
        return bool(self._proxies) and sha256(signer.der).digest() in self._proxies

    async def _renewal_req(self, exchange: _Exchange, request: Sealed) -> Outcome:
        """RenewalReq (section 3.3.1): the signer's certificate is the authentication."""
        if not self._config.renewal:
            raise Rejected(NO_RENEWAL)
        authentic = request.authentic
        vouched = await self._signers.alternate(authentic)
        if vouched is not None:
            return await self._alternate(exchange, request, vouched)
        _with_challenge, csr = await self._open(exchange, request)
        evidence, stored = await self._signers.own(authentic.signer)
        requester = Requester(f"certificate:{stored.serial:x}", (evidence,), exchange.address)
        return await self._submit(exchange, authentic, csr, requester, renewed=renewed_from(stored))

    async def _alternate(self, exchange: _Exchange, request: Sealed, vouched: ThirdParty) -> Outcome:
        """A certificate of another CA is the authentication; for us it is a first enrollment, of the names in it."""
        _with_challenge, csr = await self._open(exchange, request)
        requester = Requester(vouched.identity, (vouched.evidence,), exchange.address)
        return await self._submit(exchange, request.authentic, csr, requester)

    async def _cert_poll(self, _exchange: _Exchange, request: Sealed) -> Outcome:
        """CertPoll (section 3.3.3): the transaction and the signer's key say which request is meant.

        The enveloped IssuerAndSubject is informational, so the RA key is not put to work for it. A request of another
        key looks like none at all: transaction identifiers can be guessed.
        """
        authentic = request.authentic
        transaction = authentic.message.transaction
        try:
            polled = await self._store.read(lambda c: find_polled(c, self.name, transaction, signer_of(authentic)))
        except StoreUnavailable as error:
            raise Rejected(replace(STORE_UNAVAILABLE, detail=str(error))) from error
        if polled is None:
            raise Rejected(UNKNOWN_TRANSACTION)
        outcome = await self._enrollment.poll(polled.request_id)
        if isinstance(outcome, Issued) and request.reply_to is None:
            raise Rejected(EC_POLL)
        if polled.requester.startswith("certificate:"):  # whom the panel was not asked about
            return outcome
        return await self._panel.settle(transaction, None, outcome)

    async def _open(self, exchange: _Exchange, request: Sealed) -> tuple[Csr, Csr]:
        """Return the enveloped request as sent, and without its challenge; every way to fail gives the same answer.

        Only authorisation may see that: what goes further and on record is without, in no backup in the clear.
        """
        content = await self._deciphered(exchange.ra, request)
        octets = b"" if content is None else content  # are read as well: nonsense takes as long as bad padding
        try:
            digests = self._accepted.digests
            csr, bare = parse_with_secret(octets, allow_sha1=Digest.SHA1 in digests, allow_md5=Digest.MD5 in digests)
        except MalformedCsr as error:
            why = "the envelope can't be deciphered" if content is None else f"certification request: {error}"
            raise Rejected(replace(UNREADABLE, detail=why)) from error
        exchange.csr = bare
        if request.reply_to is None:
            if not csr.challenge_password:
                raise Rejected(EC_REQUESTER)
            password = Password(csr.challenge_password.encode(), request.envelope.cipher)
            exchange.sealed = request._replace(reply_to=password)
        return csr, bare

    async def _deciphered(self, ra: RaKey, request: Sealed) -> bytes | None:
        """Return the content of an envelope, None when it can't be deciphered."""
        key = await ra.unwrap(request.wrapped.encrypted_key, request.transport)
        await next_step()
        try:
            return decipher(request.envelope, key, self._random)
        except Undecipherable:
            return None

    async def _look_up(self, request: Sealed, look_up: Callable[[bytes | None], Awaitable[Found]]) -> Found:
        """GetCert and GetCRL (sections 3.3.4 and 4.6): what is public goes to whoever asks."""
        if request.reply_to is None:
            raise Rejected(EC_REQUESTER)
        return await look_up(await self._deciphered(self._keys.holder(request.ours), request))

    async def _submit(
        self,
        exchange: _Exchange,
        authentic: Authentic,
        csr: Csr,
        requester: Requester,
        *,
        renewed: Renewed | None = None,
        profile: str | None = None,
        spends: tuple[str, ...] = (),
    ) -> Outcome:
        transaction = exchange.message.transaction
        coming = self._keys.asks_next(exchange.ra.addressed)
        if coming is not None and profile not in {None, coming.profile}:
            raise Rejected(OTHER_PROFILE)
        return await self._enrollment.submit(
            EnrollmentRequest(
                key=idempotency_key(self.name, transaction, authentic, csr, renewed),
                kind=Kind.ENROLL if renewed is None else Kind.RENEW,
                endpoint=self.name,
                profile=profile if coming is None else coming.profile,
                csr=csr,
                requester=requester,
                now=self._clock(),
                renewed=renewed,
                transaction=transaction,
                spends=spends,
                pending=self._pending,
                signer=signer_of(authentic),
            )
        )

    async def _refuse(self, problem: Problem, address: str | None, exchange: _Exchange | None = None) -> Refused:
        message = exchange.message if exchange else None
        return await self._enrollment.refuse(
            RefusedAttempt(
                endpoint=self.name,
                problem=problem,
                requester=describe_signer(message.signer) if message else None,
                address=address,
                transaction=message.transaction if message else None,
                csr=exchange.csr if exchange else None,
            )
        )
