from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import pytest

from policies.posture import Severity, concerns
from policies.profile import parse_policy
from tests.fakes.policy import MINIMAL

README = (resources.files("policies") / "README.md").read_text(encoding="utf-8")
SOURCE = (resources.files("policies") / "posture.py").read_text(encoding="utf-8")
BOUND: dict[str, Any] = {
    "subject": {"forced": {"CN": "{requester}"}},
    "names": {"dns": {"allowed": ["{requester}.plant.example"]}},
}
FREE: dict[str, Any] = {
    "subject": MINIMAL["subject"],
    "names": MINIMAL["names"],
    "evidence": {"any": ["certificate"]},
}
TEST = {"name": "one", "given": {"endpoint": "est/default"}, "expect": {"decision": "approved"}}


def found(**sections: object) -> dict[str, Severity]:
    content = {"version": 1, "profiles": {"device": {**MINIMAL, **BOUND, **sections}}, "tests": [TEST]}
    text = json.dumps(content, indent=1)
    every = concerns(parse_policy(text, "device.yaml"))
    assert all(str(one).startswith(f"device.yaml:{one.location.line}:") for one in every)
    return {one.id: one.severity for one in every}


def test_a_profile_that_binds_its_names_has_no_weak_spot() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ({"subject": MINIMAL["subject"]}, {"requester-names-itself": Severity.HIGH}),
        ({"names": MINIMAL["names"]}, {"requester-names-itself": Severity.MEDIUM}),
        ({"subject": MINIMAL["subject"], "approval": "manual"}, {}),
        ({"subject": MINIMAL["subject"], "extended_key_usage": {"forced": ["serverAuth"]}}, {}),
        ({"subject": MINIMAL["subject"], "evidence": {"any": ["certificate"]}}, {}),
        (
            {"subject": MINIMAL["subject"], "evidence": {"any": ["account"]}},
            {"requester-names-itself": Severity.MEDIUM},
        ),
        ({"names": MINIMAL["names"], "evidence": {"any": ["account"]}}, {}),
        ({"subject": {"allowed": {"CN": {"like": ["*"], "among_names": True}}}}, {}),
        ({"subject": {"allowed": {"CN": {"like": ["{requester}-*"]}}}}, {}),
        ({"extended_key_usage": {"forced": ["cmcRA"]}}, {"enrollment-agent": Severity.HIGH}),
        (
            {"extended_key_usage": {"forced": ["certificateRequestAgent"]}, "approval": "manual"},
            {"enrollment-agent": Severity.MEDIUM},
        ),
        ({"certificate_names": "any", **FREE}, {"certificate-for-any-name": Severity.HIGH}),
        ({"certificate_names": "any"}, {}),
        ({"certificate_names": "any", "evidence": {"any": ["password"]}}, {}),
        ({"renewal": {"subject": "any"}, **FREE}, {"renewal-changes-identity": Severity.MEDIUM}),
        ({"renewal": {"names": "any"}, **FREE}, {"renewal-changes-identity": Severity.MEDIUM}),
        ({"renewal": {"subject": "any", "names": "any"}}, {}),
        ({"renewal": None}, {}),
        ({"evidence": {"any": ["challenge"]}}, {"renewal-without-certificate": Severity.LOW}),
        ({"evidence": {"any": ["challenge"]}, "renewal": None}, {}),
        ({"evidence": {"any": ["challenge", "certificate"]}}, {}),
        ({"evidence": {"any": ["challenge"]}, "renewal": {"evidence": {"any": ["certificate"]}}}, {}),
        (
            {"evidence": {"all": ["certificate"]}, "renewal": {"evidence": {"all": ["challenge"]}}},
            {"renewal-without-certificate": Severity.LOW},
        ),
        ({"unused": {"powers": "ignore"}}, {"powers-ignored": Severity.LOW}),
        ({"key": {"allowed": ["rsa:2048"], "weak": "report"}}, {"weak-keys": Severity.HIGH}),
        ({"validity": {"default": "5y"}}, {"long-validity": Severity.LOW}),
        (
            {"validity": {"default": "400d"}, "extended_key_usage": {"forced": ["serverAuth"]}},
            {"long-validity": Severity.LOW},
        ),
        (
            {"rules": [{"id": "own", "require": "true", "message": "no", "shadow": True}]},
            {"rule-on-trial": Severity.LOW},
        ),
        (
            {"names": {"dns": {"allowed": ["{requester}.plant.example"], "wildcards": "allowed"}}},
            {"wildcards": Severity.LOW},
        ),
        (
            {"names": {"dns": {"allowed": ["**.com"]}}, "evidence": {"any": ["account"]}},
            {"whole-domain": Severity.HIGH},
        ),
    ],
)
def test_a_weak_spot_is_told(sections: dict[str, Any], wanted: dict[str, Severity]) -> None:
    assert found(**sections) == wanted


def test_a_profile_without_tests_is_told() -> None:
    text = json.dumps({"version": 1, "profiles": {"device": {**MINIMAL, **BOUND}}})
    (one,) = concerns(parse_policy(text, "device.yaml"))
    assert one.id == "untested"


@pytest.mark.parametrize("name", sorted(set(re.findall(r'Concern\("([a-z-]+)"', SOURCE))))
def test_every_weak_spot_is_explained(name: str) -> None:
    assert f"`{name}`" in README
