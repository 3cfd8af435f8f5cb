from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ca.issuer import IssuerUnavailable
from server.store.credentials import is_waiting
from tests.fakes.credential import credential, keep
from tests.fakes.door import Door, ask
from tests.fakes.record import issued

if TYPE_CHECKING:
    from server.store import Store

DAY = timedelta(days=1)


async def waits(store: Store, door: Door) -> bool:
    return await store.read(lambda connection: is_waiting(connection, "otp", door.now - DAY, door.now - 7 * DAY))


async def test_who_waits_for_a_ca_that_is_away_may_ask_again_until_a_day_after_it_is_back(
    door: Door, store: Store
) -> None:
    await keep(store, credential(id="otp"))
    assert not await waits(store, door)
    door.issuer.failures.append(IssuerUnavailable("away"))
    await door.submit(ask(spends=("otp",)))
    door.now += 3 * DAY
    assert await waits(store, door)
    assert await door.recover() == 1
    assert await waits(store, door)
    door.now += DAY
    assert await waits(store, door)
    door.now += timedelta(seconds=1)
    assert not await waits(store, door)


async def test_who_has_a_certificate_does_not_wait_for_it_any_more_after_a_day(door: Door, store: Store) -> None:
    await keep(store, credential(id="otp"))
    issued(await door.submit(ask(spends=("otp",))))
    door.now += DAY + timedelta(seconds=1)
    assert not await waits(store, door)
