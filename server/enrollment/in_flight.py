"""Work that is under way: done once for all who ask the same meanwhile, and to its end though all of them hang up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from server.issuance import internal, store_unavailable
from server.outcome import Refused
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from server.outcome import Outcome

log = structlog.get_logger()


class InFlight:
    """What this process works on, by the SHA-256 of idempotency keys."""

    def __init__(self) -> None:
        self._running: dict[bytes, asyncio.Task[Outcome]] = {}

    async def once(self, key: bytes, work: Callable[[], Coroutine[None, None, Outcome]]) -> Outcome:
        """Run the work in a task that outlives its callers; who comes with the same key meanwhile gets its outcome.

        Never raises for any failure of the work.
        """
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(_guarded(work))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key))
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Return when nothing is going on any more."""
        while self._running:
            await asyncio.wait(self._running.values())


async def _guarded(work: Callable[[], Coroutine[None, None, Outcome]]) -> Outcome:
    try:
        return await work()
    except StoreUnavailable as error:
        return store_unavailable(error)
    except Exception as error:
        log.exception("enrollment_failed")
        return Refused(internal(repr(error)))
