from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from ca.lint import Linter, LintFinding
from policies.decision import Approved, Decision, Deferred, Denied, Finding, Trace
from server.enrollment.judgement import Judge, No
from server.outcome import Problem, Reason
from tests.fakes.door import ISSUER, Door, FlakyStore, ask
from tests.fakes.record import asked, issued, problem, stored
from tests.fakes.scripted_policy import RULE, ScriptedPolicy

if TYPE_CHECKING:
    from ca.plan import CertificatePlan
    from policies.request import EnrollmentRequest


async def test_an_error_of_the_policy_is_a_no(store: FlakyStore) -> None:
    def broken(request: EnrollmentRequest) -> Any:
        raise ZeroDivisionError

    outcome = await Door(store, decide=broken).submit(ask())
    assert problem(outcome).reason is Reason.INTERNAL
    assert "ZeroDivisionError" not in problem(outcome).message
    assert "ZeroDivisionError" in ((await asked(store))[0].detail or "")


def judge(decision: Decision, **more: Any) -> Approved | Deferred | No:
    return Judge(lambda _: decision, {"issuing": ISSUER}, Linter(), **more).judge(ask(), 7)


FIRST, SECOND, AGAIN = (Finding(rule, text, RULE) for rule, text in (("a", "One."), ("b", "Two."), ("c", "One.")))


@pytest.mark.parametrize(
    ("findings", "message"),
    [((FIRST, SECOND, AGAIN), "One. Two."), ((), "The policy does not allow this.")],
    ids=["several", "none"],
)
def test_a_denial_tells_each_message_once_and_keeps_all_findings(findings: tuple[Finding, ...], message: str) -> None:
    for profile in ("scripted", ""):
        verdict = judge(Denied(findings, Trace(profile, "0" * 64)))
        assert verdict == No(Problem(Reason.POLICY, message, findings), profile or None, "0" * 64)


def test_what_a_rule_on_trial_would_deny_is_logged() -> None:
    approved = ScriptedPolicy().decide(ask())
    trace = approved.trace._replace(shadows=(FIRST,))
    with capture_logs() as events:
        assert judge(approved._replace(trace=trace)) == approved._replace(trace=trace)
    where = {"rule": "a", "where": str(RULE), "requester": "password:pump"}
    assert events == [{"event": "shadow_rule_would_deny", "log_level": "warning", **where}]


def test_what_depends_on_the_serial_number_is_in_the_plan_that_is_linted() -> None:
    seen: list[CertificatePlan] = []

    class Listening:
        def lint(self, plan: CertificatePlan, *_: object, full: bool) -> tuple[LintFinding, ...]:
            seen.append(plan)
            return ()

    approved = ScriptedPolicy().decide(ask())
    amending = Judge(
        lambda _: approved,
        {"issuing": ISSUER},
        Listening(),  # type: ignore[arg-type] # what is asked of a linter
        amend=lambda plan, serial: replace(plan, profile=f"number {serial}"),
    )
    verdict = amending.judge(ask(), 7)
    assert isinstance(verdict, Approved)
    assert [verdict.plan.profile, *(plan.profile for plan in seen)] == ["number 7"] * 2


async def test_an_issuer_that_is_not_configured_is_internal(store: FlakyStore) -> None:
    assert problem(await Door(store, issuers={}).submit(ask())).reason is Reason.INTERNAL


async def test_what_lint_finds_is_not_signed(store: FlakyStore) -> None:
    class Strict:
        def lint(self, *_: object, full: bool) -> tuple[LintFinding, ...]:
            return (LintFinding("pkix.bad", "error", "certificate", "much too bad"),)

    door = Door(store, linter=Strict())
    outcome = await door.submit(ask())
    assert problem(outcome).reason is Reason.POLICY
    (request,) = await asked(store)
    (finding,) = request.findings
    assert (finding.rule, finding.message) == ("lint", "The certificate would break a rule of X.509.")
    assert "pkix.bad" in finding.value
    assert door.issuer.issued == []


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_profile_that_wants_every_certificate_linted_has_it(store: FlakyStore, *, wanted: bool) -> None:
    asked_for: list[bool] = []

    class Listening:
        def lint(self, *_: object, full: bool) -> tuple[LintFinding, ...]:
            asked_for.append(full)
            return ()

    scripted = ScriptedPolicy()

    def decide(request: EnrollmentRequest) -> Decision:
        decision = scripted.decide(request)
        assert isinstance(decision, Approved)
        return decision._replace(full_lint=wanted)

    issued(await Door(store, linter=Listening(), decide=decide).submit(ask()))
    assert asked_for == [wanted]


async def test_a_certificate_has_the_digest_of_its_policy(store: FlakyStore) -> None:
    await Door(store).submit(ask())
    (certificate,) = await stored(store)
    assert certificate.policy_digest == "0" * 64
