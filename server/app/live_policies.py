"""The policy files of a running server: read again when they change or when told to, all of them or none.

What is wrong with new files is told in the log and by ``/readyz``, and the last good ones stay in force.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from policies.document import DocumentErrors
from server.rounds import WATCH_SECONDS, when_changed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from policies.decision import Decision, Finding
    from policies.profile import Profile
    from policies.profile_set import ProfileSet
    from policies.request import EndpointName, EnrollmentRequest

_log = structlog.get_logger("server.policies")


class LivePolicies:
    """The profiles in force.

    Args:
        profiles: those of the start.
        load: reads and tests all files anew; raises DocumentErrors.
        look: returns what changes when a file does: names, times, sizes. Raises nothing.
        seen: what `look` returned before `profiles` were read; None when they can't have changed since.
    """

    def __init__(
        self,
        profiles: ProfileSet,
        load: Callable[[], ProfileSet],
        look: Callable[[], Hashable],
        seen: Hashable | None = None,
    ) -> None:
        self._current = profiles
        self._load = load
        self._look = look
        self._loaded = look() if seen is None else seen
        self._fault = ""
        self._busy = asyncio.Lock()

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The profiles by name."""
        return self._current.profiles

    @property
    def digest(self) -> str:
        """SHA-256, hex, over all files."""
        return self._current.digest

    @property
    def state(self) -> str:
        """``ok``, or ``ok`` with what is wrong with newer files."""
        return f"ok, but the last good files are in force: {self._fault}" if self._fault else "ok"

    @property
    def personal(self) -> bool:
        """Whether it matters to any profile what the requester is called."""
        return self._current.personal

    def decide(self, request: EnrollmentRequest) -> Decision:
        """Judge a request by the files in force. Never raises."""
        return self._current.decide(request)

    def objections_to_names(self, request: EnrollmentRequest) -> tuple[Finding, ...]:
        """Return what the files in force have against names, see `ProfileSet.objections_to_names`."""
        return self._current.objections_to_names(request)

    def select(self, endpoint: EndpointName, name: str | None, requester: str | None = None) -> Profile | None:
        """Return the profile that judges, see `ProfileSet.select`."""
        return self._current.select(endpoint, name, requester)

    def select_for(self, request: EnrollmentRequest) -> Profile | None:
        """Return the profile that judges a request, see `ProfileSet.select_for`."""
        return self._current.select_for(request)

    async def begin(self) -> None:
        """Take what has changed since the server's start, before this process answers: it may follow one that died."""
        if self._look() != self._loaded:
            await self.reload()

    async def reload(self) -> bool:
        """Read all files anew and let them judge from now on, if nothing is wrong with any. Returns whether they do."""
        async with self._busy:
            seen = self._look()
            try:
                fresh = await asyncio.to_thread(self._load)
            except DocumentErrors as errors:
                first, more = errors.problems[0], len(errors.problems) - 1
                self._fault = f"{first}" + (f" (and {more} more)" if more else "")
                _log.error("policy files not taken: the last good ones stay in force")
                for problem in errors.problems:
                    _log.error("policy problem", where=str(problem.location), problem=problem.message)
                self._loaded = seen
                return False
            except Exception as error:  # noqa: BLE001 - a fault must not end the watch
                self._fault = f"the files can't be judged: {error!r}"
                _log.exception("policy files not taken: the last good ones stay in force")
                self._loaded = seen
                return False
            changed, was_wrong = fresh.digest != self._current.digest, bool(self._fault)
            self._current, self._loaded, self._fault = fresh, seen, ""
            if changed:
                _log.warning("policy files taken", digest=fresh.digest[:16], profiles=len(fresh.profiles))
            elif was_wrong:
                _log.warning("policy files are again those in force", digest=fresh.digest[:16])
            return True

    async def watch(self, seconds: float = WATCH_SECONDS) -> None:
        """Reload whenever files have changed and stayed as they are for a while; until cancelled."""
        await when_changed(self._look, lambda: self._loaded, self.reload, seconds, "policies_not_watched")
