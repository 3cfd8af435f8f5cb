"""Writing exchanges down without letting the client wait for it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from server.scep.exchanges import forget_exchanges, record_exchanges

if TYPE_CHECKING:
    from server.scep.exchanges import Exchange
    from server.store import Store

_FORGET_EVERY = 1000
_MOST_WAITING = 10_000
_log = structlog.get_logger("server.scep")


class Diary:
    """Writes exchanges to the record soon after they happened, all that came meanwhile together.

    Losing some is logged.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Exchange] = []
        self._writing: asyncio.Task[None] | None = None
        self._unforgotten = 0

    def note(self, exchange: Exchange) -> None:
        """Have an exchange written; when too many wait already, leave it out."""
        if len(self._waiting) >= _MOST_WAITING:
            _log.warning("exchanges not recorded", count=1, cause="too many at once")
            return
        self._waiting.append(exchange)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def drain(self) -> None:
        """Return when nothing waits any more."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._waiting:
            items, self._waiting = self._waiting, []
            try:
                await self._store.write(partial(record_exchanges, items=items))
                self._unforgotten += len(items)
                if self._unforgotten >= _FORGET_EVERY:
                    self._unforgotten = 0
                    await self._store.write(forget_exchanges)
            except Exception as error:  # noqa: BLE001 - clients have their answers; what it is must not be lost silently
                _log.warning("exchanges not recorded", count=len(items), cause=repr(error))
