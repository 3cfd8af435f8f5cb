from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Self

import pytest

from server.bench.load import EnrollmentFailed
from server.bench.measure import WARM_UP, measure, yardstick, yardsticks

if TYPE_CHECKING:
    from types import TracebackType

    from cryptography import x509


class Numbering:
    """Numbers its jobs, notes what is sent and looked into, and refuses from a number on."""

    def __init__(self, refuses_from: int = 1_000_000) -> None:
        self.numbers = itertools.count()
        self.refuses_from = refuses_from
        self.sent: list[int] = []
        self.looked_into: list[int] = []
        self.is_open = False

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False

    def prepare(self) -> int:
        return next(self.numbers)

    async def send(self, job: int) -> bytes:
        self.sent.append(job)
        if job >= self.refuses_from:
            raise EnrollmentFailed("refused")
        return b"reply"

    def certificate(self, job: int, reply: bytes) -> x509.Certificate:
        self.looked_into.append(job)
        if reply != b"reply":
            raise EnrollmentFailed("no certificate")
        return None  # type: ignore[return-value]  # a fake


def nothing() -> None:
    pass


async def test_warm_up_comes_first_and_is_not_counted() -> None:
    client = Numbering()
    measured = await measure(client, count=5, concurrency=1, server=None, prepared=nothing, done=nothing)
    assert len(measured.load.latencies) == 5
    assert client.sent == [*range(5, 5 + WARM_UP), *range(5)]


async def test_every_reply_is_looked_into_when_the_clock_has_stopped() -> None:
    client = Numbering()
    await measure(client, count=5, concurrency=2, server=None, prepared=nothing, done=nothing)
    assert client.looked_into == [0, 1, 2, 3, 4]


async def test_a_server_that_runs_elsewhere_has_no_cost() -> None:
    measured = await measure(Numbering(), count=1, concurrency=1, server=None, prepared=nothing, done=nothing)
    assert measured.cost is None


async def test_a_refusal_in_the_warm_up_ends_the_measurement() -> None:
    client = Numbering(refuses_from=0)
    with pytest.raises(EnrollmentFailed, match="refused"):
        await measure(client, count=1, concurrency=1, server=None, prepared=nothing, done=nothing)
    assert not client.is_open


async def test_what_is_prepared_and_done_is_told() -> None:
    prepared: list[None] = []
    done: list[None] = []
    await measure(
        Numbering(),
        count=3,
        concurrency=1,
        server=None,
        prepared=lambda: prepared.append(None),
        done=lambda: done.append(None),
    )
    assert (len(prepared), len(done)) == (3, 3)


async def test_the_yardstick_is_taken_again_while_a_load_lasts() -> None:
    async with asyncio.timeout(60), yardsticks() as found:
        assert len(found) == 1
        while len(found) < 3:  # noqa: ASYNC110 - there is nothing to wait for but the list
            await asyncio.sleep(0.01)
    assert all(0.001 < one < 100 for one in found)


def test_the_yardstick_is_a_time_that_a_verification_can_take() -> None:
    assert 0.001 < yardstick() < 100
