"""A measured run: prepare, warm up, load, and what it cost the server."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

from server.bench.load import run_load, warm_up
from server.bench.yardsticks import quiet, readings

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.bench.load import Enroller, Load
    from server.bench.process import ServerProcess
    from server.bench.yardsticks import Quiet

Job = TypeVar("Job")

WARM_UP = 64
"""Enrollments before counting starts: caches fill, connections open, code is loaded."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a load cost the server.

    Attributes:
        cpu_milliseconds: user plus system time of all its processes for each enrollment.
        peak_memory: of all its processes since they started, in bytes.
        yardstick: what a P-256 verification cost on this machine meanwhile, in CPU milliseconds.
        quiet: the same of the time in which nobody else slowed the server, None when there was too little of that.
    """

    cpu_milliseconds: float
    peak_memory: int
    yardstick: float
    quiet: Quiet | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A load and its cost; the cost is None for a server that runs elsewhere."""

    load: Load
    cost: Cost | None


async def measure(
    enroller: Enroller[Job],
    *,
    count: int,
    concurrency: int,
    server: ServerProcess | None,
    prepared: Callable[[], None],
    done: Callable[[], None],
) -> Measurement:
    """Enroll `count` times and look into every reply afterwards.

    Args:
        enroller: the client.
        count: how many enrollments are measured; some more come first.
        concurrency: how many are under way at any moment.
        server: whose processes are measured.
        prepared: called after each request that was made.
        done: called after each enrollment.

    Raises:
        EnrollmentFailed: a request fails before counting starts, or a reply doesn't hold its certificate.
    """
    finished = 0

    def one_more() -> None:
        nonlocal finished
        finished += 1
        done()

    async with enroller as client:
        jobs = []
        for _ in range(count):
            jobs.append(client.prepare())
            prepared()
        await warm_up(client, [client.prepare() for _ in range(WARM_UP)], concurrency=concurrency)
        before = server.cpu_seconds() if server else 0.0
        async with readings(server, lambda: finished) as found:
            load = await run_load(client, jobs, concurrency=concurrency, done=one_more)
        cost = None
        if server and load.latencies:
            spent = (server.cpu_seconds() - before) * 1000 / len(load.latencies)
            speed = fmean(one.verification for one in found)
            cost = Cost(spent, server.peak_memory(), speed, quiet(found))
        for job, reply in zip(jobs, load.replies, strict=True):
            if reply is not None:
                client.certificate(job, reply)
        return Measurement(load, cost)
