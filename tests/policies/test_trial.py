from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.keys import POST_QUANTUM
from ca.names import DirectoryName, OtherName, RegisteredId
from policies.cases import parse_name
from policies.document import DocumentErrors
from policies.profile import parse_policy
from policies.trial import failed_tests
from tests.fakes.policy import CEILINGS, MINIMAL

GIVEN = {"endpoint": "est/default", "subject": "CN=device", "names": ["dns:device.test"]}


def outcome(expect: dict[str, Any], given: dict[str, Any] | None = None, **sections: object) -> str:
    """Return what the one test of a file says, nothing when it passes."""
    text = json.dumps(
        {
            "version": 1,
            "profiles": {"device": {**MINIMAL, **sections}},
            "tests": [{"name": "t", "given": {**GIVEN, **(given or {})}, "expect": expect}],
        }
    )
    return "\n".join(problem.message for problem in failed_tests(parse_policy(text, "f.yaml"), CEILINGS))


def refused(**test: Any) -> str:
    with pytest.raises(DocumentErrors) as caught:
        outcome(test.pop("expect", {"decision": "approved"}), test)
    return str(caught.value)


EVERYTHING = {
    "decision": "approved",
    "subject": "CN=DEVICE",
    "names": ["dns:device.test"],
    "lifetime": "90d",
    "key_usage": ["digitalSignature"],
    "extended_key_usage": ["clientAuth"],
}


def test_a_test_that_holds_says_nothing() -> None:
    assert not outcome(EVERYTHING)
    assert not outcome({"decision": "denied", "rules": ["unused.powers"]}, {"ca": True})
    assert not outcome({"decision": "denied"}, {"ca": True})
    assert not outcome({"decision": "deferred", "lifetime": "90d"}, approval="manual")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("subject", "CN=other", 'expected the subject "CN=other", it is "CN=device"'),
        ("names", [], "expected the names [], they are [dns:device.test]"),
        ("lifetime", "1d", "expected a lifetime of 1d, it is 90d"),
        ("key_usage", [], "expected the key usage [], it is [digitalSignature]"),
        ("extended_key_usage", ["serverAuth"], "expected the extended key usage [serverAuth], it is [clientAuth]"),
    ],
)
def test_each_difference_is_said(key: str, value: object, message: str) -> None:
    assert outcome({**EVERYTHING, key: value}) == f'test "t" fails: {message}'


def test_an_unexpected_denial_comes_with_its_reasons_and_places() -> None:
    text = outcome({"decision": "approved"}, {"ca": True})
    assert "expected approved, the decision is denied (unused.powers at f.yaml:1:" in text


def test_an_unexpected_approval_is_a_failure() -> None:
    assert outcome({"decision": "denied"}) == 'test "t" fails: expected denied, the decision is approved'


def test_a_denial_by_other_rules_is_a_failure() -> None:
    text = outcome({"decision": "denied", "rules": ["key.allowed"]}, {"ca": True})
    assert text.endswith("expected the rules key.allowed, denied by unused.powers")


def test_an_approval_where_a_person_should_decide_is_a_failure() -> None:
    assert "expected deferred, the decision is approved" in outcome({"decision": "deferred"})


@pytest.mark.parametrize("key", ["ec:P-256", "ec:P-384", "ec:P-521", "rsa:2048", "rsa:4096", "ed25519", *POST_QUANTUM])
def test_every_kind_of_key_can_be_tried(key: str) -> None:
    usage = {"forced_for": {key: ["keyEncipherment"]}} if "kem" in key else {}
    assert not outcome({"decision": "approved"}, {"key": key}, key={"allowed": [key]}, key_usage=usage)


def test_a_certificate_can_be_shown() -> None:
    given_ = {"evidence": ["certificate"], "certificate": {"subject": "CN=device", "names": ["dns:device.test"]}}
    assert not outcome({"decision": "approved"}, given_)


def test_the_end_of_the_issuer_can_be_tried() -> None:
    assert not outcome({"decision": "denied", "rules": ["validity.issuer"]}, {"issuer_left": "30d"})


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"key": "dsa"}, '"dsa" is no key; write rsa:2048'),
        ({"names": ["device.test"]}, "is no name; write dns:device.example"),
        ({"requester": "pasword:x"}, 'write kind and name, like password:pump-17; did you mean "password"?'),
        ({"requester": "pump-17"}, '"pump-17" is no requester'),
        ({"names": [5]}, "a name is written like dns:device.example"),
        ({"names": ["ip:x"]}, "does not appear to be an IPv4 or IPv6 address"),
        ({"subject": "device"}, "not a distinguished name"),
        ({"subject": 5}, "a subject is written like CN=device"),
        ({"endpoint": "ets/a"}, "an endpoint is written like est/default; protocols: acme, est, scep"),
        ({"extensions": [{"oid": "1.2", "value": "xyz"}]}, "non-hexadecimal"),
        ({"evidence": ["pasword"]}, 'did you mean "password"?'),
        ({"expect": {"decision": "denied", "subject": ""}}, "a denied request has no certificate"),
        ({"expect": {"decision": "approved", "rules": []}}, "it goes with decision: denied"),
    ],
)
def test_a_slip_in_a_test_is_a_message_with_the_way_out(test: dict[str, Any], message: str) -> None:
    assert message in refused(**test)


def test_every_kind_of_name_can_be_written() -> None:
    assert parse_name("rid:1.2.3") == RegisteredId("1.2.3")
    assert parse_name("other:1.2:0c0161") == OtherName("1.2", bytes.fromhex("0c0161"))
    assert isinstance(parse_name("dirname:CN=a"), DirectoryName)


@given(st.text() | st.tuples(st.sampled_from(["dns", "ip", "dirname", "other", "rid"]), st.text()).map(":".join))
def test_any_text_is_a_name_or_a_value_error(text: str) -> None:
    try:
        name = parse_name(text)
    except ValueError:
        return
    assert str(name)
