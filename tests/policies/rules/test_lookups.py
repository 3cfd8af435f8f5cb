from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.decision import Denied
from policies.document import DocumentErrors
from policies.engine import decide
from policies.request import NO_FACTS, Facts, LookupAnswer
from tests.fakes.policy import approved, judge, question, rules

DEVICE = {"device": {"source": "cmdb"}}
ACTIVE = {"id": "active", "require": 'lookup.device.state == "active"', "message": "this device is not in use"}


def test_what_is_found_can_be_asked_for_by_rules() -> None:
    sections = {"lookups": DEVICE, "rules": [ACTIVE]}
    assert approved(judge(sections, lookup={"device": {"state": "active"}}))
    assert rules(judge(sections, lookup={"device": {"state": "stolen"}})) == {"rules.active"}
    assert rules(judge(sections, lookup={"device": {"status": "active"}})) == {"rules.active"}


def test_who_is_not_found_is_denied_unless_that_does_not_matter() -> None:
    assert rules(judge({"lookups": DEVICE}, lookup={"device": None})) == {"lookups"}
    relaxed = {"device": {"source": "cmdb", "required": False}}
    assert approved(judge({"lookups": relaxed}, lookup={"device": None}))
    both = {"lookups": relaxed, "rules": [ACTIVE]}
    assert rules(judge(both, lookup={"device": None})) == {"rules.active"}


@pytest.mark.parametrize("facts", [NO_FACTS, Facts((LookupAnswer("device", "cmdb", error="time-out"),))])
def test_no_answer_denies_and_says_the_cause_to_administrators_alone(facts: Facts) -> None:
    asked = question({"lookups": DEVICE})
    decision = decide(asked._replace(request=replace(asked.request, facts=facts)))
    assert isinstance(decision, Denied)
    (finding,) = decision.findings
    assert "can't be looked up" in finding.message
    assert finding.value in {"never asked", "time-out"}


def test_the_trace_says_where_an_answer_came_from_and_how_old_it_is() -> None:
    asked = question({"lookups": DEVICE})
    facts = Facts((LookupAnswer("device", "cmdb", found=True, values=(("state", "active"),), age=7),))
    decision = decide(asked._replace(request=replace(asked.request, facts=facts)))
    (check,) = [check for check in decision.trace.checks if check.rule == "lookups"]
    assert (check.value, check.limit) == ("device: state=active", "cmdb, 7 s old")


@pytest.mark.parametrize(
    ("quota", "counted"),
    [
        ({"active": 2}, {"active": 2}),
        ({"per_requester": "5/1d"}, {"issued_to_requester": 5}),
        ({"per_profile": "7/1h"}, {"issued_under_profile": 9}),
    ],
)
def test_a_quota_that_is_used_up_denies(quota: dict[str, Any], counted: dict[str, int]) -> None:
    assert rules(judge({"quota": quota}, **counted)) == {"quota"}
    assert approved(judge({"quota": quota}, **dict.fromkeys(counted, 1)))


def test_a_renewal_takes_the_place_of_what_it_renews() -> None:
    renews = {"subject": "CN=device", "names": ["dns:device.test"]}
    assert approved(judge({"quota": {"active": 1}}, active=1, renews=renews))


def test_what_was_not_counted_denies() -> None:
    asked = question({"quota": {"active": 1, "per_profile": "5/1d"}})
    decision = decide(asked._replace(request=replace(asked.request, facts=NO_FACTS)))
    assert isinstance(decision, Denied)
    assert {finding.value for finding in decision.findings} == {"active: not counted", "per_profile: not counted"}


@pytest.mark.parametrize("quota", [{"per_requester": "5 a day"}, {"per_requester": "0/1d"}, {"active": 0}])
def test_a_slip_in_a_quota_is_told(quota: dict[str, Any]) -> None:
    with pytest.raises(DocumentErrors):
        judge({"quota": quota})
