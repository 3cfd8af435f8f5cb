"""One attempt to show control over a name; whether the domain's CAA records still allow what they once allowed."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from server.acme.challenges.caa import Issuance
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.question import Question
from server.acme.messages import Attempt, ChallengeStatus, ErrorType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.acme.messages import Authorization, Challenge, Order
    from server.acme.service.endpoint import AcmeEndpoint

_LINES, _LINE = 40, 300


async def attempt_at(
    endpoint: AcmeEndpoint, authorization: Authorization, challenge: Challenge
) -> tuple[ValidationFailed | None, Attempt]:
    """Make one attempt. Returns why it failed, None when it did not, and what is to be remembered of it."""
    question = Question(
        name=authorization.identifier.value,
        token=challenge.token,
        key_authorization=f"{challenge.token}.{authorization.thumbprint}",
        wildcard=authorization.wildcard,
        accounts=endpoint.account_urls(authorization.account),
    )
    began, started = endpoint.clock(), perf_counter()
    failure: ValidationFailed | None = None
    try:
        await _validate(endpoint, authorization, challenge.type, question)
    except ValidationFailed as failed:
        failure = failed
    seconds = round(perf_counter() - started, 3)
    trail = tuple(line[:_LINE] for line in question.trail[:_LINES])
    attempt = Attempt(began, challenge.type, seconds, trail)
    if failure is not None:
        attempt = replace(attempt, error=failure.error.value, detail=failure.detail)
    return failure, attempt


async def _validate(endpoint: AcmeEndpoint, authorization: Authorization, type_: str, question: Question) -> None:
    proofs = endpoint.proofs(authorization.profile)
    validator = next((each for each in proofs.challenges if each.type == type_), None)
    if validator is None:
        raise ValidationFailed(ErrorType.UNAUTHORIZED, "the challenge is not offered any more", final=True)
    await validator.validate(question)
    if proofs.caa is not None and authorization.identifier.type == "dns":
        asked = Issuance(question.name, authorization.wildcard, type_, question.accounts)
        await proofs.caa.check(asked, question.trail)


async def check_caa_again(endpoint: AcmeEndpoint, order: Order, authorizations: Sequence[Authorization]) -> None:
    """Look at the CAA records of an order's names again, of each that was last looked at too long ago.

    Raises ValidationFailed: caa.
    """
    judge = endpoint.proofs(order.profile).caa
    if judge is None:
        return
    since = endpoint.clock() - endpoint.timing.caa_again
    for each in authorizations:
        shown = next((one for one in each.challenges if one.status == ChallengeStatus.VALID), None)
        if each.identifier.type != "dns" or shown is None or (shown.validated is not None and shown.validated > since):
            continue
        accounts = endpoint.account_urls(order.account)
        await judge.check(Issuance(each.identifier.value, each.wildcard, shown.type, accounts), [])
