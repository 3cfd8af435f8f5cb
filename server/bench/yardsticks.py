"""How fast the machine is while a load lasts, and what the server costs while nobody else slows it.

Neighbours on a shared core and its caches slow it for seconds, or parts of them: a P-256 verification takes up to 1.6
times as long then, bytecode of Python 2.3 times as long. No factor makes good for that, so beside the figures of all
the time there are those of the time in which a loop of Python took hardly longer than it did at its fastest.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from server.store.nearby import Follower

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from server.bench.process import ServerProcess

_VERIFICATIONS = 40
_TURNS = 6000
_PAUSE = 0.15
_HARDLY_LONGER = 1.2
_FEWEST = 100
"""Enrollments that must have fallen into quiet moments, so that they say something."""


class Reading(NamedTuple):
    """One look at the machine and the server.

    Attributes:
        verification: what a P-256 verification took, in CPU milliseconds.
        loop: what a loop of Python took, in CPU milliseconds.
        cpu: user plus system time of the server so far, in seconds.
        done: how many enrollments were done so far.
    """

    verification: float
    loop: float
    cpu: float
    done: int


class Quiet(NamedTuple):
    """What the server cost while nobody else slowed it.

    Attributes:
        enrollments: how many fell into that time.
        cpu_milliseconds: user plus system time for each of them.
        yardstick: what a P-256 verification took then, in CPU milliseconds.
    """

    enrollments: int
    cpu_milliseconds: float
    yardstick: float


def yardstick() -> float:
    """Return what a P-256 verification costs here now, in CPU milliseconds: how fast this machine is, and how busy."""
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = ec.ECDSA(hashes.SHA256())
    signature, verifier = key.sign(b"yardstick", algorithm), key.public_key()
    began = time.thread_time()
    for _ in range(_VERIFICATIONS):
        verifier.verify(signature, b"yardstick", algorithm)
    return (time.thread_time() - began) * 1000 / _VERIFICATIONS


def _loop() -> float:
    """Return what some work of the interpreter alone costs here now, in CPU milliseconds."""
    found: dict[int, str] = {}
    began = time.thread_time()
    for turn in range(_TURNS):
        found[turn % 97] = f"{turn}x"
    return (time.thread_time() - began) * 1000


@asynccontextmanager
async def readings(server: ServerProcess | None, done: Callable[[], int]) -> AsyncIterator[list[Reading]]:
    """Take readings, as long as this lasts; the list grows.

    Args:
        server: whose CPU time is noted, and on whose processor the yardsticks are taken; None: one elsewhere.
        done: tells how many enrollments are done.
    """
    found: list[Reading] = []
    follower = Follower()

    def take(place: int | None) -> tuple[float, float]:
        if place is not None:
            follower.follow(place)
        return yardstick(), _loop()

    async def look() -> None:
        place = server.processor() if server else None
        verification, loop = await asyncio.get_running_loop().run_in_executor(thread, take, place)
        found.append(Reading(verification, loop, server.cpu_seconds() if server else 0.0, done()))

    async def keep_looking() -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            await look()

    with ThreadPoolExecutor(1) as thread:
        await look()
        task = asyncio.create_task(keep_looking())
        try:
            yield found
        finally:
            task.cancel()


def quiet(found: Sequence[Reading]) -> Quiet | None:
    """Return what the server cost between readings that show no neighbours; None when there was too little of that."""
    longest = min((one.loop for one in found), default=0.0) * _HARDLY_LONGER
    spans = [(one, other) for one, other in pairwise(found) if max(one.loop, other.loop) <= longest]
    enrollments = sum(other.done - one.done for one, other in spans)
    if enrollments < _FEWEST:
        return None
    seconds = sum(other.cpu - one.cpu for one, other in spans)
    verification = sum(one.verification + other.verification for one, other in spans) / (2 * len(spans))
    return Quiet(enrollments, seconds * 1000 / enrollments, verification)
