"""What is decided of a request before anything is written: the policy's decision, and the lint of what it approves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from policies.decision import Denied, Finding, Location
from server.issuance import internal
from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ca.issuer import Issuer
    from ca.lint import Linter
    from ca.plan import CertificatePlan
    from policies.decision import Approved, Decision, Deferred
    from policies.request import EnrollmentRequest

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class No:
    """The request is not to be granted.

    Attributes:
        problem: why.
        profile: the profile that judged, None when it did not come to that.
        policy_digest: SHA-256, hex, of its file.
    """

    problem: Problem
    profile: str | None = None
    policy_digest: str | None = None


class Judge:
    """Asks the policy and the linter.

    Attributes:
        decide: the policy; pure.
        issuers: by configured name.
        linter: the pre-signing lint.
        gather: returns the request with what its profile wants to know besides, to be judged then; None: nothing is
            gathered.
        amend: adds to a plan what depends on its issuer and serial number, such as the shard of its revocation list.
    """

    def __init__(
        self,
        decide: Callable[[EnrollmentRequest], Decision],
        issuers: Mapping[str, Issuer],
        linter: Linter,
        gather: Callable[[EnrollmentRequest], Awaitable[EnrollmentRequest]] | None = None,
        amend: Callable[[CertificatePlan, int], CertificatePlan] | None = None,
    ) -> None:
        self.gather = gather
        self._decide = decide
        self._issuers = issuers
        self._linter = linter
        self._amend = amend

    def judge(self, request: EnrollmentRequest, serial: int) -> Approved | Deferred | No:
        """Ask the policy, then lint what it would have signed under this serial number. An error is a no."""
        try:
            decision = self._decide(request)
            for shadow in decision.trace.shadows:
                who, place = request.requester.identity, str(shadow.location)
                log.warning("shadow_rule_would_deny", rule=shadow.rule, where=place, requester=who)
            if isinstance(decision, Denied):
                trace = decision.trace
                return No(denied(decision.findings), trace.profile or None, trace.policy_digest)
            if self._amend is not None:
                decision = decision._replace(plan=self._amend(decision.plan, serial))
            plan = decision.plan
            issuer = self._issuers[plan.issuer].chain()[0]
            found = self._linter.lint(plan, serial, issuer, full=decision.full_lint)
        except Exception as error:
            log.exception("decision_failed")
            return No(internal(f"decision: {error!r}"))
        if not found:
            return decision
        where = Location(f"profile {plan.profile}", 1, 1)
        message = "The certificate would break a rule of X.509."
        findings = tuple(Finding("lint", message, where, value=str(one)) for one in found)
        return No(denied(findings), plan.profile, plan.policy_digest)


def denied(findings: tuple[Finding, ...]) -> Problem:
    """Return the problem that tells the requester what the policy finds wrong, each message once."""
    messages = dict.fromkeys(finding.message for finding in findings)
    return Problem(Reason.POLICY, " ".join(messages) or "The policy does not allow this.", findings)
