from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.decision import Denied
from policies.words import POWERFUL_EXTENSIONS
from tests.fakes.policy import approved, judge, plan, rules

UNKNOWN = {"oid": "1.2.3.4", "value": "0500"}


def test_an_unknown_extension_is_listed_and_never_copied() -> None:
    decision = judge(extensions=[UNKNOWN])
    assert plan(decision).extensions == ()
    assert decision.trace.ignored == ("extension 1.2.3.4",)


def test_an_unknown_critical_extension_is_refused() -> None:
    assert rules(judge(extensions=[{**UNKNOWN, "critical": True}])) == {"unused.critical_extensions"}


def test_a_profile_says_otherwise_for_both() -> None:
    sections = {"unused": {"extensions": "refuse", "critical_extensions": "ignore"}}
    assert rules(judge(sections, extensions=[UNKNOWN])) == {"unused.extensions"}
    decision = judge(sections, extensions=[{**UNKNOWN, "critical": True}])
    assert decision.trace.ignored == ("extension 1.2.3.4 (critical)",)


def test_attributes_are_listed_or_refused() -> None:
    decision = judge(attributes=["1.3.6.1.4.1.311.13.2.3", "1.2.3"], challenge_password=True)
    assert decision.trace.ignored == (
        "attribute microsoftOsVersion",
        "attribute 1.2.3",
        "attribute challengePassword (for authentication only)",
    )
    assert rules(judge({"unused": {"attributes": "refuse"}}, attributes=["1.2.3"])) == {"unused.attributes"}


def test_a_challenge_password_is_never_in_the_trace() -> None:
    decision = judge(challenge_password=True)
    assert not any("test" in phrase for phrase in decision.trace.ignored)


def test_an_extension_that_can_not_be_read_is_denied() -> None:
    assert rules(judge(extensions=[{"oid": "2.5.29.15", "value": "0500"}])) == {"unused.unreadable"}


@pytest.mark.parametrize("oid", sorted(POWERFUL_EXTENSIONS))
def test_extensions_that_give_power_are_refused(oid: str) -> None:
    assert rules(judge(extensions=[{"oid": oid, "value": "0500"}])) == {"unused.powers"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ca": True}, "basicConstraints CA:TRUE"),
        ({"key_usage": ["keyCertSign", "cRLSign"]}, "key usage cRLSign, key usage keyCertSign"),
        ({"extended_key_usage": ["OCSPSigning"]}, "extended key usage OCSPSigning"),
        ({"extensions": [{"oid": "2.5.29.30", "value": "0500"}]}, "extension nameConstraints"),
    ],
)
def test_power_over_others_is_refused_or_listed_and_never_given(given: dict[str, Any], words: str) -> None:
    unused = {"unused": {"usages": "ignore"}}
    decision = judge(unused, **given)
    assert rules(decision) == {"unused.powers"}
    assert isinstance(decision, Denied)
    assert [finding.value for finding in decision.findings] == [words]
    decision = judge({"unused": {**unused["unused"], "powers": "ignore"}}, **given)
    assert words in decision.trace.ignored
    assert replace(plan(decision), policy_digest="") == replace(plan(judge(unused)), policy_digest="")


def test_what_has_a_place_in_certificates_is_not_unused() -> None:
    octets = {"2.5.29.17": "300d820b6465766963652e74657374", "2.5.29.15": "03020780"}
    octets |= {"2.5.29.37": "300a06082b06010505070302", "2.5.29.19": "3000"}
    asked = [{"oid": oid, "value": value, "critical": True} for oid, value in octets.items()]
    assert approved(judge({"unused": {"extensions": "refuse"}}, names=[], extensions=asked))


def test_a_power_that_the_profile_itself_forces_may_be_asked_for() -> None:
    sections = {"extended_key_usage": {"forced": ["OCSPSigning"]}}
    assert approved(judge(sections, extended_key_usage=["OCSPSigning"]))


def test_an_extension_that_the_profile_itself_brings_may_be_asked_for_with_this_value_alone() -> None:
    policy = {"oid": "2.5.29.32", "value": "300e300c060a2b0601040181fd590007"}
    mark = {"oid": "1.2.3.4", "value": "0500", "critical": True}
    sections = {
        "extensions": {"certificate_policies": {"1.3.6.1.4.1.32473.7": None}, "others": [mark]},
        "unused": {"extensions": "refuse"},
    }
    brought = [{"oid": each.oid, "value": each.value.hex()} for each in plan(judge(sections)).extensions]
    assert [each["oid"] for each in brought] == ["2.5.29.32", "1.2.3.4"]
    for critical in (False, True):
        decision = judge(sections, extensions=[{**each, "critical": critical} for each in brought])
        assert plan(decision).extensions == plan(judge(sections)).extensions
        assert decision.trace.ignored == ()
    assert rules(judge(sections, extensions=[policy])) == {"unused.powers"}
    assert rules(judge(sections, extensions=[{**mark, "value": "0101ff"}])) == {"unused.critical_extensions"}
    assert rules(judge(sections, extensions=[{**mark, "value": "0101ff", "critical": False}])) == {"unused.extensions"}
