from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ca.names import Attribute, DistinguishedName
from policies.engine import decide
from policies.words import SUBJECT_ATTRIBUTES
from tests.fakes.policy import approved, judge, plan, question, rules

if TYPE_CHECKING:
    from policies.decision import Decision


def subject(sections: dict[str, Any], **given: object) -> str:
    return str(plan(judge({"subject": sections}, **given)).subject)


def judge_subject(rule: dict[str, Any], word: str, value: str) -> Decision:
    """Judge a subject that `cryptography` would not let into a name."""
    asked = question({"subject": {"allowed": {word: rule}}})
    subject = DistinguishedName(((Attribute(SUBJECT_ATTRIBUTES[word], value),),))
    request = replace(asked.request, csr=replace(asked.request.csr, subject=subject))
    return decide(asked._replace(request=request))


def test_what_is_not_mentioned_is_forbidden() -> None:
    assert rules(judge({"subject": {}}, subject="CN=a,O=b")) == {"subject.CN", "subject.O"}


def test_an_unknown_attribute_is_named_by_its_number() -> None:
    assert rules(judge({"subject": {}}, subject="1.2.3.4=a")) == {"subject.1.2.3.4"}


def test_other_attributes_can_be_left_out_and_listed() -> None:
    decision = judge({"subject": {"others": "ignore"}}, subject="CN=a,O=b")
    assert not plan(decision).subject
    assert decision.trace.ignored == ("subject O", "subject CN")


def test_an_empty_subject_asks_for_nothing() -> None:
    assert subject({}, subject="") == ""


def test_an_allowed_subject_keeps_its_order_and_its_structure() -> None:
    allowed = {word: {"like": ["*"]} for word in ("C", "O", "CN", "serialNumber", "unstructuredName")}
    asked = "1.2.840.113549.1.9.2=r1+2.5.4.5=X1,CN=a,O=b,C=DE"
    decision = judge({"subject": {"allowed": allowed}}, subject=asked)
    assert len(plan(decision).subject.rdns) == 4
    assert len(plan(decision).subject.rdns[3]) == 2


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"like": ["pump-*"]}, "hmi-1"),
        ({"like": ["{requester}"]}, "somebody-else"),
        ({"like": ["*"], "characters": "a-z"}, "A1"),
        ({"like": ["*"], "length": 3}, "long"),
        ({"like": ["*"]}, "x" * 65),
        ({"like": ["*"]}, "\u00e9" * 33),
        ({"like": ["*"]}, "a\u0000b"),
        ({"like": ["*"]}, "a\u202eb"),
        ({"like": ["*"], "among_names": True}, "mail.test"),
    ],
)
def test_a_value_that_does_not_fit_is_denied(rule: dict[str, Any], value: str) -> None:
    assert rules(judge_subject(rule, "CN", value)) == {"subject.CN"}


@pytest.mark.parametrize("value", ["de", "DE"])
def test_a_country_is_two_letters(value: str) -> None:
    assert subject({"allowed": {"C": {"like": ["*"]}}}, subject=f"C={value}") == f"C={value}"


@pytest.mark.parametrize("value", ["D", "D1", "\u00dc", "\u00dc\u00dc", "DEU", ""])
def test_another_country_is_denied(value: str) -> None:
    assert rules(judge_subject({"like": ["*"]}, "C", value)) == {"subject.C"}


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"like": ["hmi-*", "pump-*"]}, "pump-17"),
        ({"like": ["{requester}"]}, "test"),
        ({"like": ["*"], "length": 100}, "x" * 64),
        ({"like": ["*"], "among_names": True}, "Device.Test"),
    ],
)
def test_a_value_that_fits_is_taken(rule: dict[str, Any], value: str) -> None:
    assert subject({"allowed": {"CN": rule}}, subject=f"CN={value}") == f"CN={value}"


def test_a_sign_with_the_small_letter_of_another_is_not_that() -> None:
    section = {"subject": {"allowed": {"CN": {"like": ["*"], "among_names": True}}}}
    assert rules(judge(section, subject="CN=ban\u212a.test", names=["dns:bank.test"])) == {"subject.CN"}


def test_two_common_names_are_denied_where_one_is_allowed() -> None:
    assert rules(judge(subject="CN=device,CN=admin")) == {"subject.CN"}


def test_a_common_name_hidden_in_a_multivalued_part_counts() -> None:
    assert rules(judge(subject="CN=device+CN=admin")) == {"subject.CN"}


def test_as_many_as_max_says_are_taken() -> None:
    assert subject({"allowed": {"OU": {"like": ["*"], "max": 2}}}, subject="OU=a,OU=b") == "OU=a,OU=b"


def test_a_required_attribute_that_is_missing_is_denied() -> None:
    sections = {"allowed": {"CN": {"like": ["*"], "required": True}}}
    assert rules(judge({"subject": sections}, subject="")) == {"subject.CN"}
    assert subject(sections, subject="CN=device") == "CN=device"


def test_an_attribute_that_is_not_required_may_be_missing() -> None:
    assert subject({"allowed": {"CN": {"like": ["*"]}, "O": {"like": ["*"]}}}, subject="CN=a") == "CN=a"


def test_a_forced_value_replaces_what_was_asked_for() -> None:
    sections = {"forced": {"O": "Example", "CN": "{requester}"}}
    decision = judge({"subject": sections}, subject="CN=admin", requester="password:pump-17")
    assert str(plan(decision).subject) == "CN=pump-17,O=Example"
    assert decision.trace.ignored == ("subject CN (the profile forces another)",)


def test_a_default_fills_a_gap_only() -> None:
    sections = {"allowed": {"CN": {"like": ["*"]}, "O": {"like": ["*"]}}, "default": {"O": "Example"}}
    assert subject(sections, subject="CN=a") == "CN=a,O=Example"
    assert subject(sections, subject="CN=a,O=Mine") == "CN=a,O=Mine"


def test_a_requester_whose_name_can_not_be_used_is_denied() -> None:
    decision = judge({"subject": {"forced": {"CN": "{requester}"}}}, requester="password:<script>", subject="")
    assert rules(decision) == {"subject.CN"}


def test_a_forced_value_never_exceeds_the_bound() -> None:
    forced = {"forced": {"CN": "device-{requester}"}}
    assert subject(forced, requester="password:" + "x" * 57, subject="") == "CN=device-" + "x" * 57
    assert rules(judge({"subject": forced}, requester="password:" + "x" * 58, subject="")) == {"subject.CN"}


def test_a_device_may_be_named_by_what_it_has_attested() -> None:
    section = {"subject": {"allowed": {"CN": {"like": ["*"], "among_names": True}}}}
    assert approved(judge(section, subject="CN=SN-1", evidence=["password", "device"]))
    assert rules(judge(section, subject="CN=SN-1", evidence=["password"])) == {"subject.CN"}
