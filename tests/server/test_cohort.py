"""Requests that take their steps together."""

from __future__ import annotations

import asyncio

from server.cohort import Cohort, next_step


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_is_alone_goes_on_after_a_look_round() -> None:
    task = asyncio.create_task(Cohort().join())
    await _turns(5)
    assert task.done()


async def test_who_comes_one_turn_later_joins() -> None:
    cohort, order = Cohort(), list[str]()

    async def work(name: str, late: int) -> None:
        await _turns(late)
        order.append(f"{name} comes")
        await cohort.join()
        order.append(f"{name} goes on")

    await asyncio.gather(work("a", 0), work("b", 1), work("c", 2))
    assert order == ["a comes", "b comes", "c comes", "a goes on", "b goes on", "c goes on"]


async def test_nobody_waits_for_those_who_come_when_all_have_gone_on() -> None:
    cohort = Cohort()
    first = asyncio.create_task(cohort.join())
    await _turns(5)
    second = asyncio.create_task(cohort.join())
    assert first.done()
    await _turns(5)
    assert second.done()


async def test_a_full_cohort_looks_for_no_more() -> None:
    cohort, gone = Cohort(largest=2), list[int]()

    async def come(number: int) -> None:
        await _turns(number)
        await cohort.join()
        gone.append(number)

    tasks = [asyncio.create_task(come(number)) for number in range(6)]
    await _turns(6)
    assert 0 < len(gone) < 6
    await asyncio.gather(*tasks)
    assert sorted(gone) == list(range(6))


async def test_whoever_hangs_up_while_waiting_holds_nobody_up() -> None:
    cohort = Cohort()
    leaves, stays = (asyncio.create_task(cohort.join()) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await _turns(5)
    assert leaves.cancelled()
    assert stays.done()


async def test_all_take_a_step_before_one_takes_the_next() -> None:
    order = []

    async def work(name: str) -> None:
        for step in range(3):
            order.append(f"{step}{name}")
            await next_step()

    await asyncio.gather(work("a"), work("b"))
    assert order == ["0a", "0b", "1a", "1b", "2a", "2b"]
