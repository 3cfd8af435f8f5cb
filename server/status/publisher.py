"""Making revocation lists: on schedule and after revocations, by whichever process takes the lease."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from ca.crl import RevocationList
from ca.issuer import IssuerError
from server.rounds import again_and_again
from server.status import records
from server.status.records import COMPLETE, List, Published, Scope, Wanted
from server.store.revocations import restore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from ca.issuer import CrlIssuer
    from server.clock import Clock
    from server.status.addresses import IssuerAddresses
    from server.status.records import Standing, Task
    from server.store import Store

SKEW = timedelta(minutes=5)
"""A list from further in the future than this was made under a wrong clock."""
LEASE = timedelta(minutes=5)
"""How long a process may take to make a list before another tries."""

_log = structlog.get_logger("server.status")


@dataclass(frozen=True, slots=True)
class Publishing:
    """How the lists of one issuer are made.

    Attributes:
        issuer: signs them.
        every: how often.
        lifetime: from thisUpdate to nextUpdate.
        after_revocation: how long a change waits for others at most.
        shards: new certificates are spread over so many lists.
        delta: whether changes stand in delta lists between the complete ones.
        addresses: where the lists are; None when that is not known here.
    """

    issuer: CrlIssuer
    every: timedelta
    lifetime: timedelta
    after_revocation: timedelta
    shards: int = 0
    delta: bool = False
    addresses: IssuerAddresses | None = None


class Publisher:
    """Makes the lists of all issuers.

    Args:
        store: the record.
        issuers: how the lists of each are made, by configured name.
        clock: tells the time.
        owner: names this process in leases.
        pause: seconds between two looks at what is due.
    """

    def __init__(
        self, store: Store, issuers: Mapping[str, Publishing], clock: Clock, owner: str, pause: float = 1.0
    ) -> None:
        self._store = store
        self._issuers = issuers
        self._clock = clock
        self._owner = owner
        self._pause = pause
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for what is due from now on."""
        if self._issuers:
            self._task = asyncio.create_task(again_and_again(self.publish_due, self._pause, "crl_postponed"))

    async def stop(self) -> None:
        """Stop looking; a list that is being made is left to others."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def publish_due(self) -> int:
        """Make every list that is due and that no other process is making; return how many. Raises StoreUnavailable."""
        made = 0
        for name in self._issuers:
            for scope in await self._scopes(name):
                made += await self._look_after(scope)
        return made

    async def _scopes(self, issuer: str) -> list[Scope]:
        """Return what lists there are to be: a shard stays, even when fewer are configured later."""
        known = await self._store.read(lambda connection: records.shards(connection, issuer))
        wanted = {COMPLETE, *known, *range(1, self._issuers[issuer].shards + 1)}
        return [Scope(issuer, shard) for shard in sorted(wanted)]

    async def _look_after(self, scope: Scope) -> bool:
        settings, now = self._issuers[scope.issuer], self._clock().replace(microsecond=0)
        standing = await self._store.read(lambda connection: records.standing(connection, scope))
        due = _due(standing, settings, now)
        if due is None:
            return False
        if standing.full is not None and standing.full.this_update > now + SKEW:
            restored = await self._store.write(lambda c: restore(c, scope.issuer, now))
            _log.error("clock_went_back", issuer=scope.issuer, shard=scope.shard, entries_restored=restored)
        task = await self._store.write(lambda c: records.claim(c, scope, self._owner, now, now + LEASE))
        if task is None:
            return False
        # Another process may have made one before this took the lease: a later number must not know less than that.
        standing = await self._store.read(lambda connection: records.standing(connection, scope))
        due = _due(standing, settings, now)
        if due is None:
            await self._store.write(lambda connection: records.give_back(connection, task))
            return False
        try:
            return await self._make(task, now, standing, delta=due == "delta", scheduled=due == "scheduled")
        except IssuerError as error:
            _log.error("crl_not_signed", issuer=scope.issuer, shard=scope.shard, detail=str(error))
            await self._store.write(lambda connection: records.give_back(connection, task))
            await asyncio.sleep(self._pause)
            return False

    async def _make(self, task: Task, now: datetime, standing: Standing, *, delta: bool, scheduled: bool) -> bool:
        began, settings = perf_counter(), self._issuers[task.scope.issuer]
        base = standing.full.upto if delta and standing.full is not None else 0
        # RFC 5280 section 3.3: a revoked certificate stays until a scheduled list after its end has named it.
        wanted = Wanted(task.scope, base, standing.latest, min(task.scheduled_at, now), released=delta)
        entries = await self._entries(wanted)
        about = Published(task.number, now, now + settings.lifetime, standing.latest, len(entries))
        number = standing.full.number if delta and standing.full is not None else None
        lists = [List(about, delta, await self._sign(task.scope, about, entries, number))]
        if settings.delta and not delta:
            # whoever has the new list learns from its delta, of the same number, that nothing has changed
            nothing = Published(task.number, now, now + settings.lifetime, standing.latest, 0)
            lists.append(List(nothing, True, await self._sign(task.scope, nothing, [], task.number)))  # noqa: FBT003
        scheduled_at = now if scheduled else None
        published = await self._store.write(lambda c: records.publish(c, task, lists, scheduled_at))
        if published and scheduled:
            await self._store.write(lambda c: records.forget_expired(c, task.scope.issuer))
        took = round(perf_counter() - began, 3)
        facts = {"issuer": task.scope.issuer, "shard": task.scope.shard, "number": task.number, "delta": delta}
        _log.info("crl_published" if published else "crl_overtaken", **facts, entries=len(entries), seconds=took)
        return published

    async def _sign(self, scope: Scope, about: Published, entries: list[bytes], base: int | None) -> bytes:
        settings = self._issuers[scope.issuer]
        addresses = settings.addresses
        sharded = addresses is not None and scope.shard != COMPLETE
        content = RevocationList(
            number=about.number,
            this_update=about.this_update,
            next_update=about.next_update,
            entries=entries,
            base=base,
            shard_url=addresses.crl(scope.shard) if addresses is not None and sharded else None,
            delta_url=addresses.crl(scope.shard, delta=True) if addresses is not None and settings.delta else None,
        )
        return await settings.issuer.sign_crl(content)

    async def _entries(self, wanted: Wanted) -> list[bytes]:
        entries: list[bytes] = []
        last = wanted.after
        while True:
            rows = await self._store.read(partial(records.page, wanted=wanted, after=last))
            entries += [entry for _, entry in rows]
            if len(rows) < records.PAGE:
                return entries
            last = rows[-1][0]


def _due(standing: Standing, settings: Publishing, now: datetime) -> str | None:
    """Return which list a scope needs now: ``scheduled``, ``changed`` or ``delta``; None for none."""
    if standing.full is None or now >= standing.scheduled_at + settings.every or standing.full.this_update > now + SKEW:
        return "scheduled"
    newest = max(_present(standing), key=lambda each: each.this_update)
    known = max(each.upto for each in _present(standing))
    if standing.latest <= known or now < newest.this_update + settings.after_revocation:
        return None
    return "delta" if settings.delta else "changed"


def _present(standing: Standing) -> Iterator[Published]:
    return (each for each in (standing.full, standing.delta) if each is not None)
