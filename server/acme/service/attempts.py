"""One attempt to show control over a name; whether the domain's CAA records still allow what they once allowed."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from server.acme.challenges.caa import Issuance
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.question import Question
from server.acme.messages import Attempt, ChallengeStatus, ErrorType
from server.acme.service.parts import covers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.acme.challenges.caa import CaaRecord
    from server.acme.messages import Authorization, Challenge, Order
    from server.acme.service.endpoint import AcmeEndpoint

log = structlog.get_logger()

_LINES, _LINE = 40, 300


async def attempt_at(
    endpoint: AcmeEndpoint, authorization: Authorization, challenge: Challenge
) -> tuple[ValidationFailed | None, Attempt]:
    """Make one attempt. Returns why it failed, None when it did not, and what is to be remembered of it."""
    question = Question(
        name=authorization.identifier.value,
        token=challenge.token,
        key_authorization=f"{challenge.token}.{authorization.thumbprint}",
        wildcard=authorization.wildcard or authorization.subdomains,
        accounts=endpoint.account_urls(authorization.account),
    )
    began, started = endpoint.clock(), perf_counter()
    failure: ValidationFailed | None = None
    try:
        await _validate(endpoint, authorization, challenge.type, question)
    except ValidationFailed as failed:
        failure = failed
    except Exception:
        # It must count as an attempt: what makes the server stumble would be tried for ever otherwise.
        log.exception("acme_validation_failed", authorization=authorization.id)
        failure = ValidationFailed(ErrorType.SERVER_INTERNAL, "the server had trouble with this validation")
    seconds = round(perf_counter() - started, 3)
    trail = tuple(line[:_LINE] for line in question.trail[:_LINES])
    attempt = Attempt(began, challenge.type, seconds, trail)
    if failure is not None:
        attempt = attempt._replace(error=failure.error.value, detail=failure.detail)
    return failure, attempt


async def _validate(endpoint: AcmeEndpoint, authorization: Authorization, type_: str, question: Question) -> None:
    proofs = endpoint.proofs(authorization.profile)
    validator = next((each for each in proofs.challenges if each.type == type_), None)
    if validator is None:
        raise ValidationFailed(ErrorType.UNAUTHORIZED, "the challenge is not offered any more", final=True)
    await validator.validate(question)
    # For subdomains, the names that are ordered are looked at, when they are.
    if proofs.caa is not None and authorization.identifier.type == "dns" and not authorization.subdomains:
        asked = Issuance(question.name, authorization.wildcard, type_, question.accounts)
        await proofs.caa.check(asked, question.trail)


async def check_caa_again(endpoint: AcmeEndpoint, order: Order, authorizations: Sequence[Authorization]) -> None:
    """Look at the CAA records of an order's names again, of each that was last looked at too long ago.

    Raises ValidationFailed: caa.
    """
    judge = endpoint.proofs(order.profile).caa
    if judge is None:
        return
    since, accounts = endpoint.clock() - endpoint.timing.caa_again, endpoint.account_urls(order.account)
    known: dict[str, Sequence[CaaRecord]] = {}
    for identifier in order.identifiers:
        each = next((one for one in authorizations if covers(one, identifier)), None)
        shown = next((one for one in each.challenges if one.status == ChallengeStatus.VALID), None) if each else None
        if each is None or shown is None or identifier.type != "dns":
            continue
        if each.subdomains or shown.validated is None or shown.validated <= since:
            wildcard = identifier.value.startswith("*.")
            asked = Issuance(identifier.value.removeprefix("*."), wildcard, shown.type, accounts)
            await judge.check(asked, [], known)
