"""Telling CAs elsewhere of revocations: after they are on record, and again until they have taken them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from ca.issuer import IssuerError
from server.audit import Action, AuditEvent
from server.rounds import again_and_again
from server.store import notices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ca.issuer import Revoker
    from server.clock import Clock
    from server.store import Store
    from server.store.notices import Notice

LEASE = timedelta(minutes=10)
"""How long a process may take over what it has taken before another tries."""
SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(hours=6)
_SHOWN = 500

_log = structlog.get_logger("server.status")


class Teller:
    """Tells each CA of the revocations of its certificates.

    Args:
        store: the record.
        issuers: the CAs that must be told, by configured name.
        clock: tells the time.
        pause: seconds between two looks at what there is to tell.
    """

    def __init__(self, store: Store, issuers: Mapping[str, Revoker], clock: Clock, pause: float = 2.0) -> None:
        self._store = store
        self._issuers = issuers
        self._clock = clock
        self._pause = pause
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Look for what there is to tell from now on."""
        self._tasks = [
            asyncio.create_task(
                again_and_again(partial(self._tell_all, name), self._pause, "issuer_not_told", issuer=name)
            )
            for name in self._issuers
        ]

    async def stop(self) -> None:
        """Stop telling; what is under way is told again by others, later."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _tell_all(self, issuer: str) -> None:
        while await self.tell(issuer):
            pass

    async def tell(self, issuer: str) -> int:
        """Tell one CA what is due now; return how many revocations were tried. Raises StoreUnavailable."""
        now = self._clock()
        if not await self._store.read(lambda connection: notices.is_anything(connection, issuer, now)):
            return 0
        due = await self._store.write(lambda connection: notices.take(connection, issuer, now, now + LEASE))
        for notice in due:
            await self._tell(issuer, notice)
        return len(due)

    async def _tell(self, issuer: str, notice: Notice) -> None:
        certificate = x509.load_der_x509_certificate(notice.der)
        serial = format(notice.serial, "x")
        try:
            await self._issuers[issuer].revoke(certificate, notice.reason, notice.at)
        except IssuerError as error:
            pause = min(SHORTEST_PAUSE * 2 ** min(notice.attempts, 20), LONGEST_PAUSE)
            until, why = self._clock() + pause, str(error)[:_SHOWN]
            _log.error("issuer_not_told", issuer=issuer, serial=serial, detail=why, attempts=notice.attempts + 1)
            await self._store.write(lambda connection: notices.postpone(connection, notice.serial, until, why))
            return
        now = self._clock()
        event = AuditEvent(
            now, Action.ISSUER_TOLD, "certwright", serial=notice.serial, detail=notice.reason.value
        ).row()
        await self._store.write(lambda connection: notices.told(connection, notice, now, event))
        _log.info("issuer_told", issuer=issuer, serial=serial)
