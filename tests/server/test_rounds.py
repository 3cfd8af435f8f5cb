"""What goes on in the background whatever becomes of one round."""

from __future__ import annotations

import asyncio
from collections import deque

from structlog.testing import capture_logs

from server.rounds import again_and_again, when_changed
from server.store import StoreUnavailable


async def test_rounds_follow_one_another_whatever_one_of_them_raises() -> None:
    faults, done = deque([None, StoreUnavailable("locked"), ZeroDivisionError(), None]), asyncio.Event()

    async def work() -> None:
        if not faults:
            done.set()
            return
        fault = faults.popleft()
        if fault is not None:
            raise fault

    with capture_logs() as events:
        task = asyncio.create_task(again_and_again(work, 0, "look_failed", who="test"))
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
    assert [(each["event"], each["log_level"], each["who"]) for each in events] == [
        ("look_failed", "warning", "test"),
        ("look_failed", "error", "test"),
    ]
    assert events[0]["detail"] == "locked"
    assert events[1]["exc_info"] is True


async def test_the_first_round_comes_when_it_is_due() -> None:
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    task = asyncio.create_task(again_and_again(work, 3600, "failed", first=3600))
    await asyncio.sleep(0.05)
    assert not done.is_set()
    task.cancel()
    task = asyncio.create_task(again_and_again(work, 3600, "failed"))
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()


async def test_files_are_read_when_they_stay_changed_and_a_fault_does_not_end_the_watch() -> None:
    files, taken, reads, done = 1, 1, list[int](), asyncio.Event()

    async def reload() -> None:
        nonlocal taken, files
        taken = files
        reads.append(files)
        if len(reads) == 1:
            files += 1
            raise ZeroDivisionError
        done.set()

    with capture_logs() as events:
        task = asyncio.create_task(when_changed(lambda: files, lambda: taken, reload, 0.01, "not_watched"))
        await asyncio.sleep(0.1)
        assert not reads
        files = 2
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
    assert reads == [2, 3]
    assert [event["event"] for event in events] == ["not_watched"]
