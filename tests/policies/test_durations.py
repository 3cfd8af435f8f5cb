from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.durations import duration_text, duration_words, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("45s", timedelta(seconds=45)),
        ("5m", timedelta(minutes=5)),
        ("12h", timedelta(hours=12)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(days=14)),
        ("1y", timedelta(days=365)),
        (timedelta(days=1), timedelta(days=1)),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: object, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "5", "d", "-1d", "1.5h", "5 m", "1d12h", "9999999d", 90, None, "\u0665d"])
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="like 90d"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=999_999).map(lambda seconds: timedelta(seconds=seconds)))
def test_the_text_of_a_duration_reads_back_as_the_same(duration: timedelta) -> None:
    assert parse_duration(duration_text(duration)) == duration


def test_the_text_uses_the_largest_unit_that_fits() -> None:
    assert [duration_text(timedelta(**{unit: 2})) for unit in ("days", "hours", "minutes", "seconds")] == [
        "2d",
        "2h",
        "2m",
        "2s",
    ]


def test_people_are_told_what_is_left_over_in_smaller_units() -> None:
    times = [timedelta(days=730, minutes=5), timedelta(hours=25), timedelta(seconds=61), timedelta(0)]
    assert [duration_words(time) for time in times] == ["730d 5m", "1d 1h", "1m 1s", "0s"]
