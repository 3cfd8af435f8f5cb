"""otherName in subjectAltName, by type."""

from __future__ import annotations

from typing import Any

import pytest

from ca.names import OtherName
from policies.document import DocumentErrors
from policies.patterns import other_name
from tests.fakes.policy import judge, plan, profile, rules

UPN = "1.3.6.1.4.1.311.20.2.3"


def text(value: str, tag: str = "0c") -> str:
    return f"other:{UPN}:{tag}{len(value):02x}{value.encode().hex()}"


ANN = text("ann@corp.test")


def judged(section: dict[str, Any], *names: str, **given: object) -> list[str]:
    return [str(name) for name in plan(judge({"names": {"other": section}}, names=list(names), **given)).names]


def denied(section: dict[str, Any], *names: str, **given: object) -> set[str]:
    return rules(judge({"names": {"other": section}}, names=list(names), **given))


def test_a_text_is_compared_with_patterns_of_its_type() -> None:
    assert judged({"allowed": ["upn:*@corp.test"]}, ANN) == [ANN]
    assert judged({"allowed": [f"{UPN}:ann@*"]}, ANN) == [ANN]
    assert denied({"allowed": ["upn:*@corp.test"]}, text("ann@other.test")) == {"names.other"}
    assert denied({"allowed": ["1.2.3:*"]}, ANN) == {"names.other"}


def test_only_the_requester_gets_its_own_name() -> None:
    section = {"allowed": ["upn:{requester}@corp.test"]}
    assert judged(section, ANN, requester="password:ann") == [ANN]
    assert denied(section, ANN, requester="password:bob") == {"names.other"}


def test_a_value_that_is_no_text_matches_its_octets_only() -> None:
    section = {"allowed": ["upn:*", "1.2.3:#020107"]}
    assert judged(section, "other:1.2.3:020107") == ["other:1.2.3:020107"]
    for name in ("other:1.2.3:020108", f"other:{UPN}:020107", f"other:{UPN}:0c", text("a\x00b"), text("a", "1e")):
        assert denied(section, name) == {"names.other"}


def test_what_the_profile_forces_is_a_utf8_string() -> None:
    assert judged({"forced": ["upn:{requester}@corp.test"]}, requester="password:ann") == [ANN]
    assert judged({"default": ["1.2.3:#0500"]}) == ["other:1.2.3:0500"]
    assert denied({"forced": ["upn:{requester}@corp.test"]}, requester="password:a/b") == {"names.other"}


def test_forbidden_beats_allowed_and_there_may_be_so_many() -> None:
    assert denied({"allowed": ["upn:*"], "forbidden": ["upn:admin*"]}, text("administrator@corp.test"))
    assert denied({"allowed": ["upn:*"]}, ANN, text("bob@corp.test")) == {"names.other.count"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ann@corp.test", "is no otherName"),
        ("upn:", "is no otherName"),
        ("x.y:z", "is no otherName"),
        ("1.2.3:#zz", "DER in hex"),
        ("1.2.3:#0c05", "DER in hex"),
        ("upn:{user}", "is no placeholder"),
    ],
)
def test_a_slip_in_a_pattern_is_told(value: str, message: str) -> None:
    with pytest.raises(DocumentErrors, match=message):
        profile(names={"other": {"allowed": [value]}})


def test_a_pattern_can_not_be_forced() -> None:
    with pytest.raises(DocumentErrors, match="write the whole value"):
        profile(names={"other": {"forced": ["upn:*@corp.test"]}})


DEVICES = [
    ("permanentIdentifier:C02*", "C02XYZ", "1.3.6.1.5.5.7.8.3", b"\x30\x08\x0c\x06C02XYZ"),
    ("permanentIdentifier:*/1.2.3", "C02/1.2.3", "1.3.6.1.5.5.7.8.3", b"\x30\x09\x0c\x03C02\x06\x02*\x03"),
    ("hardwareModule:*/1.2.3", "C02/1.2.3", "1.3.6.1.5.5.7.8.4", b"\x30\x09\x06\x02*\x03\x04\x03C02"),
]


@pytest.mark.parametrize(("pattern", "text_", "type_id", "octets"), DEVICES)
def test_names_of_devices_are_compared_by_their_text(pattern: str, text_: str, type_id: str, octets: bytes) -> None:
    name = OtherName(type_id, octets)
    assert other_name(f"{pattern.partition(':')[0]}:{text_}") == name
    assert judged({"allowed": [pattern]}, str(name)) == [str(name)]
    for wrong in (octets[:-1] + b"\x7f", b"\x30\x00"):
        assert denied({"allowed": [pattern]}, str(OtherName(type_id, wrong))) == {"names.other"}
