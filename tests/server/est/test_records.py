"""What is left half-done for a key that was made here ends when it is asked for again, whatever clocks said before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from ca.issuer import IssuerPending
from server.est import records
from server.est.generated import AGAIN
from server.est.records import GeneratedKey
from server.outcome import Pending
from server.store import Store
from server.store.requests import State
from tests.fakes.credential import credential, keep, kept
from tests.fakes.database import empty_database
from tests.fakes.door import Door, ask
from tests.fakes.gate import hung
from tests.fakes.issuer import NOW
from tests.fakes.record import actions, asked, issued

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from policies.request import EnrollmentRequest

LEASE = timedelta(seconds=10)
A_YEAR = timedelta(days=365)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(empty_database(tmp_path / "certwright.db"))
    yield opened
    await opened.close()


async def add(door: Door, request: EnrollmentRequest) -> None:
    """What is recorded of the key of a request before it is put to the door."""
    made = GeneratedKey.of(request, None)
    await door.record.write(lambda c: records.add(c, made, request.now - AGAIN, door.lease()))


async def left_with_the_ca(store: Store, at: datetime) -> Door:
    """A door whose CA needs time for the key ``a``, for which a one-time password was spent at that time."""
    await keep(store, credential(id="once"))
    door = Door(store)
    door.now = at
    door.issuer.failures.append(IssuerPending(7, "ticket"))
    request = ask(key="a", now=at, spends=("once",))
    await add(door, request)
    assert isinstance(await door.submit(request), Pending)
    return door


async def ends(store: Store, door: Door, at: datetime, name: str = "pump") -> bool:
    """Whether the first request is ended, and its password good again, when a key is asked for once more."""
    door.now = at
    await add(door, ask(name, key="b", now=at))
    first = (await asked(store))[-1]
    ended = first.state is State.FAILED
    assert ended is ((await kept(store, "once")).uses_left == 1)
    assert ended is ("failed" in await actions(store, first.id))
    return ended


async def test_what_a_ca_needs_time_for_ends_when_it_is_asked_for_again(store: Store) -> None:
    door = await left_with_the_ca(store, NOW)
    assert await ends(store, door, NOW)
    issued(await door.submit(ask(key="c", spends=("once",))))


@pytest.mark.parametrize("wrong", [A_YEAR, timedelta(hours=1), 2 * LEASE + timedelta(seconds=1), -A_YEAR])
async def test_what_was_left_by_a_wrong_clock_ends_too(store: Store, wrong: timedelta) -> None:
    assert await ends(store, await left_with_the_ca(store, NOW + wrong), NOW)


async def test_what_is_asked_for_again_after_days_ends_even_if_others_asked_in_between(store: Store) -> None:
    door = await left_with_the_ca(store, NOW)
    assert not await ends(store, door, NOW + AGAIN + LEASE, "valve")
    door.now += LEASE
    await add(door, ask(key="c", now=door.now))
    assert (await asked(store))[-1].state is State.FAILED


@pytest.mark.parametrize("step", [timedelta(0), LEASE / 2, -LEASE / 2, -LEASE])
async def test_what_another_process_works_on_goes_on_though_the_clocks_differ_a_little(
    store: Store, step: timedelta
) -> None:
    _, task, released = await hung(store)
    await store.write(lambda c: c.execute(sa.insert(records.generated_keys).values(**_row(ask()))))
    other = Door(store)
    other.now += step
    await add(other, ask(key="b", now=other.now))
    released.set()
    issued(await task)


async def test_what_nobody_works_on_any_more_ends(store: Store) -> None:
    _, task, released = await hung(store)
    await store.write(lambda c: c.execute(sa.insert(records.generated_keys).values(**_row(ask()))))
    other = Door(store)
    other.now += LEASE
    await add(other, ask(key="b", now=other.now))
    assert (await asked(store))[-1].state is State.FAILED
    released.set()
    assert not isinstance(await task, Pending)
    assert (await asked(store))[-1].state is State.FAILED


async def test_rows_of_keys_that_are_of_no_use_any_more_are_removed(store: Store) -> None:
    door = Door(store)
    for number in range(3):
        door.now = NOW + number * (AGAIN + LEASE)
        request = ask(key=str(number), now=door.now)
        await add(door, request)
        issued(await door.submit(request))
    count = sa.select(sa.func.count()).select_from(records.generated_keys)
    assert await store.read(lambda c: c.execute(count).scalar_one()) == 1


async def test_those_rows_are_found_by_an_index_however_many_keys_were_made_since(store: Store) -> None:
    query = "DELETE FROM est_generated_keys WHERE escrow IS NULL AND made_at < 't'"
    plan = await store.read(lambda c: str(c.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()))
    assert "USING INDEX ix_est_generated_keys_made_at" in plan


def _row(request: EnrollmentRequest) -> dict[str, object]:
    made = GeneratedKey.of(request, None)
    return {"question": made.question, "request_key": made.request_key, "made_at": made.made_at}
