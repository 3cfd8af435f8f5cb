from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import policies.rules
from policies import engine
from policies.decision import Approved, Deferred, Denied, Verdict
from policies.engine import RULES, decide
from policies.ruling import Rule
from policies.trial import TEST_NOW
from tests.fakes.policy import judge, plan, profile, question

if TYPE_CHECKING:
    from policies.ruling import Draft, Question, Report

NAMES = ["dns:device.test", "dns:a.test", "dns:*.a.test", "ip:10.0.0.1", "rid:1.2", "dns:x.example"]

requests = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(["ec:P-256", "rsa:1024", "rsa:2048", "ed25519"]),
        "subject": st.sampled_from(["", "CN=device", "CN=a,CN=b", "CN=device,O=x", "CN=other"]),
        "names": st.lists(
            st.sampled_from(
                ["dns:device.test", "dns:a.test", "dns:*.a.test", "ip:10.0.0.1", "rid:1.2", "dns:x.example"]
            ),
            max_size=5,
        ),
        "evidence": st.lists(st.sampled_from(["password", "challenge", "certificate", "account"]), unique=True),
        "ca": st.booleans(),
        "key_usage": st.lists(st.sampled_from(["digitalSignature", "keyCertSign"]), unique=True),
        "extended_key_usage": st.lists(st.sampled_from(["clientAuth", "OCSPSigning"]), unique=True),
        "renews": st.sampled_from([{"subject": "CN=device", "names": ["dns:device.test"]}, {"profile": "other"}]),
        "extensions": st.sampled_from([[{"oid": "1.2.3", "critical": True}], [{"oid": "2.5.29.15", "value": "05"}]]),
    },
)


def no(question: Question, draft: Draft, report: Report) -> None:
    report.failed("no", question.profile.place(), "no")


def broken(question: Question, draft: Draft, report: Report) -> None:
    raise RuntimeError("secret detail")


def findings(decision: object) -> set[object]:
    return set(decision.findings) if isinstance(decision, Denied) else set()


@given(requests, st.permutations(RULES))
def test_the_order_of_rules_does_not_matter(given_: dict[str, Any], rules: list[Rule]) -> None:
    asked = question({}, **given_)
    first, second = decide(asked), decide(asked, rules)
    assert type(first) is type(second)
    assert findings(first) == findings(second)
    if isinstance(first, Approved):
        assert first.plan == plan(second)


@given(requests, st.sets(st.sampled_from(range(len(RULES)))), st.sampled_from(range(len(RULES))))
def test_a_further_rule_never_turns_a_denial_into_an_approval(given_: dict[str, Any], some: set[int], one: int) -> None:
    asked = question({}, **given_)
    few = [RULES[index] for index in sorted(some)]
    fewer, more = decide(asked, few), decide(asked, [*few, RULES[one]])
    assert findings(fewer) <= findings(more)
    if isinstance(more, Approved):
        assert isinstance(fewer, Approved)
        assert fewer.plan == more.plan


@given(requests)
def test_nothing_of_a_request_reaches_a_plan_but_what_the_profile_allows(given_: dict[str, Any]) -> None:
    decision = judge(**given_)
    if isinstance(decision, Approved):
        made = decision.plan
        assert not made.ca
        assert made.extensions == ()
        assert made.key_usage == {"digitalSignature"}
        assert made.extended_key_usage == ("1.3.6.1.5.5.7.3.2",)
        assert all(str(name).endswith(".test") for name in made.names)
        assert made.not_after - TEST_NOW < timedelta(days=90)


@given(requests)
@settings(max_examples=30)
def test_a_denial_always_has_a_reason_and_an_approval_none(given_: dict[str, Any]) -> None:
    decision = judge(**given_)
    failures = [check for check in decision.trace.checks if check.verdict is not Verdict.PASS]
    assert bool(failures) is isinstance(decision, Denied)


def test_every_rule_there_is_judges() -> None:
    modules = [import_module(f"policies.rules.{each.name}") for each in iter_modules(policies.rules.__path__)]
    assert {rule.judge for rule in RULES} == {module.judge for module in modules if hasattr(module, "judge")}
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_an_exception_in_a_rule_denies_and_says_nothing_of_itself_to_the_requester() -> None:
    decision = decide(question({}), [*RULES, Rule("broken", broken)])
    assert isinstance(decision, Denied)
    (finding,) = decision.findings
    assert "secret" not in finding.message
    assert "secret detail" in finding.value
    assert decision.trace.checks[-1].verdict is Verdict.ERROR


def test_the_other_rules_run_in_spite_of_an_exception() -> None:
    decision = decide(question({}), [Rule("broken", broken), Rule("no", no)])
    assert {finding.rule for finding in findings(decision)} == {"broken", "no"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("part", "build"),
    [
        ("subject", "subject.build"),
        ("names", "names.build"),
        ("key_usage", "usages.build_key_usage"),
        ("extended_key_usage", "usages.build_purposes"),
        ("validity", "validity.build"),
    ],
)
def test_an_exception_in_a_part_of_the_certificate_denies_and_the_rules_judge_the_rest(
    part: str, build: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"policies.engine.{build}", broken)
    decision = judge()
    assert isinstance(decision, Denied)
    assert {finding.rule for finding in decision.findings} == {part}


def test_the_names_can_be_judged_alone() -> None:
    asked = question({}, names=["dns:device.test", "ip:10.0.0.1"], subject="CN=device,O=x")
    decision = decide(asked)
    assert isinstance(decision, Denied)
    alone = engine.objections_to_names(asked)
    assert alone
    assert set(alone) == {finding for finding in decision.findings if finding.rule.startswith("names")}


def test_a_plan_is_built_from_the_profile() -> None:
    decision, device = judge(), profile()
    made = plan(decision)
    assert (decision.trace.profile, decision.trace.policy_digest) == ("device", device.digest)
    assert made.not_after - made.not_before > timedelta(days=89)
    assert (made.issuer, made.profile, made.policy_digest) == ("issuing", "device", device.digest)
    assert str(made.subject) == "CN=device"
    assert made.spki == question({}).request.csr.spki


def test_a_profile_can_want_a_person_to_approve() -> None:
    for approval, message, limit in (
        ("manual", "a person must approve this request", "1 of anybody"),
        ({"count": 2}, "persons must approve this request", "2 of anybody"),
    ):
        decision = judge({"approval": approval})
        assert isinstance(decision, Deferred)
        assert decision.plan.subject
        (finding,) = decision.findings
        assert (finding.rule, finding.message, finding.limit) == ("approval", message, limit)


def test_a_person_is_not_asked_about_what_is_denied() -> None:
    assert isinstance(judge({"approval": "manual"}, ca=True), Denied)


def test_the_trace_has_every_check_with_its_place_and_value() -> None:
    trace = judge(names=["dns:device.test", "dns:b.test"]).trace
    values = {(check.rule, check.value) for check in trace.checks}
    assert {("names.dns", "dns:device.test"), ("names.dns", "dns:b.test"), ("key.allowed", "ec:P-256")} <= values
    assert all(check.location.file == "device.yaml" and check.location.line > 1 for check in trace.checks)


@pytest.mark.parametrize("approval", ["none", "manual"])
@pytest.mark.parametrize("lint", ["shape", "always"])
def test_the_decision_says_whether_to_lint_each_certificate(lint: str, approval: str) -> None:
    decision = judge({"lint": lint, "approval": approval})
    assert isinstance(decision, Approved | Deferred)
    assert decision.full_lint == (lint == "always")
