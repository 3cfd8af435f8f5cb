from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from ca.issuer import IssuerRefused, IssuerUnavailable
from server.outcome import Pending, Reason
from server.store import leases
from server.store.claims import Gone, Granted, Lease, Taken
from server.store.requests import State
from tests.fakes.credential import credential, keep, kept
from tests.fakes.door import Door, ask, csr_for
from tests.fakes.gate import hung
from tests.fakes.issuer import NOW
from tests.fakes.record import asked, issued, problem, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from server.store import Store

LEASE = timedelta(seconds=10)
DAY = timedelta(days=1)
MOMENT = timedelta(seconds=1)


async def test_what_a_process_left_half_done_is_finished_with_the_same_plan_and_serial(store: Store) -> None:
    _, task, released = await hung(store)
    (left,) = await asked(store)
    survivor = Door(store)
    survivor.now += LEASE
    survivor.policy.days = 5  # the rules have changed since
    outcome = issued(await survivor.submit(ask(now=survivor.now)))
    (kept,) = await stored(store)
    assert (kept.serial, kept.request_id, outcome.request_id) == (left.serial, left.id, left.id)
    assert (kept.not_after - kept.not_before).days == 30
    released.set()
    assert issued(await task).certificate == outcome.certificate  # the late signature is dropped
    assert len(await stored(store)) == 1


async def test_a_late_signature_in_a_group_with_good_ones_is_told_apart(store: Store) -> None:
    slow, task, released = await hung(store)
    others = [asyncio.create_task(slow.submit(ask(key=str(number)))) for number in range(5)]
    await asyncio.sleep(0.05)
    assert len(await asked(store)) == 6
    survivor = Door(store)
    survivor.now += LEASE
    first = issued(await survivor.submit(ask(now=survivor.now)))
    released.set()
    outcomes = await asyncio.gather(task, *others)
    assert issued(outcomes[0]).certificate == first.certificate
    assert len({issued(outcome).certificate for outcome in outcomes}) == len(await stored(store)) == 6


async def test_nobody_takes_over_while_the_lease_holds(store: Store) -> None:
    _, task, released = await hung(store)
    impatient = Door(store, patience=timedelta(seconds=0.1))
    outcome = await impatient.submit(ask())
    assert isinstance(outcome, Pending)
    assert impatient.issuer.issued == []
    assert isinstance(await impatient.poll(outcome.request_id), Pending)
    released.set()
    done = issued(await task)
    assert issued(await impatient.poll(outcome.request_id)).certificate == done.certificate


async def test_a_duplicate_waits_for_the_process_that_works_on_it(store: Store) -> None:
    _, task, released = await hung(store)
    other = Door(store)
    waiting = asyncio.create_task(other.submit(ask()))
    await asyncio.sleep(0.05)
    released.set()
    assert issued(await waiting).certificate == issued(await task).certificate
    assert other.issuer.issued == []


async def test_a_failure_of_who_lost_the_lease_changes_nothing(store: Store) -> None:
    slow, task, released = await hung(store)
    survivor = Door(store)
    survivor.now += LEASE
    first = issued(await survivor.submit(ask(now=survivor.now)))
    slow.issuer.failures.append(IssuerRefused("too late"))
    released.set()
    assert problem(await task).reason is Reason.ISSUER_REFUSED
    assert (await asked(store))[0].state is State.ISSUED
    assert issued(await survivor.submit(ask(now=survivor.now))) == first


async def test_a_lease_of_a_clock_that_was_wrong_does_not_last_until_then(store: Store) -> None:
    _, task, released = await hung(store)  # with its clock far ahead
    survivor = Door(store)
    survivor.now -= timedelta(days=365)
    assert await survivor.recover() == 1
    assert len(await stored(store)) == 1
    released.set()
    await task


@pytest.mark.parametrize(("age", "is_over"), [(DAY - MOMENT, False), (DAY, True)])
async def test_what_was_left_half_done_is_not_signed_when_it_would_be_over(
    store: Store, age: timedelta, *, is_over: bool
) -> None:
    await keep(store, credential(id="otp"))
    door = Door(store)
    door.policy.days = 1
    door.issuer.failures.append(IssuerUnavailable("away"))
    await door.submit(ask(spends=("otp",)))
    door.now += age
    assert await door.recover() == 1
    assert len(await stored(store)) == (0 if is_over else 1)
    assert (await asked(store))[0].state is (State.FAILED if is_over else State.ISSUED)
    assert (await kept(store, "otp")).uses_left == (1 if is_over else 0)


async def test_a_resumed_intent_is_logged(door: Door) -> None:
    door.issuer.failures.append(IssuerUnavailable("away"))
    with capture_logs() as events:
        await door.submit(ask())
        issued(await door.submit(ask()))
    assert [event["event"] for event in events] == ["issuer_unavailable", "intent_resumed"]


def by(owner: str, now: datetime = NOW + LEASE) -> Lease:
    return Lease(owner, now, now + LEASE, now)


@pytest.fixture
async def left(store: Store) -> AsyncIterator[tuple[str, str]]:
    """The requests of two processes that hang in the signer."""
    hanging = [await hung(store, name) for name in ("pump", "valve")]
    two, one = await asked(store)
    yield one.id, two.id
    for _, task, released in hanging:
        released.set()
        await task


async def resume(store: Store, request_id: str, lease: Lease) -> object:
    return await store.write(lambda connection: leases.resume(connection, request_id, lease))


async def open_to_all(store: Store, lease: Lease) -> list[str]:
    return await store.read(lambda connection: leases.interrupted(connection, lease))


async def test_who_takes_an_intent_up_holds_it_until_the_lease_is_over_or_let_go(
    store: Store, left: tuple[str, str]
) -> None:
    one, other = left
    assert await open_to_all(store, by("mine", NOW)) == []
    assert await open_to_all(store, by("mine")) == [one, other]
    granted = await resume(store, one, by("mine"))
    assert isinstance(granted, Granted)
    record = {each.id: each for each in await asked(store)}[one]
    assert (granted.serial, granted.csr, granted.resumed) == (record.serial, csr_for("pump").der, True)
    assert isinstance(await resume(store, one, by("mine")), Granted)
    assert await open_to_all(store, by("yours")) == [other]
    for who, outcome in (("yours", Taken), ("mine", Granted)):
        await store.write(partial(leases.let_go, request_id=one, lease=by(who)))
        assert isinstance(await resume(store, one, by("yours")), outcome)


async def test_what_a_ca_will_answer_later_is_left_with_it_and_keeps_its_name_there(
    store: Store, left: tuple[str, str]
) -> None:
    one, other = left
    await resume(store, one, by("mine"))
    for who, reference in (("yours", None), ("mine", "42")):
        await store.write(partial(leases.leave_with_issuer, request_id=one, lease=by(who), reference="42"))
        granted = await resume(store, one, by("mine"))
        assert isinstance(granted, Granted)
        assert granted.reference == reference
    await store.write(lambda connection: leases.leave_with_issuer(connection, one, by("mine"), "42"))
    assert await open_to_all(store, by("yours")) == [other]
    assert isinstance(await resume(store, one, by("yours")), Granted)


async def test_what_is_no_intent_any_more_is_not_taken_up(store: Store, door: Door) -> None:
    done = issued(await door.submit(ask())).request_id
    assert await resume(store, done, by("mine")) == Gone(done)
