from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from ca.issuer import IssuerRefused, IssuerUnavailable
from server.outcome import Pending, Reason
from server.store.requests import State
from tests.fakes.door import Door, ask
from tests.fakes.gate import hung
from tests.fakes.record import asked, issued, problem, stored

if TYPE_CHECKING:
    from server.store import Store

LEASE = timedelta(seconds=10)


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


async def test_a_resumed_intent_is_logged(door: Door) -> None:
    door.issuer.failures.append(IssuerUnavailable("away"))
    with capture_logs() as events:
        await door.submit(ask())
        issued(await door.submit(ask()))
    assert [event["event"] for event in events] == ["issuer_unavailable", "intent_resumed"]
