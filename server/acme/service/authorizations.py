"""Authorizations and challenges as clients see them (RFC 8555 sections 7.5, 7.5.1 and 7.5.2)."""

from __future__ import annotations

from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING

from server.acme import states
from server.acme.challenges.attestation.vocabulary import Expected
from server.acme.challenges.device_attest01 import DEVICE_ATTEST_01, DeviceAttest01
from server.acme.challenges.dns_persist01 import DnsPersist01
from server.acme.challenges.failure import ValidationFailed
from server.acme.codec.replies import encode_authorization, encode_challenge
from server.acme.codec.requests import decode_attestation, decode_challenge_response, decode_deactivation
from server.acme.messages import (
    Attempt,
    Authorization,
    AuthorizationStatus,
    ChallengeStatus,
    ErrorType,
    ProblemDocument,
    Rejected,
    Reply,
    rejected,
)
from server.acme.records import authorizations
from server.acme.service.authentication import missing
from server.acme.service.endings import end_authorization

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.acme.messages import Challenge
    from server.acme.service.authentication import Authentication, Call, Signed
    from server.acme.service.endpoint import AcmeEndpoint
    from server.acme.service.validation import Validation


class Authorizations:
    """The authorization and challenge resources."""

    def __init__(self, endpoint: AcmeEndpoint, authentication: Authentication, validation: Validation) -> None:
        self._endpoint = endpoint
        self._authentication = authentication
        self._validation = validation

    async def post(self, call: Call, authorization: str) -> Reply:
        """Answer a POST to an authorization: read it, or deactivate it."""
        signed = await self._authentication.by_account(call)
        if signed.payload:
            decode_deactivation(signed.payload)
            found = await self._endpoint.write(lambda c: self._deactivate(c, signed, authorization))
            call.transaction = found.order
            self._validation.cancel(authorization)
        else:
            await self._validation.settle(authorization)
            found = await self._endpoint.read(lambda c: self._owned(c, signed, authorization))
            call.transaction = found.order
        pending = found.status == AuthorizationStatus.PENDING
        busy = pending and any(each.status == ChallengeStatus.PROCESSING for each in found.challenges)
        body = encode_authorization(found, signed.urls, self.members(found, signed))
        return Reply(200, body, retry_after=self._validation.look_again(found) if busy else None)

    async def answer(self, call: Call, authorization: str, type_: str) -> Reply:
        """Answer a POST to a challenge: read it, or begin the validation that the client is ready for."""
        signed = await self._authentication.by_account(call)
        if signed.payload and type_ == DEVICE_ATTEST_01:
            found = await self._attest(call, signed, authorization, decode_attestation(signed.payload))
        elif signed.payload:
            decode_challenge_response(signed.payload)
            found = await self._validate(signed, authorization, type_)
        else:
            await self._validation.settle(authorization)
            found = await self._endpoint.read(lambda c: self._owned(c, signed, authorization))
        call.transaction = found.order
        challenge = _challenge(found, type_)
        if challenge is None:
            raise rejected(ErrorType.MALFORMED, "there is no such resource", 404)
        url = signed.urls.challenge(authorization, type_)
        pending = found.status == AuthorizationStatus.PENDING
        busy = pending and challenge.status == ChallengeStatus.PROCESSING
        return Reply(
            200,
            encode_challenge(challenge, url, self.members(found, signed).get(challenge.type)),
            links=((signed.urls.authorization(authorization), "up"),),
            retry_after=self._validation.look_again(found) if busy else None,
        )

    async def _validate(self, signed: Signed, authorization: str, type_: str) -> Authorization:
        """Begin to validate, and return how it stands in a moment: who looks at the answer is spared a poll.

        While another validation of the order needs longer, this one is not waited for: clients answer the challenges of
        many names one after the other.
        """
        found, begun = await self._endpoint.write(lambda c: self._begin(c, signed, authorization, type_))
        if not begun:
            self._validation.hurry(authorization)
            return found
        busy = self._validation.is_busy_for(found)
        self._validation.start_attempts(found)
        if busy:
            return found
        settled = await self._validation.settle(authorization)
        if settled is None:
            return await self._endpoint.read(lambda c: self._owned(c, signed, authorization))
        return settled

    async def _attest(self, call: Call, signed: Signed, authorization: str, statement: bytes) -> Authorization:
        """Judge an attestation here and now, unless the challenge is decided (draft-ietf-acme-device-attest section 5).

        Nothing of it is kept but the digest of the attested key. Raises Rejected: badAttestationStatement, with the
        challenge invalid then.
        """
        found = await self._endpoint.read(lambda c: self._owned(c, signed, authorization))
        challenge, judge = _challenge(found, DEVICE_ATTEST_01), self._judge_of(found)
        if challenge is None or judge is None:
            raise rejected(ErrorType.MALFORMED, "there is no such resource", 404)
        if found.status != AuthorizationStatus.PENDING or challenge.status != ChallengeStatus.PENDING:
            return found
        began, started = self._endpoint.clock(), perf_counter()
        failure: ValidationFailed | None = None
        attested: str | None = None
        expected = Expected(challenge.token, f"{challenge.token}.{signed.key.thumbprint}")
        try:
            attested = sha256(judge.attest(statement, found.identifier, expected, began)).hexdigest()
        except ValidationFailed as failed:
            failure = failed
        attempt = Attempt(began, DEVICE_ATTEST_01, round(perf_counter() - started, 3), ())
        if failure is not None:
            attempt = attempt._replace(error=failure.error.value, detail=failure.detail)
        status = states.advance(states.CHALLENGE, challenge.status, states.ChallengeEvent.ANSWERED)
        answered = challenge._replace(status=status, attested=attested)
        challenges = tuple(answered if each is challenge else each for each in found.challenges)
        thumbprint, history = signed.key.thumbprint, (*found.history, attempt)
        await self._validation.decide(
            found._replace(challenges=challenges, thumbprint=thumbprint, history=history), failure
        )
        if failure is not None:
            call.transaction = found.order
            raise Rejected(ProblemDocument(failure.error, failure.detail), recorded=True)
        return await self._endpoint.read(lambda c: self._owned(c, signed, authorization))

    def _judge_of(self, authorization: Authorization) -> DeviceAttest01 | None:
        offered = self._endpoint.proofs(authorization.profile).challenges
        return next((each for each in offered if isinstance(each, DeviceAttest01)), None)

    def members(self, authorization: Authorization, signed: Signed) -> dict[str, dict[str, object]]:
        """Return what challenges have instead of a token (draft-ietf-acme-dns-persist section 3.1)."""
        names = self._endpoint.proofs(authorization.profile).issuer_names
        if not names:
            return {}
        account = signed.urls.account(authorization.account)
        return {DnsPersist01.type: {"accounturi": account, "issuer-domain-names": list(names)}}

    def _owned(self, connection: sa.Connection, signed: Signed, authorization: str) -> Authorization | Rejected:
        now = self._endpoint.clock()
        found = authorizations.find_authorization(connection, signed.owner, authorization, now)
        return found or missing(connection, signed)

    def _begin(
        self, connection: sa.Connection, signed: Signed, authorization: str, type_: str
    ) -> tuple[Authorization, bool] | Rejected:
        """Move a pending challenge to processing; what is not pending stays, and is only shown (section 7.5.1)."""
        found = self._owned(connection, signed, authorization)
        if isinstance(found, Rejected):
            return found
        challenge = _challenge(found, type_)
        if challenge is None:
            return missing(connection, signed)
        event = states.ChallengeEvent.ANSWERED
        answered = any(each.status != ChallengeStatus.PENDING for each in found.challenges)
        if found.status != AuthorizationStatus.PENDING or answered:
            return found, False
        begun = challenge._replace(status=states.advance(states.CHALLENGE, challenge.status, event))
        found = found._replace(
            challenges=tuple(begun if each is challenge else each for each in found.challenges),
            thumbprint=signed.key.thumbprint,
        )
        lease = self._endpoint.clock() + self._endpoint.timing.attempt_lease
        authorizations.change_authorization(connection, found, (AuthorizationStatus.PENDING,), next_attempt=lease)
        return found, True

    def _deactivate(self, connection: sa.Connection, signed: Signed, authorization: str) -> Authorization | Rejected:
        found = self._owned(connection, signed, authorization)
        if isinstance(found, Rejected):
            return found
        event = states.AuthorizationEvent.DEACTIVATED
        if not states.allows(states.AUTHORIZATION, found.status, event):
            return found  # it can't be used any more as it is
        found = found._replace(status=states.advance(states.AUTHORIZATION, found.status, event))
        end_authorization(connection, found, states.sources(states.AUTHORIZATION, event), self._endpoint.clock())
        return found


def _challenge(authorization: Authorization, type_: str) -> Challenge | None:
    return next((each for each in authorization.challenges if each.type == type_), None)
