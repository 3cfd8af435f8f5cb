"""What other servers let through: each was a certificate that nobody meant to issue. Here it is refused, or left out
and listed; it is never copied."""

from __future__ import annotations

from typing import Any

import pytest

from ca.plan import KeyUsage
from policies.decision import Approved
from policies.words import NEVER_REQUESTED_PURPOSES
from tests.fakes.policy import judge, plan, rules

SID = {"oid": "1.3.6.1.4.1.311.25.2", "value": "300a"}
POWERS: dict[str, dict[str, Any]] = {
    "CA:TRUE": {"ca": True},
    "keyCertSign": {"key_usage": ["digitalSignature", "keyCertSign"]},
    "cRLSign": {"key_usage": ["cRLSign"]},
    "anyExtendedKeyUsage": {"extended_key_usage": ["clientAuth", "anyExtendedKeyUsage"]},
    "OCSPSigning": {"extended_key_usage": ["OCSPSigning"]},
    "smartcardLogon": {"extended_key_usage": ["smartcardLogon"]},
    "certificateRequestAgent": {"extended_key_usage": ["certificateRequestAgent"]},
    "timeStamping": {"extended_key_usage": ["timeStamping"]},
    "microsoftSecurityIdentifier": {"extensions": [SID]},
    "microsoftApplicationPolicies": {"extensions": [{"oid": "1.3.6.1.4.1.311.21.10"}]},
    "certificatePolicies": {"extensions": [{"oid": "2.5.29.32"}]},
    "nameConstraints": {"extensions": [{"oid": "2.5.29.30", "critical": True}]},
    "ocspNoCheck": {"extensions": [{"oid": "1.3.6.1.5.5.7.48.1.5", "value": "0500"}]},
}


@pytest.mark.parametrize("power", POWERS)
def test_power_over_others_is_refused(power: str) -> None:
    decision = judge(**POWERS[power])
    assert rules(decision) == {"unused.powers"}


@pytest.mark.parametrize("power", POWERS)
def test_power_over_others_is_listed_and_not_given_where_the_profile_ignores_it(power: str) -> None:
    decision = judge({"unused": {"powers": "ignore"}}, **POWERS[power])
    made = plan(decision)
    assert any(power in phrase for phrase in decision.trace.ignored)
    assert not made.ca
    assert made.extensions == ()
    assert made.key_usage == {KeyUsage.DIGITAL_SIGNATURE}
    assert not NEVER_REQUESTED_PURPOSES.intersection(made.extended_key_usage)


@pytest.mark.parametrize(
    "name",
    [
        "other:1.3.6.1.4.1.311.20.2.3:0c1061646d696e406578616d706c652e74657374",
        "dirname:CN=Administrator",
        "rid:1.2.3",
        "email:admin@example.test",
        "uri:spiffe://example.test/admin",
        "ip:10.0.0.1",
    ],
)
def test_a_kind_of_name_that_the_profile_does_not_speak_of_is_refused(name: str) -> None:
    assert len(rules(judge(names=["dns:device.test", name]))) == 1


def test_a_second_common_name_is_refused() -> None:
    assert rules(judge(subject="CN=device,CN=administrator")) == {"subject.CN"}


def test_a_mail_address_smuggled_into_the_subject_is_refused() -> None:
    assert rules(judge(subject="1.2.840.113549.1.9.1=admin@example.test,CN=device")) == {"subject.emailAddress"}


def test_a_name_that_is_asked_for_twice_is_there_once() -> None:
    assert len(plan(judge(names=["dns:device.test", "dns:device.test"])).names) == 1


def test_an_unknown_critical_extension_is_refused() -> None:
    assert rules(judge(extensions=[{"oid": "1.2.3", "critical": True}])) == {"unused.critical_extensions"}


def test_attributes_of_the_request_leave_no_trace_in_the_certificate() -> None:
    attributes = ["1.3.6.1.4.1.311.13.2.1", "1.2.840.113549.1.9.2", "1.2.3"]
    assert plan(judge(attributes=attributes)) == plan(judge())


def test_every_reason_is_reported_at_once() -> None:
    decision = judge(
        key="rsa:1024",
        subject="CN=a,CN=b",
        names=["dns:evil.example", "rid:1.2"],
        ca=True,
        evidence=[],
        attributes=["1.2"],
    )
    expected = {"evidence", "key.allowed", "subject.CN", "names.dns", "names.other", "unused.powers"}
    assert rules(decision) == expected
    assert not isinstance(decision, Approved)
    assert all(finding.location.file == "device.yaml" for finding in decision.findings)
