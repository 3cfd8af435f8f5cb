from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import pytest

from server.bench.load import EnrollmentFailed, Load, run_load, warm_up

if TYPE_CHECKING:
    from types import TracebackType

    from cryptography import x509


class Counting:
    """Answers each number with its text, fails for those it is told to, and counts how many are under way."""

    def __init__(self, failing: frozenset[int] = frozenset()) -> None:
        self.failing = failing
        self.under_way = 0
        self.most = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.under_way = 0

    def prepare(self) -> int:
        return 0

    async def send(self, job: int) -> bytes:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.001)
        self.under_way -= 1
        if job in self.failing:
            raise EnrollmentFailed(f"no {job}")
        return str(job).encode()

    def certificate(self, job: int, reply: bytes) -> x509.Certificate:
        raise EnrollmentFailed(f"{job} {reply!r}")


async def test_every_job_is_sent_once_and_answered_in_its_place() -> None:
    load = await run_load(Counting(), range(20), concurrency=4)
    assert load.replies == tuple(str(number).encode() for number in range(20))
    assert load.failures == ()
    assert len(load.latencies) == 20


async def test_no_more_than_the_given_number_is_under_way() -> None:
    client = Counting()
    await run_load(client, range(20), concurrency=4)
    assert client.most == 4


async def test_failures_are_kept_apart_from_what_succeeded() -> None:
    load = await run_load(Counting(frozenset({1, 3})), range(5), concurrency=1)
    assert load.replies == (b"0", None, b"2", None, b"4")
    assert load.failures == ("no 1", "no 3")
    assert len(load.latencies) == 3


async def test_progress_is_told_after_each_job() -> None:
    steps: list[None] = []
    await run_load(Counting(frozenset({1})), range(5), concurrency=2, done=lambda: steps.append(None))
    assert len(steps) == 5


@pytest.mark.parametrize(("part", "seconds"), [(0.5, 51), (0.95, 96), (0.99, 100), (1.0, 100)])
def test_a_percentile_is_the_latency_that_so_many_did_not_exceed(part: float, seconds: int) -> None:
    load = Load((), tuple(float(second) for second in range(1, 101)), (), 10.0)
    assert load.percentile(part) == seconds


def test_a_load_without_success_has_no_rate_and_no_latency() -> None:
    load = Load((None,), (), ("no",), 0.0)
    assert (load.rate, load.percentile(0.5)) == (0.0, 0.0)


def test_the_rate_counts_what_succeeded() -> None:
    assert Load((), (0.1, 0.1), ("no",), 0.5).rate == 4


_ENDLESS = 1_000_000


class Remembering(Counting):
    """Remembers which jobs came to an end; one of them waits for ever."""

    def __init__(self, failing: frozenset[int] = frozenset()) -> None:
        super().__init__(failing)
        self.ended: list[int] = []

    async def send(self, job: int) -> bytes:
        try:
            if job == _ENDLESS:
                await asyncio.Event().wait()
            reply = await super().send(job)
        except asyncio.CancelledError:
            self.ended.append(job)
            raise
        self.ended.append(job)
        return reply


async def test_a_warm_up_sends_every_job() -> None:
    client = Remembering()
    await warm_up(client, range(20), concurrency=4)
    assert sorted(client.ended) == list(range(20))


async def test_a_warm_up_ends_with_its_first_failure_and_lets_go_of_the_others() -> None:
    client = Remembering(frozenset({2}))
    with pytest.raises(EnrollmentFailed, match="no 2"):
        await warm_up(client, [0, 1, _ENDLESS, 2, 3, 4], concurrency=2)
    assert client.ended == [0, 1, _ENDLESS]
