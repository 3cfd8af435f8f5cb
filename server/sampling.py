"""A sample of what is issued, linted in full beside the work: the net below the lint by shape (`ca.lint`)."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca.lint import LintFinding

PAUSE = 10.0
"""Seconds between two looks: nearly everything on a quiet server, next to no work on a busy one."""
log = structlog.get_logger()


class Sampling:
    """Lints a certificate now and then, one at a time, in a thread; what is found is an alarm.

    Args:
        examine: returns what is wrong with a certificate, DER; never called twice at the same time.
        seconds: a clock that only goes on.
        pause: seconds between two looks.
    """

    def __init__(
        self,
        examine: Callable[[bytes], tuple[LintFinding, ...]],
        seconds: Callable[[], float] = monotonic,
        pause: float = PAUSE,
    ) -> None:
        self._examine = examine
        self._seconds = seconds
        self._pause = pause
        self._due = seconds()
        self._running: asyncio.Task[None] | None = None

    def offer(self, profile: str, certificate: bytes) -> None:
        """Take this certificate, DER, into the sample, or not. Returns at once; must be called on the event loop."""
        now = self._seconds()
        if now >= self._due and (self._running is None or self._running.done()):
            self._due = now + self._pause
            self._running = asyncio.create_task(self._look(profile, certificate))

    async def drain(self) -> None:
        """Return when nothing is looked at any more."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _look(self, profile: str, certificate: bytes) -> None:
        try:
            found = await asyncio.to_thread(self._examine, certificate)
        except Exception:
            log.exception("lint_sample_failed", profile=profile)
            return
        if found:
            findings = [f"{one.code} {one.path} {one.message}".strip() for one in found]
            log.error("lint_alarm", profile=profile, certificate=certificate.hex(), findings=findings)
