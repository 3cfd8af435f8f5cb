"""A sample of what is issued, linted in full beside the work: the net below the lint by shape (`ca.lint`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca.lint import LintFinding

EVERY = 100
"""One certificate of so many is looked at, the first among them."""
log = structlog.get_logger()


class Sampling:
    """Lints one certificate of so many, one at a time, in a thread; what is found is an alarm.

    Args:
        examine: returns what is wrong with a certificate, DER; never called twice at the same time.
        every: one of so many.
    """

    def __init__(self, examine: Callable[[bytes], tuple[LintFinding, ...]], every: int = EVERY) -> None:
        self._examine = examine
        self._every = every
        self._count = 0
        self._running: asyncio.Task[None] | None = None

    def offer(self, profile: str, certificate: bytes) -> None:
        """Take this certificate, DER, into the sample, or not. Returns at once; must be called on the event loop."""
        self._count += 1
        if self._count % self._every == 1 % self._every and (self._running is None or self._running.done()):
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
