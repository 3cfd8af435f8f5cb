from __future__ import annotations

from policies.words import PURPOSES
from tests.fakes.policy import judge, plan, rules


def test_what_is_forced_depends_on_the_kind_of_key() -> None:
    sections = {"key_usage": {"forced": ["digitalSignature"], "forced_for": {"rsa": ["keyEncipherment"]}}}
    assert plan(judge(sections)).key_usage == {"digitalSignature"}
    assert plan(judge(sections, key="rsa:2048")).key_usage == {"digitalSignature", "keyEncipherment"}


def test_an_allowed_usage_is_granted_on_request() -> None:
    sections = {"key_usage": {"allowed": ["digitalSignature", "contentCommitment"]}}
    assert plan(judge(sections, key_usage=["contentCommitment"])).key_usage == {"contentCommitment"}
    assert not plan(judge(sections)).key_usage


def test_an_allowed_usage_that_the_key_can_not_have_is_not_granted() -> None:
    sections = {"key_usage": {"allowed": ["keyEncipherment"]}}
    decision = judge(sections, key_usage=["keyEncipherment"])
    assert not plan(decision).key_usage
    assert decision.trace.ignored == ("key_usage keyEncipherment",)


def test_a_usage_that_is_not_allowed_is_listed_or_refused() -> None:
    decision = judge(key_usage=["dataEncipherment"])
    assert plan(decision).key_usage == {"digitalSignature"}
    assert decision.trace.ignored == ("key_usage dataEncipherment",)
    assert rules(judge({"unused": {"usages": "refuse"}}, key_usage=["dataEncipherment"])) == {"key_usage"}


def test_purposes_are_forced_or_allowed_or_default() -> None:
    sections = {"extended_key_usage": {"forced": ["clientAuth"], "allowed": ["serverAuth"], "default": ["ipsecIKE"]}}
    assert plan(judge(sections)).extended_key_usage == (PURPOSES["clientAuth"], PURPOSES["ipsecIKE"])
    both = (PURPOSES["clientAuth"], PURPOSES["serverAuth"])
    assert plan(judge(sections, extended_key_usage=["serverAuth"])).extended_key_usage == both


def test_a_purpose_that_is_not_allowed_is_listed_or_refused() -> None:
    decision = judge(extended_key_usage=["codeSigning", "clientAuth"])
    assert plan(decision).extended_key_usage == (PURPOSES["clientAuth"],)
    assert decision.trace.ignored == ("extended_key_usage codeSigning",)
    assert rules(judge({"unused": {"usages": "refuse"}}, extended_key_usage=["codeSigning"])) == {"extended_key_usage"}


def test_no_purpose_left_is_denied_and_never_a_certificate_for_everything() -> None:
    sections = {"extended_key_usage": {"allowed": ["serverAuth"]}}
    assert rules(judge(sections, extended_key_usage=["codeSigning"])) == {"extended_key_usage"}
    assert rules(judge(sections)) == {"extended_key_usage"}


def test_a_purpose_may_be_a_number() -> None:
    sections = {"extended_key_usage": {"forced": ["1.2.3.4"]}}
    assert plan(judge(sections)).extended_key_usage == ("1.2.3.4",)
