from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.plan import KeyUsage
from policies.decision import Location
from policies.document import DocumentErrors
from policies.profile import Ceilings, ceiling_problems, fits_key, parse_policy, parse_profiles
from tests.fakes.policy import MINIMAL, profile

if TYPE_CHECKING:
    from policies.profile import Profile


def problems(**sections: object) -> list[str]:
    with pytest.raises(DocumentErrors) as caught:
        profile(**sections)
    return [problem.message for problem in caught.value.problems]


def file_problems(tests: list[dict[str, Any]], names: tuple[str, ...] = ("device",)) -> list[str]:
    text = json.dumps({"version": 1, "profiles": dict.fromkeys(names, MINIMAL), "tests": tests})
    with pytest.raises(DocumentErrors) as caught:
        parse_policy(text, "f.yaml")
    return [problem.message for problem in caught.value.problems]


def case(name: str, **more: object) -> dict[str, Any]:
    return {"name": name, "given": {"endpoint": "est/default"}, "expect": {"decision": "denied"}, **more}


def test_a_profile_knows_the_place_of_each_of_its_keys() -> None:
    text = "version: 1\nprofiles:\n  device:\n    endpoints: [est/*]\n    issuer: ca\n    evidence: {any: [password]}\n"
    text += (
        "    key: {allowed: [ed25519]}\n    extended_key_usage: {forced: [clientAuth]}\n    validity: {default: 1d}\n"
    )
    (device,) = parse_profiles(text, "f.yaml")
    assert device.place() == Location("f.yaml", 3, 3)
    assert device.place("key", "allowed", 0) == Location("f.yaml", 7, 21)
    assert device.place("names", "dns", "allowed") == Location("f.yaml", 3, 3)


def test_the_digest_is_that_of_the_file() -> None:
    text = json.dumps({"version": 1, "profiles": {"device": MINIMAL}})
    file = parse_policy(text, "f.yaml")
    assert file.digest == file.profiles[0].digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"endponts": ["est/*"]}, 'unknown key "endponts"; did you mean "endpoints"?'),
        ({"endpoints": ["ets/*"]}, '"ets" is no protocol; did you mean "est"?'),
        ({"endpoints": ["est"]}, 'endpoints[0]: "est" is no endpoint'),
        (
            {"evidence": {"any": ["passwort"]}},
            'evidence.any[0]: "passwort" is no kind of evidence; did you mean "password"?',
        ),
        ({"evidence": {}}, "evidence: write either any: [...] or all: [...]"),
        ({"evidence": {"any": ["challenge", "possession"]}}, "possession proves a key and no identity"),
        (
            {"evidence": {"any": ["possession"]}, "approval": {"when": 'csr.key.kind == "rsa"'}},
            "possession proves a key and no identity",
        ),
        (
            {"renewal": {"evidence": {"all": ["possession"]}}},
            "possession proves a key and no identity",
        ),
        ({"key": {"allowed": ["ec:P-265"]}}, '"P-265" is no curve; did you mean "P-256"?'),
        ({"key": {"allowed": ["rsa"]}}, '"rsa" is no key; write ec:P-256'),
        ({"key": {"allowed": ["rsa:4096-2048"]}}, "begins with the larger size"),
        ({"key": {"allowed": [2048]}}, "a key is written ec:P-256"),
        ({"key": {"allowed": []}}, "at least 1 item"),
        ({"subject": {"allowed": {"CNN": {"like": ["*"]}}}}, '"CNN" is no subject attribute; did you mean "CN"?'),
        ({"subject": {"allowed": {"CN": None}}}, "subject.allowed.CN: a value is missing"),
        ({"subject": {"forced": {"O": "x"}, "default": {"O": "y"}}}, "O is forced: it can't be allowed"),
        ({"subject": {"forced": {"O": "{cn}"}}}, "{cn} is no placeholder"),
        ({"subject": {"forced": {"O": ""}}}, "a value can't be empty"),
        ({"names": {"dns": {"allowed": ["*"]}}}, "every name of every domain"),
        ({"names": {"dns": {"allowed": [5]}}}, "must be text; put it in quotes"),
        ({"names": {"dns": {"min": 3}}}, "min (3) is above max (1)"),
        ({"names": {"dns": {"forced": ["a b"]}}}, "not a DNS name"),
        ({"names": {"ip": {"forced": ["10.0.0"]}}}, "write one address"),
        ({"names": {"dsn": {}}}, 'unknown key "dsn"; did you mean "dns"?'),
        ({"key_usage": {"forced": ["keyCertSign"]}}, "make a CA"),
        ({"key_usage": {"forced_for": {"dsa": []}}}, '"dsa" is no kind of key'),
        ({"key_usage": {"forced": ["keyEncipherment"]}}, "keyEncipherment is not for ec keys, which are allowed here"),
        ({"key_usage": {"forced_for": {"rsa": ["keyAgreement"]}}}, "keyAgreement is not for rsa keys"),
        ({"extended_key_usage": {"forced": ["clientauth"]}}, 'did you mean "clientAuth"?'),
        ({"extended_key_usage": {"forced": ["anyExtendedKeyUsage"]}}, "removes every restriction"),
        ({"extended_key_usage": {"allowed": ["OCSPSigning"]}}, "it can be forced, never asked for"),
        ({"extended_key_usage": {}}, "no purpose at all would be every purpose"),
        ({"validity": {"default": 90}}, "like 90d"),
        ({"validity": {"default": "30s"}}, "at least one minute"),
        ({"validity": {"default": "1d", "backdate": "3d"}}, "more than 48h"),
        ({"validity": {"default": "90d", "max": "90d"}}, "longer than max"),
        ({"renewal": {"window": "0%"}}, "from 1% to 100%"),
        ({"renewal": {"window": "soon"}}, "like 90d"),
        ({"unused": {"powers": "copy"}}, "should be 'ignore' or 'refuse'"),
        ({"approval": "maybe"}, "should be 'none' or 'manual'"),
        ({"issuer": None}, '"issuer" is missing'),
    ],
)
def test_a_slip_in_a_profile_is_a_message_with_the_way_out(sections: dict[str, Any], message: str) -> None:
    found = problems(**sections)
    assert len(found) == 1
    assert message in found[0]


