from __future__ import annotations

import pytest

from tests.fakes.policy import approved, judge, rules


@pytest.mark.parametrize(
    ("wanted", "shown", "enough"),
    [
        ({"any": ["password", "certificate"]}, ["password"], True),
        ({"any": ["password"]}, ["challenge"], False),
        ({"any": ["password"]}, [], False),
        ({"all": ["password", "certificate"]}, ["password"], False),
        ({"all": ["password", "certificate"]}, ["password", "certificate"], True),
        ({"all": ["password"]}, ["password", "challenge"], True),
    ],
)
def test_evidence_is_enough_or_the_request_is_denied(
    wanted: dict[str, list[str]], shown: list[str], *, enough: bool
) -> None:
    decision = judge({"evidence": wanted}, evidence=shown)
    if enough:
        assert approved(decision)
    else:
        assert rules(decision) == {"evidence"}


def test_a_renewal_may_rest_on_other_evidence() -> None:
    sections = {"evidence": {"any": ["challenge"]}, "renewal": {"evidence": {"any": ["certificate"]}}}
    old = {"subject": "CN=device", "names": ["dns:device.test"]}
    assert approved(judge(sections, renews=old))
    assert rules(judge(sections, evidence=["certificate"])) == {"evidence"}


def test_a_renewal_rests_on_the_same_evidence_unless_its_section_says_otherwise() -> None:
    old = {"subject": "CN=device", "names": ["dns:device.test"]}
    assert rules(judge({"evidence": {"any": ["challenge"]}}, renews=old)) == {"evidence"}


OTHER = {"subject": "CN=other", "names": ["dns:other.test"]}


@pytest.mark.parametrize("shown", [OTHER, {"subject": "CN=device"}, {"names": ["dns:device.test"]}])
def test_a_certificate_is_no_evidence_for_other_names(shown: dict[str, object]) -> None:
    assert rules(judge(evidence=["certificate"], certificate=shown)) == {"certificate_names"}


def test_a_certificate_is_evidence_for_its_own_names_without_regard_to_case() -> None:
    shown = {"subject": "CN=DEVICE", "names": ["dns:device.test"]}
    assert approved(judge(evidence=["certificate"], certificate=shown))


def test_a_profile_can_take_certificates_with_other_names() -> None:
    assert approved(judge({"certificate_names": "any"}, evidence=["certificate"], certificate=OTHER))


def test_a_password_beside_the_certificate_frees_the_names() -> None:
    assert approved(judge(evidence=["certificate", "password"], certificate=OTHER))


def test_a_certificate_that_is_demanded_binds_the_names() -> None:
    sections = {"evidence": {"all": ["certificate", "password"]}}
    assert rules(judge(sections, evidence=["certificate", "password"], certificate=OTHER)) == {"certificate_names"}
