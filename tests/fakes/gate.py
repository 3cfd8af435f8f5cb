"""A signer that waits until it may go on, to see what holds meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.fakes.door import Door, ask

if TYPE_CHECKING:
    from server.store import Store


class Gate:
    """Holds the signer until it is opened; `reached` tells that it was asked."""

    def __init__(self, door: Door) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        self._issue = door.issuer.issue
        setattr(door.issuer, "issue", self._wait)  # noqa: B010 - replaces a method

    async def _wait(self, *arguments: Any) -> bytes:
        self.reached.set()
        await self.open.wait()
        return await self._issue(*arguments)


async def hung(store: Store, name: str = "pump") -> tuple[Door, asyncio.Task[Any], asyncio.Event]:
    """Return a door whose submit hangs in the signer, as that of a process that was killed or stopped."""
    door, reached, released = Door(store), asyncio.Event(), asyncio.Event()
    issue = door.issuer.issue

    async def wait(*arguments: Any) -> bytes:
        reached.set()
        await released.wait()
        return await issue(*arguments)

    setattr(door.issuer, "issue", wait)  # noqa: B010 - replaces a method
    task = asyncio.create_task(door.submit(ask(name)))
    await reached.wait()
    return door, task, released
