from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from server.bench.yardsticks import Reading, quiet, readings, yardstick

if TYPE_CHECKING:
    from server.bench.process import ServerProcess


class Elsewhere:
    """A server that has used one second more at each look, on a processor of its own."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.place = max(os.sched_getaffinity(0))

    def processor(self) -> int:
        return self.place

    def cpu_seconds(self) -> float:
        self.seconds += 1
        return self.seconds


def test_the_yardstick_is_a_time_that_a_verification_can_take() -> None:
    assert 0.001 < yardstick() < 100


async def test_readings_are_taken_as_long_as_a_load_lasts() -> None:
    async with asyncio.timeout(60), readings(None, lambda: 7) as found:
        assert len(found) == 1
        while len(found) < 3:  # noqa: ASYNC110 - there is nothing to wait for but the list
            await asyncio.sleep(0.01)
    assert all(0.001 < one.verification < 100 and 0.001 < one.loop < 1000 for one in found)
    assert [(one.cpu, one.done) for one in found] == [(0.0, 7)] * len(found)
    taken = len(found)
    await asyncio.sleep(0.3)
    assert len(found) == taken


async def test_a_reading_notes_what_the_server_has_used_and_done() -> None:
    server: ServerProcess = Elsewhere()  # type: ignore[assignment]  # a fake
    numbers = iter(range(100))
    async with asyncio.timeout(60), readings(server, lambda: next(numbers)) as found:
        while len(found) < 2:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    assert [(one.cpu, one.done) for one in found[:2]] == [(1.0, 0), (2.0, 1)]


def test_what_falls_between_readings_that_show_neighbours_does_not_count() -> None:
    found = [
        Reading(0.07, 1.0, 0.0, 0),
        Reading(0.09, 1.1, 0.2, 200),  # quiet so far: 1 ms each
        Reading(0.12, 2.4, 0.6, 300),
        Reading(0.07, 1.0, 1.0, 400),
        Reading(0.07, 1.15, 1.3, 500),  # quiet again: 3 ms each
    ]
    measured = quiet(found)
    assert measured is not None
    assert measured.enrollments == 300
    assert measured.cpu_milliseconds == pytest.approx(500 / 300)
    assert measured.yardstick == pytest.approx(0.075)


@pytest.mark.parametrize(
    "found",
    [
        [],
        [Reading(0.07, 1.0, 0.0, 0)],
        [Reading(0.07, 1.0, 0.0, 0), Reading(0.07, 1.0, 0.1, 99)],
        [Reading(0.07, 1.0, 0.0, 0), Reading(0.07, 1.3, 1.0, 1000)],
    ],
    ids=["nothing", "one reading", "too few enrollments", "neighbours all the time"],
)
def test_too_little_of_quiet_says_nothing(found: list[Reading]) -> None:
    assert quiet(found) is None
