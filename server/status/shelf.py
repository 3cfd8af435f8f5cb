"""The newest lists in memory, looked up by number so that none older than the record is handed out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from server.rounds import again_and_again
from server.status import records
from server.status.records import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.status.records import Published
    from server.store import Store


@dataclass(frozen=True, slots=True)
class Item:
    """A list, ready to be handed out."""

    published: Published
    der: bytes
    etag: str


class Shelf:
    """The lists that this process hands out.

    Args:
        store: the record.
        issuers: those whose complete list `current_crl` gives.
        pause: seconds between two looks for newer complete lists.
    """

    def __init__(self, store: Store, issuers: Sequence[str], pause: float = 1.0) -> None:
        self._store = store
        self._issuers = tuple(issuers)
        self._pause = pause
        self._items: dict[tuple[Scope, bool], Item] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep the complete lists at hand from now on."""
        if self._issuers:
            self._task = asyncio.create_task(again_and_again(self._look, self._pause, "crl_not_read"))

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def current_crl(self, issuer: str) -> bytes | None:
        """Return the newest complete list of an issuer, DER, at most seconds old; None when there is none."""
        item = self._items.get((Scope(issuer), False))
        return None if item is None else item.der

    async def get(self, scope: Scope, *, delta: bool = False) -> Item | None:
        """Return the newest list on record, None when there is none. Raises StoreUnavailable."""
        number = await self._store.read(lambda connection: records.number(connection, scope, delta=delta))
        item = self._items.get((scope, delta))
        if number is None or (item is not None and item.published.number >= number):
            return item
        found = await self._store.read(lambda connection: records.octets(connection, scope, delta=delta))
        if found is not None:
            published, octets = found
            item = self._items[scope, delta] = Item(published, octets, sha256(octets).hexdigest()[:32])
        return item

    async def _look(self) -> None:
        for issuer in self._issuers:
            await self.get(Scope(issuer))
