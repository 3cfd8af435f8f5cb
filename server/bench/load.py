"""Sending prepared requests at a given concurrency, and what came of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from cryptography import x509

Job = TypeVar("Job")


class EnrollmentFailed(Exception):
    """The server refused, or answered what the protocol doesn't know, or not at all."""


class Enroller(Protocol[Job]):
    """A client of one protocol. Used as an asynchronous context manager, which connects and lets go."""

    async def __aenter__(self) -> Self:
        """Connect, and get what every enrollment needs once."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of connections."""
        ...

    def prepare(self) -> Job:
        """Make a request that was never made before: keys, CSR and envelope, so that sending costs little."""
        ...

    async def send(self, job: Job) -> bytes:
        """Enroll and return the reply that holds the certificate. Raises EnrollmentFailed."""
        ...

    def certificate(self, job: Job, reply: bytes) -> x509.Certificate:
        """Return the certificate in a reply. Raises EnrollmentFailed when there is none for the job's key."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a series of enrollments.

    Attributes:
        replies: one for each job in the jobs' order, None where it failed.
        latencies: of those that succeeded, in seconds, ascending.
        failures: texts of those that failed, in the order of failing.
        seconds: from the first request to the last reply.
    """

    replies: tuple[bytes | None, ...]
    latencies: tuple[float, ...]
    failures: tuple[str, ...]
    seconds: float

    @property
    def rate(self) -> float:
        """Enrollments a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, part: float) -> float:
        """Return the latency, in seconds, that `part` (0 to 1) of the enrollments did not exceed; 0 for none."""
        if not self.latencies:
            return 0.0
        return self.latencies[min(len(self.latencies) - 1, int(part * len(self.latencies)))]


async def run_load(
    enroller: Enroller[Job],
    jobs: Sequence[Job],
    *,
    concurrency: int,
    done: Callable[[], None] = lambda: None,
) -> Load:
    """Send every job once, `concurrency` of them at any moment; `done` is called after each."""
    replies: list[bytes | None] = [None] * len(jobs)
    latencies: list[float] = []
    failures: list[str] = []
    waiting: Iterator[tuple[int, Job]] = iter(enumerate(jobs))

    async def work() -> None:
        for number, job in waiting:
            began = time.perf_counter()
            try:
                replies[number] = await enroller.send(job)
                latencies.append(time.perf_counter() - began)
            except EnrollmentFailed as error:
                failures.append(str(error))
            done()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return Load(tuple(replies), tuple(sorted(latencies)), tuple(failures), time.perf_counter() - began)


async def warm_up(enroller: Enroller[Job], jobs: Sequence[Job], *, concurrency: int) -> None:
    """Send every job once. Raises EnrollmentFailed at the first failure, and lets go of all others: so will they."""
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await enroller.send(job)

    tasks = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
