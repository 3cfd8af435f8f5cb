"""Forgetting: the tables of an endpoint grow with the certificates that are good, not with time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from server.acme.messages import Rejected
from server.acme.records import retention
from server.rounds import again_and_again

if TYPE_CHECKING:
    from server.acme.service.endpoint import AcmeEndpoint

log = structlog.get_logger()

_AT_ONCE = 200


class Retention:
    """Removes old orders now and then. Start it before, stop it after serving."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint
        self._scope = str(endpoint.name)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._task is None:
            pause = self._endpoint.timing.forget
            self._task = asyncio.create_task(again_and_again(self._round, pause, "acme_retention_failed", first=pause))

    async def stop(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _round(self) -> None:
        try:
            await self.forget()
        except Rejected as error:
            log.warning("acme_retention_failed", detail=error.document.detail)

    async def forget(self) -> int:
        """Remove what is old enough. Returns how many orders there were. Raises Rejected when the store has trouble."""
        endpoint, scope = self._endpoint, self._scope
        now = endpoint.clock()
        before = now - endpoint.keep_orders
        await endpoint.write(lambda c: retention.forget_counts(c, scope, before, now))
        if endpoint.pre_authorization:
            await endpoint.write(lambda c: retention.forget_authorizations(c, scope, before))
        total, some = 0, _AT_ONCE
        while some == _AT_ONCE:  # many small transactions: enrollments in between don't wait
            some = await endpoint.write(lambda c: retention.forget_orders(c, scope, before, _AT_ONCE))
            total += some
        return total
