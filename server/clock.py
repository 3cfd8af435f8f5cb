"""The clock: the one place that reads the time. Everything else takes a `Clock`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present time, aware, in UTC."""


def system_clock() -> datetime:
    """Return the present time in UTC, from the operating system."""
    return datetime.now(UTC)  # noqa: TID251 - this is the clock
