"""Writing exchanges down without letting the client wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from server.scep.exchanges import forget_exchanges, record_exchanges

if TYPE_CHECKING:
    from server.scep.exchanges import Exchange
    from server.store import Store

_FORGET_EVERY = 1000
_MOST_WAITING = 1000
_log = structlog.get_logger("server.scep")


class Diary:
    """Writes exchanges to the record soon after they happened; losing one is logged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writing: set[asyncio.Task[None]] = set()
        self._count = 0

    def note(self, exchange: Exchange) -> None:
        """Have an exchange written; when too many wait already, leave it out."""
        if len(self._writing) >= _MOST_WAITING:
            _log.warning("exchange not recorded", transaction=exchange.transaction, cause="too many at once")
            return
        task = asyncio.create_task(self._write(exchange))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def drain(self) -> None:
        """Return when nothing waits any more."""
        while self._writing:
            await asyncio.wait(self._writing)

    async def _write(self, exchange: Exchange) -> None:
        self._count += 1
        try:
            await self._store.write_together(record_exchanges, exchange)
            if self._count % _FORGET_EVERY == 0:
                await self._store.write(forget_exchanges)
        except Exception as error:  # noqa: BLE001 - the client has its answer; whatever it is must not be lost silently
            _log.warning("exchange not recorded", transaction=exchange.transaction, cause=repr(error))
