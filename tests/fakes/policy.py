"""Profiles and requests in a few words: a minimal profile with changes, judged on a minimal request with changes."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from policies.asked import read_request
from policies.cases import Given
from policies.decision import Approved, Denied
from policies.engine import decide
from policies.profile import Ceilings, IssuerFacts, parse_profiles
from policies.ruling import Question
from policies.trial import TEST_NOW, request_of

if TYPE_CHECKING:
    from ca.plan import CertificatePlan
    from policies.decision import Decision
    from policies.profile import Profile

MINIMAL: dict[str, Any] = {
    "endpoints": ["est/*", "scep/*", "acme/*"],
    "issuer": "issuing",
    "evidence": {"any": ["password", "challenge", "account", "certificate"]},
    "key": {"allowed": ["ec:P-256", "rsa:2048-4096"]},
    "subject": {"allowed": {"CN": {"like": ["*"]}}},
    "names": {"dns": {"allowed": ["**.test"], "max": 4}},
    "key_usage": {"forced": ["digitalSignature"]},
    "extended_key_usage": {"forced": ["clientAuth"]},
    "validity": {"default": "90d"},
    "renewal": {},
}
REQUEST: dict[str, Any] = {"endpoint": "est/default", "subject": "CN=device", "names": ["dns:device.test"]}
CEILINGS = Ceilings(timedelta(days=825))
ISSUER = IssuerFacts(TEST_NOW - timedelta(days=365), TEST_NOW + timedelta(days=3650))


def text_of(**sections: object) -> str:
    """Return the file of a profile that takes device.test, with these sections instead of its own; None leaves one out.

    Every key stands in a line of its own.
    """
    every = {key: value for key, value in {**MINIMAL, **sections}.items() if value is not None}
    return json.dumps({"version": 1, "profiles": {"device": every}}, indent=1)  # JSON is YAML


def profile(**sections: object) -> Profile:
    """Return the profile of `text_of`."""
    return _parsed(text_of(**sections))


@cache
def _parsed(text: str) -> Profile:
    return parse_profiles(text, "device.yaml")[0]


def question(sections: dict[str, Any], **given: object) -> Question:
    request = request_of(Given.model_validate({**REQUEST, **given}), "device")
    return Question(profile(**sections), request, ISSUER, CEILINGS, read_request(request))


def judge(sections: dict[str, Any] | None = None, **given: object) -> Decision:
    """Judge the minimal request, with changes, under the minimal profile, with changes."""
    return decide(question(sections or {}, **given))


def approved(decision: Decision) -> bool:
    return isinstance(decision, Approved)


def plan(decision: Decision) -> CertificatePlan:
    assert isinstance(decision, Approved), decision
    return decision.plan


def rules(decision: Decision) -> set[str]:
    assert isinstance(decision, Denied), decision
    return {finding.rule for finding in decision.findings}
