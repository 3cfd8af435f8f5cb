"""A measured run: prepare, warm up, load, and what it cost the server."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from server.bench.load import run_load, warm_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from server.bench.load import Enroller, Load
    from server.bench.process import ServerProcess

Job = TypeVar("Job")

_YARDSTICK = 40
_PAUSE = 0.2
WARM_UP = 64
"""Enrollments before counting starts: caches fill, connections open, code is loaded."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a load cost the server.

    Attributes:
        cpu_milliseconds: user plus system time of all its processes for each enrollment.
        peak_memory: of all its processes since they started, in bytes.
        yardstick: what a P-256 verification cost on this machine meanwhile, in CPU milliseconds.
    """

    cpu_milliseconds: float
    peak_memory: int
    yardstick: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """A load and its cost; the cost is None for a server that runs elsewhere."""

    load: Load
    cost: Cost | None


def yardstick() -> float:
    """Return what a P-256 verification costs here now, in CPU milliseconds: how fast this machine is, and how busy."""
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = ec.ECDSA(hashes.SHA256())
    signature, verifier = key.sign(b"yardstick", algorithm), key.public_key()
    began = time.thread_time()
    for _ in range(_YARDSTICK):
        verifier.verify(signature, b"yardstick", algorithm)
    return (time.thread_time() - began) * 1000 / _YARDSTICK


@asynccontextmanager
async def yardsticks() -> AsyncIterator[list[float]]:
    """Take the yardstick now and then, as long as this lasts.

    The speed of a shared machine changes from one second to the next, and with the load itself.
    """
    found = [yardstick()]

    async def take() -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            found.append(await asyncio.to_thread(yardstick))

    task = asyncio.create_task(take())
    try:
        yield found
    finally:
        task.cancel()


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
    async with enroller as client:
        jobs = []
        for _ in range(count):
            jobs.append(client.prepare())
            prepared()
        await warm_up(client, [client.prepare() for _ in range(WARM_UP)], concurrency=concurrency)
        before = server.cpu_seconds() if server else 0.0
        async with yardsticks() as speeds:
            load = await run_load(client, jobs, concurrency=concurrency, done=done)
        cost = None
        if server and load.latencies:
            spent = server.cpu_seconds() - before
            cost = Cost(spent * 1000 / len(load.latencies), server.peak_memory(), fmean(speeds))
        for job, reply in zip(jobs, load.replies, strict=True):
            if reply is not None:
                client.certificate(job, reply)
        return Measurement(load, cost)
