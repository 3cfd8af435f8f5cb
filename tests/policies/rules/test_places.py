"""Every check is on record with the key of the file that it comes from: there an administrator changes the answer."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from tests.fakes.policy import judge, question, text_of

RENEWED = {"subject": "CN=device", "names": ["dns:device.test"]}
BLOCKED = sha256(question({}).request.csr.spki).hexdigest()
EC = ["ec:P-256"]


def key_at(text: str, line: int) -> str:
    """Return the path of the key in a line, below the profile: outer keys are less far to the right."""
    keys: list[str] = []
    before = 1000
    for each in reversed(text.splitlines()[:line]):
        indentation = len(each) - len(each.lstrip())
        if indentation < before:
            before = indentation
            keys.append(each.strip().partition(":")[0].strip('"'))
    return ".".join(reversed(keys)).removeprefix("{.profiles.device").removeprefix(".")


@pytest.mark.parametrize(
    ("rule", "key", "sections", "given"),
    [
        ("evidence", "evidence", {}, {}),
        ("evidence", "evidence", {"evidence": {"any": ["account"]}}, {}),
        ("evidence", "renewal.evidence", {"renewal": {"evidence": {"any": ["certificate"]}}}, {"renews": RENEWED}),
        (
            "certificate_names",
            "certificate_names",
            {"certificate_names": "same"},
            {"evidence": ["certificate"], "certificate": RENEWED},
        ),
        (
            "certificate_names",
            "certificate_names",
            {"certificate_names": "same"},
            {"evidence": ["certificate"], "certificate": {"subject": "CN=a"}},
        ),
        ("key.allowed", "key.allowed", {}, {}),
        ("key.allowed", "key.allowed", {}, {"key": "ed25519"}),
        ("key.blocked", "key.blocked", {"key": {"allowed": EC, "blocked": [BLOCKED]}}, {}),
        ("key.weak", "key.weak", {"key": {"allowed": EC, "weak": "refuse"}}, {}),
        ("key.reuse", "key.reuse", {"key": {"allowed": EC, "reuse": "same-client"}}, {}),
        ("key.reuse", "key.reuse", {"key": {"allowed": EC, "reuse": "same-client"}}, {"key_holders": ["password:x"]}),
        ("names.dns", "names.dns.allowed", {}, {}),
        ("names.dns", "names.dns.allowed", {}, {"names": ["dns:device.example"]}),
        ("names.dns", "names.dns.forbidden", {"names": {"dns": {"allowed": ["**.test"], "forbidden": ["*.test"]}}}, {}),
        (
            "names.dns",
            "names.dns.wildcards",
            {"names": {"dns": {"allowed": ["**.test"], "wildcards": "forbidden"}}},
            {"names": ["dns:*.a.test"]},
        ),
        ("names.dns.count", "names.dns.min", {"names": {"dns": {"allowed": ["**.test"], "min": 2, "max": 3}}}, {}),
        (
            "names.dns.count",
            "names.dns.max",
            {"names": {"dns": {"allowed": ["**.test"], "min": 1, "max": 1}}},
            {"names": ["dns:a.test", "dns:b.test"]},
        ),
        ("names.dns", "names.dns.forced", {"names": {"dns": {"forced": ["device.test"]}}}, {}),
        ("names.dns", "names.dns.default", {"names": {"dns": {"default": ["device.test"]}}}, {"names": []}),
        ("names.ip", "names", {}, {"names": ["ip:10.0.0.1"]}),
        ("names.other", "names", {}, {"names": ["rid:1.2.3"]}),
        (
            "unused.duplicate_names",
            "unused.duplicate_names",
            {"unused": {"duplicate_names": "refuse"}},
            {"names": ["dns:a.test", "dns:a.test"]},
        ),
        ("lookups", "lookups.device", {"lookups": {"device": {"source": "x"}}}, {"lookup": {"device": None}}),
        ("quota", "quota.active", {"quota": {"active": 1}}, {"active": 1}),
        ("quota", "quota.per_requester", {"quota": {"per_requester": "1/1d"}}, {}),
        ("quota", "quota.per_profile", {"quota": {"per_profile": "1/1d"}}, {"issued_under_profile": 1}),
        ("renewal.profile", "renewal.profiles", {"renewal": {"profiles": ["device"]}}, {"renews": RENEWED}),
        ("renewal.subject", "renewal.subject", {"renewal": {"subject": "same"}}, {"renews": {"subject": "CN=a"}}),
        ("renewal.names", "renewal.names", {"renewal": {"names": "same"}}, {"renews": {"names": []}}),
        ("renewal.key", "renewal.key", {"renewal": {"key": "new"}}, {"renews": {**RENEWED, "key": "same"}}),
        ("renewal.window", "renewal.window", {"renewal": {"window": "10d"}}, {"renews": {**RENEWED, "age": "1d"}}),
        ("unused.powers", "unused.powers", {"unused": {"powers": "refuse"}}, {"ca": True}),
        (
            "unused.extensions",
            "unused.extensions",
            {"unused": {"extensions": "refuse"}},
            {"extensions": [{"oid": "1.2.3"}]},
        ),
        (
            "unused.critical_extensions",
            "unused.critical_extensions",
            {"unused": {"critical_extensions": "refuse"}},
            {"extensions": [{"oid": "1.2.3", "critical": True}]},
        ),
        ("unused.attributes", "unused.attributes", {"unused": {"attributes": "refuse"}}, {"attributes": ["1.2.3"]}),
        (
            "unused.unreadable",
            "unused",
            {"unused": {"attributes": "refuse"}},
            {"extensions": [{"oid": "2.5.29.15", "value": "05"}]},
        ),
        ("validity.max", "validity.max", {"validity": {"default": "90d", "max": "91d"}}, {}),
        ("subject.CN", "subject.allowed.CN", {}, {}),
        ("subject.O", "subject.allowed", {}, {"subject": "CN=device,O=x"}),
        ("subject.O", "subject.forced.O", {"subject": {"forced": {"O": "x"}, "allowed": {"CN": {"like": ["*"]}}}}, {}),
        (
            "subject.O",
            "subject.default.O",
            {"subject": {"default": {"O": "x"}, "allowed": {"CN": {"like": ["*"]}}}},
            {},
        ),
    ],
)
def test_a_check_points_to_the_key_that_it_comes_from(
    rule: str, key: str, sections: dict[str, Any], given: dict[str, Any]
) -> None:
    trace = judge(sections, **given).trace
    text = text_of(**sections)
    assert (rule, key) in {(check.rule, key_at(text, check.location.line)) for check in trace.checks}
