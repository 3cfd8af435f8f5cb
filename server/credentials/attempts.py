"""Who failed too often must wait, longer each time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0


class Attempts:
    """Counts failures by who failed, in memory; the least recent are forgotten first.

    Args:
        seconds: a monotonic clock.
        free: how many failures in a row cost nothing.
        longest: the longest wait, in seconds.
        capacity: how many to remember.
    """

    def __init__(
        self, seconds: Callable[[], float], *, free: int = 10, longest: float = 300, capacity: int = 10_000
    ) -> None:
        self._seconds = seconds
        self._free = free
        self._longest = longest
        self._capacity = capacity
        self._failures: OrderedDict[Hashable, _Failures] = OrderedDict()

    def wait(self, who: Hashable) -> int:
        """Return for how many more seconds `who` must not try, 0 when trying is free."""
        failures = self._failures.get(who)
        return max(0, ceil(failures.until - self._seconds())) if failures else 0

    def failed(self, who: Hashable) -> None:
        """Note a failure; from `free` of them on each doubles the wait, which begins at one second."""
        failures = self._failures.setdefault(who, _Failures())
        self._failures.move_to_end(who)
        failures.count += 1
        if failures.count >= self._free:
            doublings = min(failures.count - self._free, 30)
            failures.until = self._seconds() + min(self._longest, 2.0**doublings)
        if len(self._failures) > self._capacity:
            self._failures.popitem(last=False)

    def succeeded(self, who: Hashable) -> None:
        """Forget the failures of `who`."""
        self._failures.pop(who, None)