def test_all_slips_of_a_profile_come_at_once() -> None:
    assert len(problems(issuer=5, endponts=[], key={"allowed": ["dsa"]}, validity={"default": "x"})) == 4


def test_the_name_of_a_profile_is_plain() -> None:
    text = json.dumps({"version": 1, "profiles": {"My Device": MINIMAL}})
    with pytest.raises(DocumentErrors, match="is no name for a profile"):
        parse_profiles(text, "f.yaml")


def test_a_test_needs_a_name_of_its_own() -> None:
    assert file_problems([case("a"), case("a")]) == ['a second test is called "a"']


def test_a_test_says_which_of_several_profiles_it_means() -> None:
    (message,) = file_problems([case("a")], ("device", "other"))
    assert "write profile: with one of device, other" in message


def test_a_test_for_an_unknown_profile_is_a_slip() -> None:
    assert file_problems([case("a", profile="devise")]) == [
        '"devise" is no profile of this file; did you mean "device"?'
    ]


def test_a_profile_above_the_ceilings_is_named_with_the_place_of_each_excess() -> None:
    tall = profile(key={"allowed": ["ed25519", "rsa:1024-4096"]}, validity={"default": "400d"})
    found = list(ceiling_problems(tall, Ceilings(timedelta(days=90))))
    assert [problem.location for problem in found] == [
        tall.place("validity", "default"),
        tall.place("key", "allowed", 1),
    ]
    assert "above the ceiling of 90d" in found[0].message
    assert "below the ceiling of 2048 bits" in found[1].message


def test_the_excess_of_max_is_shown_at_max() -> None:
    tall = profile(validity={"default": "30d", "max": "400d"})
    (found,) = ceiling_problems(tall, Ceilings(timedelta(days=90)))
    assert found.location == tall.place("validity", "max")


def test_key_usages_fit_kinds_of_keys() -> None:
    assert fits_key(KeyUsage.DIGITAL_SIGNATURE, "ed25519")
    assert fits_key(KeyUsage.KEY_ENCIPHERMENT, "rsa")
    assert not fits_key(KeyUsage.KEY_ENCIPHERMENT, "ec")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_tree_is_a_policy_or_document_errors(tree: object) -> None:
    try:
        parse_policy(json.dumps({"version": 1, "profiles": tree}), "f.yaml")
    except DocumentErrors as errors:
        count = len(errors.problems)
    else:
        count = 0
    assert count


@given(st.sampled_from(sorted(MINIMAL)), st.recursive(st.integers() | st.text(max_size=5), st.lists))
def test_any_value_in_a_section_is_a_profile_or_document_errors(section: str, value: object) -> None:
    try:
        profile(**{section: value})
    except DocumentErrors as errors:
        assert all(problem.location.file == "device.yaml" for problem in errors.problems)  # noqa: PT017 - either is right


def test_what_a_rule_makes_of_a_profile_is_made_once_for_each_profile_and_rule() -> None:
    made: list[str] = []

    def first(one: Profile) -> str:
        made.append(one.name)
        return f"first of {one.name}"

    def second(one: Profile) -> str:
        return f"second of {one.name}"

    device, other = profile(), profile(lint="always")
    assert [device.prepared(first), device.prepared(second), device.prepared(first)] == [
        "first of device",
        "second of device",
        "first of device",
    ]
    assert made == ["device"]
    assert other.prepared(first) == "first of device"
    assert made == ["device", "device"]
