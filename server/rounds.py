"""What is done again and again beside the requests, and goes on whatever becomes of one round."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from server.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

WATCH_SECONDS = 2.0
"""How often files are looked at; a change is taken up when they have stayed the same for one such time."""

_log = structlog.get_logger("server.rounds")


async def again_and_again(
    work: Callable[[], Awaitable[object]], pause: float, failed: str, *, first: float = 0.0, **about: object
) -> None:
    """Do the work after each pause, until cancelled.

    Args:
        work: one round. What it raises is an event, and the next round comes all the same.
        pause: seconds between two rounds.
        failed: the name of that event.
        first: seconds before the first round.
        about: what else the event says.
    """
    await asyncio.sleep(first)
    while True:
        try:
            await work()
        except StoreUnavailable as error:
            _log.warning(failed, detail=str(error), **about)
        except Exception:  # noqa: BLE001 - one bad round must not end those that would be good
            _log.exception(failed, **about)
        await asyncio.sleep(pause)


async def when_changed(
    look: Callable[[], Hashable],
    taken: Callable[[], Hashable],
    reload: Callable[[], Awaitable[object]],
    pause: float,
    failed: str,
) -> None:
    """Reload whenever files have changed and stayed as they are for a while, until cancelled.

    Args:
        look: returns what changes when a file does; called in a thread.
        taken: returns what `look` returned when the files were last read.
        reload: reads them.
        pause: seconds between two looks.
        failed: the name of the event for a round that fails.
    """
    last = taken()

    async def round_() -> None:
        nonlocal last
        seen = await asyncio.to_thread(look)
        if seen == last != taken():
            await reload()
        last = seen

    await again_and_again(round_, pause, failed, first=pause)
