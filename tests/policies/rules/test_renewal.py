from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.decision import Denied
from policies.engine import decide
from policies.request import NO_FACTS, CertificateEvidence, Kind, PasswordEvidence
from tests.fakes.policy import approved, judge, question, rules

SAME = {"subject": "CN=device", "names": ["dns:device.test"]}
FREE: dict[str, Any] = {"names": {"dns": {"allowed": ["**.test"], "max": 4}, "ip": {"allowed": ["10.0.0.0/8"]}}}


def renew(renewal: dict[str, Any] | None = None, old: dict[str, Any] | None = None, **given: object) -> Any:
    return judge({**FREE, "renewal": renewal or {}}, renews={**SAME, **(old or {})}, **given)


def test_the_same_subject_and_names_are_renewed() -> None:
    assert approved(renew())


@pytest.mark.parametrize("subject", ["CN=DEVICE", "CN=Device", "CN=\\  device"])
def test_subjects_compare_without_case_and_spaces(subject: str) -> None:
    assert approved(renew(subject=subject))


def test_names_compare_without_order() -> None:
    old = {"names": ["ip:10.0.0.1", "dns:device.test"]}
    assert approved(renew(old=old, names=["dns:device.test", "ip:10.0.0.1"]))


@pytest.mark.parametrize("names", [[], ["dns:other.test"], ["dns:device.test", "dns:other.test"], ["ip:10.0.0.1"]])
def test_other_names_are_denied(names: list[str]) -> None:
    assert rules(renew(names=names)) == {"renewal.names"}


@pytest.mark.parametrize("subject", ["", "CN=other"])
def test_another_subject_is_denied(subject: str) -> None:
    assert rules(renew(subject=subject)) == {"renewal.subject"}


def test_a_profile_can_let_names_go_but_not_come() -> None:
    old = {"names": ["dns:device.test", "dns:old.test"]}
    assert approved(renew({"names": "fewer"}, old))
    assert rules(renew({"names": "fewer"}, old, names=["dns:new.test"])) == {"renewal.names"}


def test_a_profile_can_leave_subject_and_names_to_its_other_rules() -> None:
    assert approved(renew({"names": "any", "subject": "any"}, subject="CN=b", names=["dns:b.test"]))


def test_what_the_profile_adds_shuts_nobody_out() -> None:
    subject = {"allowed": {"CN": {"like": ["*"]}}, "default": {"O": "Example"}}
    names = {"dns": {"allowed": ["**.test"], "forced": ["new.test"], "max": 2}}
    assert approved(judge({"subject": subject, "names": names}, renews=SAME))


def test_a_first_csr_renews_a_certificate_that_the_profile_had_changed() -> None:
    subject = {"forced": {"CN": "{requester}"}}
    old = {"subject": "CN=pump", "names": ["dns:device.test"]}
    assert approved(judge({"subject": subject}, requester="certificate:pump", subject="CN=anything", renews=old))


def test_a_first_csr_renews_a_certificate_whose_names_the_profile_had_changed() -> None:
    names = {"dns": {"allowed": ["**.test"], "forced": ["device.test"], "max": 2}}
    assert approved(judge({"names": names}, names=[], renews=SAME))


def test_nothing_is_renewed_without_a_section_that_says_so() -> None:
    decision = judge({"renewal": None}, renews=SAME)
    assert rules(decision) == {"renewal"}
    assert isinstance(decision, Denied)
    assert [finding.message for finding in decision.findings] == ["certificates of this profile are not renewed"]


def test_a_certificate_of_another_profile_is_not_renewed() -> None:
    assert rules(renew(old={"profile": "other"})) == {"renewal.profile"}
    assert approved(renew({"profiles": ["other"]}, {"profile": "other"}))


@pytest.mark.parametrize(
    ("wanted", "key", "verdict"),
    [
        ("any", "same", True),
        ("any", "other", True),
        ("new", "same", False),
        ("same", "other", False),
        ("new", "other", True),
    ],
)
def test_the_key_is_new_or_the_same_as_the_profile_says(wanted: str, key: str, *, verdict: bool) -> None:
    decision = renew({"key": wanted}, {"key": key})
    if verdict:
        assert approved(decision)
    else:
        assert rules(decision) == {"renewal.key"}
        words = {"new": "a renewal needs a new key", "same": "a renewal must keep the key"}
        assert [finding.message for finding in decision.findings] == [words[wanted]]


@pytest.mark.parametrize(
    ("key", "before", "verdict"), [("same", 0, True), ("same", 2, True), ("same", 3, False), ("other", 9, True)]
)
def test_a_key_is_renewed_as_often_as_the_profile_says(key: str, before: int, *, verdict: bool) -> None:
    decision = renew({"key_renewals": 3}, {"key": key}, key_renewals=before)
    assert approved(decision) if verdict else rules(decision) == {"renewal.key"}


def test_what_was_not_counted_is_too_much() -> None:
    asked = question({"renewal": {"key_renewals": 3}}, renews=SAME | {"key": "same"})
    assert rules(decide(asked._replace(request=replace(asked.request, facts=NO_FACTS)))) == {"renewal.key"}


@pytest.mark.parametrize("window", ["90d", "25%"])
def test_too_early_is_denied_with_the_time_from_which_on(window: str) -> None:
    decision = renew({"window": window}, {"age": "200d"})
    assert rules(decision) == {"renewal.window"}
    assert "try again from 2026-" in decision.findings[0].message


@pytest.mark.parametrize("window", ["90d", "25%", "100%"])
def test_inside_the_window_it_is_renewed(window: str) -> None:
    assert approved(renew({"window": window}, {"age": "300d"}))


def test_the_window_opens_at_its_first_second() -> None:
    assert approved(renew({"window": "90d"}, {"age": "275d"}))
    assert rules(renew({"window": "2159h"}, {"age": "275d"})) == {"renewal.window"}


def test_a_certificate_renews_itself_and_no_other() -> None:
    asked = question({}, renews=SAME)
    assert asked.request.renewed is not None
    other = replace(asked.request.renewed, serial=99)
    asked = asked._replace(request=replace(asked.request, renewed=other))
    assert rules(decide(asked)) == {"renewal.evidence"}
    (own,) = asked.request.requester.evidence
    assert isinstance(own, CertificateEvidence)
    for beside in (PasswordEvidence("device"), replace(own, anchor="manufacturer")):
        requester = replace(asked.request.requester, evidence=(beside,))
        free = question({"evidence": {"any": ["password", "certificate"]}}, renews=SAME)
        assert approved(decide(free._replace(request=replace(asked.request, requester=requester))))


def test_a_renewal_of_nothing_is_denied() -> None:
    asked = question({})
    decision = decide(asked._replace(request=replace(asked.request, kind=Kind.RENEW)))
    assert rules(decision) == {"renewal"}
    assert isinstance(decision, Denied)
    assert [finding.message for finding in decision.findings] == ["there is no certificate to be renewed"]


def test_a_first_enrollment_that_names_an_old_certificate_is_denied() -> None:
    asked = question({}, renews=SAME)
    assert "renewal" in rules(decide(asked._replace(request=replace(asked.request, kind=Kind.ENROLL))))
