"""How many messages one address may send: each costs the server a signature, whoever sends it."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS_PER_MINUTE = 60


class Rate:
    """A bucket of a minute's messages for each address, refilled evenly; the least recent addresses are forgotten.

    Args:
        per_minute: how many.
        seconds: a monotonic clock.
        capacity: how many addresses are remembered.
    """

    def __init__(self, per_minute: int, seconds: Callable[[], float], capacity: int = 10_000) -> None:
        self._most = float(per_minute)
        self._per_second = per_minute / _SECONDS_PER_MINUTE
        self._seconds = seconds
        self._capacity = capacity
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str | None) -> int:
        """Count a message; return 0 when it may be read, else after how many seconds one may."""
        if address is None:
            return 0
        now = self._seconds()
        left, since = self._left.pop(address, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        wait = 0 if left >= 1 else ceil((1 - left) / self._per_second)
        self._left[address] = (left - 1 if wait == 0 else left, now)
        if len(self._left) > self._capacity:
            self._left.popitem(last=False)
        return wait
