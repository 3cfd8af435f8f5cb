from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from server.enrollment.in_flight import InFlight
from server.outcome import Outcome, Pending, Reason
from tests.fakes.door import Door, FlakyStore, ask
from tests.fakes.gate import Gate, hung
from tests.fakes.record import issued, problem, stored

if TYPE_CHECKING:
    from collections.abc import MutableMapping


async def test_the_same_key_at_once_gives_the_same_certificate(door: Door, store: FlakyStore) -> None:
    outcomes = await asyncio.gather(*(door.submit(ask(key="same")) for _ in range(20)))
    assert len({issued(outcome).certificate for outcome in outcomes}) == 1
    assert len(await stored(store)) == len(door.issuer.issued) == 1


async def test_the_work_goes_on_when_the_caller_is_cancelled(door: Door, store: FlakyStore) -> None:
    gate = Gate(door)
    caller = asyncio.create_task(door.submit(ask()))
    await gate.reached.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.open.set()
    await door.drain()
    assert len(await stored(store)) == 1
    issued(await door.submit(ask()))
    assert len(door.issuer.issued) == 1


async def test_a_cancelled_caller_does_not_take_its_duplicates_along(door: Door) -> None:
    gate = Gate(door)
    first, second = (asyncio.create_task(door.submit(ask())) for _ in range(2))
    await gate.reached.wait()
    first.cancel()
    gate.open.set()
    issued(await second)


async def test_draining_waits_for_what_goes_on(store: FlakyStore) -> None:
    door, _, released = await hung(store)
    draining = asyncio.create_task(door.drain())
    await asyncio.sleep(0.01)
    assert not draining.done()
    released.set()
    await draining
    assert len(await stored(store)) == 1


async def test_what_no_record_can_hold_is_logged(
    door: Door, store: FlakyStore, events: list[MutableMapping[str, Any]]
) -> None:
    store.before.append("claim")
    await door.submit(ask())
    assert [(event["event"], event["detail"]) for event in events] == [("store_unavailable", "as told")]


async def test_a_defect_is_an_internal_problem_for_all_who_wait_and_the_next_begins_anew(
    events: list[MutableMapping[str, Any]],
) -> None:
    calls: list[int] = []

    async def work() -> Outcome:
        calls.append(1)
        await asyncio.sleep(0)
        if len(calls) == 1:
            raise ZeroDivisionError("nobody thought of it")
        return Pending("request", 1)

    flights = InFlight()
    outcomes = await asyncio.gather(*(flights.once(b"key", work) for _ in range(3)))
    assert [problem(one).reason for one in outcomes] == [Reason.INTERNAL] * 3
    assert "nobody thought of it" in problem(outcomes[0]).detail
    assert "nobody" not in problem(outcomes[0]).message
    assert [event["event"] for event in events] == ["enrollment_failed"]
    assert await flights.once(b"key", work) == Pending("request", 1)
    assert len(calls) == 2
