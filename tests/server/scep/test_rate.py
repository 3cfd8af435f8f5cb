"""Limits for what one address sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from server.scep.rate import Rate
from tests.server.scep.device import enrollment

if TYPE_CHECKING:
    from tests.server.scep.lab import Lab


def test_a_minutes_messages_may_come_at_once_and_then_evenly() -> None:
    now = [0.0]
    rate = Rate(6, lambda: now[0])
    assert [rate.wait("a") for _ in range(8)] == [0] * 6 + [10, 10]
    now[0] = 10.0
    assert [rate.wait("a") for _ in range(2)] == [0, 10]
    now[0] = 1000.0
    assert [rate.wait("a") for _ in range(7)] == [0] * 6 + [10]


def test_others_are_not_held_up_and_the_least_recent_are_forgotten() -> None:
    rate = Rate(1, lambda: 0.0, capacity=2)
    assert [rate.wait(address) for address in ("a", "b", "a", "c", "b", None, None)] == [0, 0, 60, 0, 0, 0, 0]


@given(st.lists(st.floats(0, 100), max_size=200))
def test_nobody_gets_more_than_a_bucket_and_what_has_dropped_in(pauses: list[float]) -> None:
    now, taken = 0.0, 0
    rate = Rate(30, lambda: now)
    for pause in pauses:
        now += pause
        taken += rate.wait("a") == 0
    assert taken <= 30 + now * 0.5 + 1


async def test_who_sends_too_much_is_told_to_wait_and_costs_nothing(lab: Lab) -> None:
    endpoint = lab.endpoint(most_per_minute_of_address=1)
    message = enrollment(lab.ra_der).encode()
    assert (await lab.send(message, endpoint)).status == 200
    answer = await lab.send(message, endpoint)
    assert answer.status == 429
    assert 0 < (answer.retry_after or 0) <= 60
    assert (await endpoint.pki_operation(message, "192.0.2.8")).status == 200
