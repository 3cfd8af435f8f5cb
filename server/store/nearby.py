"""Having a thread run on the processor that another runs on.

Threads of one interpreter take turns and work on the same objects. On two processors each turn begins with fetching
from the other's caches what was changed there, reference counts above all; that costs a tenth of an enrollment's CPU.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN = -1


def _way_to_ask() -> Callable[[], int]:
    """Return sched_getcpu(3), which Python does not have; where threads can't be placed, what knows nothing."""
    if not hasattr(os, "sched_setaffinity"):
        return lambda: UNKNOWN
    ask: Callable[[], int] = getattr(ctypes.CDLL(None), "sched_getcpu", lambda: UNKNOWN)
    return ask


processor = _way_to_ask()
"""Return the number of the processor that runs the caller now, `UNKNOWN` where the system does not tell."""


class Follower:
    """A thread that goes where another is; that one may run wherever the system has it run."""

    def __init__(self) -> None:
        self._place = UNKNOWN

    def follow(self, place: int) -> None:
        """Move the calling thread to a processor; nowhere when it is `UNKNOWN` or not the process's any more."""
        if place not in {UNKNOWN, self._place}:
            self._place = place
            with suppress(OSError):
                os.sched_setaffinity(0, {place})  # of this thread alone
