from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from policies.engine import decide
from policies.profile import Ceilings, IssuerFacts
from policies.trial import TEST_NOW
from tests.fakes.policy import approved, judge, plan, question, rules

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def test_a_certificate_ends_a_second_before_its_time_because_the_end_is_inclusive() -> None:
    made = plan(judge({"validity": {"default": "1d", "backdate": "0s"}}))
    assert (made.not_before, made.not_after) == (TEST_NOW, TEST_NOW + DAY - SECOND)


def test_it_begins_a_little_earlier_for_clocks_that_are_slow() -> None:
    assert plan(judge()).not_before == TEST_NOW - timedelta(minutes=5)


def test_times_are_whole_seconds_in_utc() -> None:
    asked = question({"validity": {"default": "1d", "backdate": "0s"}})
    now = datetime(2026, 1, 1, 14, 0, 0, 999_999, timezone(timedelta(hours=2)))
    made = plan(decide(asked._replace(request=replace(asked.request, now=now))))
    assert made.not_before == TEST_NOW
    assert made.not_before.tzinfo is UTC


def test_it_never_begins_before_the_issuer() -> None:
    asked = question({})._replace(issuer=IssuerFacts(TEST_NOW - SECOND, TEST_NOW + 365 * DAY))
    assert plan(decide(asked)).not_before == TEST_NOW - SECOND


def test_it_never_outlives_the_issuer() -> None:
    soon = IssuerFacts(TEST_NOW - DAY, TEST_NOW + 30 * DAY)
    assert rules(decide(question({})._replace(issuer=soon))) == {"validity.issuer"}


def test_it_may_begin_and_end_with_the_issuer() -> None:
    made = plan(decide(question({})._replace(issuer=IssuerFacts(TEST_NOW, TEST_NOW + 90 * DAY - SECOND))))
    assert (made.not_before, made.not_after) == (TEST_NOW, TEST_NOW + 90 * DAY - SECOND)


def test_a_profile_can_shorten_it_to_the_end_of_the_issuer_and_the_trace_says_so() -> None:
    soon = IssuerFacts(TEST_NOW - DAY, TEST_NOW + 30 * DAY)
    decision = decide(question({"validity": {"default": "90d", "issuer_end": "shorten"}})._replace(issuer=soon))
    assert plan(decision).not_after == soon.not_after
    assert any(check.value.startswith("shortened") for check in decision.trace.checks)


def test_an_issuer_that_is_not_valid_now_signs_nothing() -> None:
    for issuer in (IssuerFacts(TEST_NOW - 2 * DAY, TEST_NOW), IssuerFacts(TEST_NOW + DAY, TEST_NOW + 9 * DAY)):
        decision = decide(question({"validity": {"default": "1d", "issuer_end": "shorten"}})._replace(issuer=issuer))
        assert rules(decision) == {"validity.issuer"}


def test_the_ceiling_stands_above_the_profile() -> None:
    assert rules(decide(question({})._replace(ceilings=Ceilings(30 * DAY)))) == {"validity.max"}


def test_the_trace_says_periods_as_files_write_them() -> None:
    trace = judge({"validity": {"default": "89d", "max": "90d", "backdate": "5m"}}).trace
    (check,) = [check for check in trace.checks if check.rule == "validity.max"]
    assert (check.value, check.limit) == ("89d 5m", "90d")


def test_max_holds_for_the_whole_period() -> None:
    assert approved(judge({"validity": {"default": "89d", "max": "90d", "backdate": "24h"}}))
