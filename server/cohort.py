"""Requests that are under way together take each step of the work together.

When a request runs through all its steps at once, each step finds the processor's caches filled by the one before it.
When ten requests take the first step, then the ten take the second, nine of them find the code and data of the step at
hand. It is cohort scheduling (Larus and Parkes, "Using Cohort-Scheduling to Enhance Server Performance", USENIX 2002),
and a tenth of the CPU of a loaded server. A request that is alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from types import coroutine
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_LARGEST = 32


class Cohort:
    """Where requests meet before their first step.

    Args:
        largest: so many go on without looking for more.
    """

    def __init__(self, largest: int = _LARGEST) -> None:
        self._largest = largest
        self._waiting: list[asyncio.Future[None]] = []

    async def join(self) -> None:
        """Return in the same turn of the event loop as all who came since the last turn in which nobody came."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._look, loop, 0)
        await turn

    def _look(self, loop: asyncio.AbstractEventLoop, seen: int) -> None:
        found = len(self._waiting)
        if seen < found < self._largest:
            loop.call_soon(self._look, loop, found)
            return
        cohort, self._waiting = self._waiting, []
        for turn in cohort:
            if not turn.done():  # whoever waited may have hung up
                turn.set_result(None)


@coroutine
def next_step() -> Generator[None, None, None]:
    """Let the others of the cohort do what this request has just done, before it does the next thing.

    To be awaited. It is what ``asyncio.sleep(0)`` does, for which three functions are entered and left.
    """
    yield
