from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.policy import judge, plan, rules


def names(sections: dict[str, Any], *asked: str, **given: object) -> list[str]:
    return [str(name) for name in plan(judge({"names": sections}, names=list(asked), **given)).names]


def denied(sections: dict[str, Any], *asked: str, **given: object) -> set[str]:
    return rules(judge({"names": sections}, names=list(asked), **given))


EVERY = {
    "dns": {"allowed": ["device.test"]},
    "ip": {"allowed": ["10.0.0.0/8"]},
    "email": {"allowed": ["*@example.test"]},
    "uri": {"allowed": ["urn:uuid:*"]},
}
ASKED = ["dns:device.test", "ip:10.1.2.3", "email:ann@example.test", "uri:urn:uuid:1"]


def test_each_kind_has_its_own_list() -> None:
    assert names(EVERY, *ASKED) == ASKED


def test_a_kind_without_a_list_is_forbidden() -> None:
    assert denied({}, *ASKED) == {"names.dns", "names.ip", "names.email", "names.uri"}


@pytest.mark.parametrize("name", ["rid:1.2.3", "dirname:CN=a", "other:1.3.6.1.4.1.311.20.2.3:0c0161"])
def test_other_kinds_are_always_forbidden(name: str) -> None:
    assert denied(EVERY, name) == {"names.other"}


@pytest.mark.parametrize(
    "name", ["dns:admin.test", "ip:11.0.0.1", "email:ann@other.test", "uri:urn:other:1", "dns:device.test.evil.example"]
)
def test_a_name_that_matches_nothing_is_denied_by_the_rule_of_its_kind(name: str) -> None:
    assert denied(EVERY, name) == {f"names.{name.partition(':')[0]}"}


@pytest.mark.parametrize("name", ["a.test", "x.one.test", "whole.test.example", "me-1.test.example"])
def test_lists_mix_whole_names_labels_depths_and_placeholders(name: str) -> None:
    allowed = ["a.test", "**.one.test", "*.test.example", "{requester}.test.example"]
    assert names({"dns": {"allowed": allowed}}, f"dns:{name}", requester="password:me-1") == [f"dns:{name}"]


def test_a_device_gets_its_own_name_only() -> None:
    sections = {"dns": {"allowed": ["{requester}.test"]}}
    assert names(sections, "dns:pump-17.test", requester="password:pump-17") == ["dns:pump-17.test"]
    assert denied(sections, "dns:pump-18.test", requester="password:pump-17") == {"names.dns"}


def test_deny_beats_allow() -> None:
    sections = {"dns": {"allowed": ["**.test"], "forbidden": ["admin.test", "**.root.test"], "max": 2}}
    assert denied(sections, "dns:admin.test") == {"names.dns"}
    assert denied(sections, "dns:a.root.test") == {"names.dns"}
    assert names(sections, "dns:a.test") == ["dns:a.test"]


def test_a_wildcard_needs_permission() -> None:
    assert denied({"dns": {"allowed": ["**.test"]}}, "dns:*.a.test") == {"names.dns"}
    assert names({"dns": {"allowed": ["**.test"], "wildcards": "allowed"}}, "dns:*.a.test") == ["dns:*.a.test"]


def test_a_wildcard_that_covers_a_forbidden_name_is_denied() -> None:
    sections = {"dns": {"allowed": ["**.test"], "forbidden": ["admin.test"], "wildcards": "allowed"}}
    assert denied({"dns": {**sections["dns"], "allowed": ["*.test"]}}, "dns:*.test") == {"names.dns"}


def test_counts_are_kept() -> None:
    sections = {"dns": {"allowed": ["**.test"], "min": 1, "max": 2}}
    assert denied(sections) == {"names.dns.count"}
    assert denied(sections, "dns:a.test", "dns:b.test", "dns:c.test") == {"names.dns.count"}
    assert len(names(sections, "dns:a.test", "dns:b.test")) == 2


def test_a_repeated_name_is_there_once_and_listed() -> None:
    decision = judge(names=["dns:a.test", "dns:a.test"])
    assert len(plan(decision).names) == 1
    assert decision.trace.ignored == ("a repetition in subjectAltName",)


def test_a_profile_can_refuse_repetitions() -> None:
    decision = judge({"unused": {"duplicate_names": "refuse"}}, names=["dns:a.test", "dns:a.test"])
    assert rules(decision) == {"unused.duplicate_names"}


@pytest.mark.parametrize("key", ["forced", "default"])
def test_deny_beats_what_a_request_makes_of_a_placeholder(key: str) -> None:
    sections = {"dns": {key: ["{csr.CN}.test"], "allowed": ["**.test"], "forbidden": ["admin.test"]}}
    assert names(sections, subject="CN=pump") == ["dns:pump.test"]
    assert denied(sections, subject="CN=admin") == {"names.dns"}
    assert denied(sections, subject="CN=Admin") == {"names.dns"}


def test_forced_names_are_always_there_and_may_be_asked_for() -> None:
    sections = {"dns": {"forced": ["{requester}.test"]}, "ip": {"forced": ["10.0.0.1"]}}
    assert names(sections, requester="password:a") == ["dns:a.test", "ip:10.0.0.1"]
    assert names(sections, "dns:a.test", requester="password:a") == ["dns:a.test", "ip:10.0.0.1"]
    assert denied(sections, "dns:b.test", requester="password:a") == {"names.dns", "names.dns.count"}


def test_defaults_are_there_when_nothing_of_the_kind_is_asked_for() -> None:
    sections = {"uri": {"allowed": ["urn:x:*"], "default": ["urn:x:{requester}"]}}
    assert names(sections, requester="password:a") == ["uri:urn:x:a"]
    assert names(sections, "uri:urn:x:b", requester="password:a") == ["uri:urn:x:b"]


@pytest.mark.parametrize("requester", ["password:a/b", "password:a b"])
def test_a_requester_that_makes_no_name_is_denied(requester: str) -> None:
    assert "names.dns" in denied({"dns": {"forced": ["{requester}.test"]}}, requester=requester)
