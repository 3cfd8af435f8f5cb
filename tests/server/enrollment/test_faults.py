from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ca.issuer import IssuerRefused, IssuerUnavailable
from server.outcome import Pending, Reason, Refused
from server.store import Store
from server.store.database import database_file
from server.store.requests import State
from tests.fakes.door import ISSUER, Door, FlakyStore, ask
from tests.fakes.issuer import FakeIssuer, make_issuer
from tests.fakes.record import actions, asked, issued, problem, stored

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from cryptography import x509

LEASE = timedelta(seconds=10)


class Witness:
    """An issuer that keeps every serial number that it was asked to sign, then fails as told."""

    def __init__(self, *failures: Exception, after: bool = False) -> None:
        self.failures = list(failures)
        self.after = after
        self.signed: list[int] = []

    async def issue(self, permit: Any, plan: Any, serial: int) -> bytes:
        if self.failures and not self.after:
            raise self.failures.pop(0)
        certificate = await ISSUER.issue(permit, plan, serial)
        self.signed.append(serial)
        if self.failures:
            raise self.failures.pop(0)
        return certificate

    def chain(self) -> tuple[x509.Certificate, ...]:
        return ISSUER.chain()


async def everything_signed_is_on_record(store: Store, witness: Witness) -> None:
    serials = {request.serial for request in await asked(store)}
    assert set(witness.signed) <= serials
    assert len(await stored(store)) == 1


@pytest.mark.parametrize("step", ["claim", "record"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_store_that_fails_once_gives_one_certificate_in_the_end(
    store: FlakyStore, step: str, when: str
) -> None:
    witness = Witness()
    door = Door(store, issuers={"issuing": witness})
    getattr(store, when).append(step)
    outcome = await door.submit(ask())
    assert problem(outcome).reason is Reason.STORE_UNAVAILABLE
    assert problem(outcome).retry_after
    first, again = issued(await door.submit(ask())), issued(await door.submit(ask()))
    assert first == again
    await everything_signed_is_on_record(store, witness)
    assert len(set(witness.signed)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_issuer_that_does_not_answer_is_asked_the_same_again(store: FlakyStore, when: str) -> None:
    witness = Witness(IssuerUnavailable("timed out"), after=when == "after")
    door = Door(store, issuers={"issuing": witness})
    outcome = problem(await door.submit(ask()))
    assert (outcome.reason, outcome.detail) == (Reason.ISSUER_UNAVAILABLE, "timed out")
    assert outcome.retry_after
    assert "timed out" not in outcome.message
    issued(await Door(store, issuers={"issuing": witness}).submit(ask()))  # another process need not wait
    await everything_signed_is_on_record(store, witness)
    assert len(set(witness.signed)) == 1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(IssuerRefused("no more"), Reason.ISSUER_REFUSED), (RuntimeError("broken"), Reason.INTERNAL)],
)
async def test_an_issuer_that_fails_leaves_a_failed_request_and_a_free_key(
    door: Door, store: FlakyStore, failure: Exception, reason: Reason
) -> None:
    door.issuer.failures.append(failure)
    outcome = await door.submit(ask())
    assert problem(outcome).reason is reason
    (request,) = await asked(store)
    assert (request.state, request.key, request.reason) == (State.FAILED, None, reason)
    assert str(failure) in (request.detail or "")
    assert await actions(store, request.id) == ["failed"]
    issued(await door.submit(ask()))
    assert len(await stored(store)) == 1


async def test_a_store_that_fails_after_the_issuer_did_is_survived(door: Door, store: FlakyStore) -> None:
    door.issuer.failures.append(IssuerRefused("no more"))
    store.before.append("write")
    assert problem(await door.submit(ask())).reason is Reason.STORE_UNAVAILABLE
    issued(await door.submit(ask()))


async def test_a_certificate_that_is_not_what_was_planned_never_leaves(store: FlakyStore) -> None:
    class Impostor(FakeIssuer):
        def chain(self) -> tuple[x509.Certificate, ...]:
            return ISSUER.chain()

    door = Door(store, issuers={"issuing": Impostor(make_issuer())})
    outcome = await door.submit(ask())
    assert problem(outcome).reason is Reason.INTERNAL
    assert await stored(store) == ()
    (request,) = await asked(store)
    assert request.state is State.FAILED
    assert request.quarantined is not None
    assert "not what was planned" in (request.detail or "")
    assert await actions(store, request.id) == ["quarantined"]


async def test_a_locked_database_refuses_and_nothing_is_signed(door: Door, store: FlakyStore, url: str) -> None:
    with closing(sqlite3.connect(database_file(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = await asyncio.gather(*(door.submit(ask(key=str(number))) for number in range(5)))
        assert {problem(outcome).reason for outcome in outcomes} == {Reason.STORE_UNAVAILABLE}
        assert door.issuer.issued == []
    issued(await door.submit(ask()))


async def test_a_disk_that_fills_up_refuses_and_the_retry_gives_one_certificate(door: Door, store: FlakyStore) -> None:
    async def limit(pages: int) -> None:
        await store._writer.run(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar())

    size = await store.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await limit(size)
    number, reasons = 0, set[Reason]()
    while not reasons:
        outcome = await door.submit(ask(key=str(number)))
        if isinstance(outcome, Refused):
            reasons.add(outcome.problem.reason)
        else:
            number += 1
    assert reasons == {Reason.STORE_UNAVAILABLE}
    assert len(await stored(store)) == number
    await limit(100_000)
    issued(await door.submit(ask(key=str(number))))
    assert len(await stored(store)) == number + 1


async def test_two_processes_issue_once(store: FlakyStore, url: str) -> None:
    other = await Store.open(url)
    doors = [Door(store), Door(other)]
    try:
        for number in range(5):
            outcomes = await asyncio.gather(*(door.submit(ask(key=str(number))) for door in doors * 4))
            assert len({issued(outcome).certificate for outcome in outcomes}) == 1
        assert len(await stored(store)) == 5
        assert sum(len(door.issuer.issued) for door in doors) == 5
    finally:
        await other.close()


async def hung(store: Store) -> tuple[Door, asyncio.Task[Any], asyncio.Event]:
    """Return a door whose submit hangs in the signer, as that of a process that was killed or stopped."""
    door, reached, released = Door(store), asyncio.Event(), asyncio.Event()
    issue = door.issuer.issue

    async def wait(*arguments: Any) -> bytes:
        reached.set()
        await released.wait()
        return await issue(*arguments)

    setattr(door.issuer, "issue", wait)  # noqa: B010 - replaces a method
    task = asyncio.create_task(door.submit(ask()))
    await reached.wait()
    return door, task, released


async def test_what_a_process_left_half_done_is_finished_with_the_same_plan_and_serial(store: FlakyStore) -> None:
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


async def test_a_late_signature_in_a_group_with_good_ones_is_told_apart(store: FlakyStore) -> None:
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


async def test_nobody_takes_over_while_the_lease_holds(store: FlakyStore) -> None:
    _, task, released = await hung(store)
    impatient = Door(store, patience=timedelta(seconds=0.1))
    outcome = await impatient.submit(ask())
    assert isinstance(outcome, Pending)
    assert impatient.issuer.issued == []
    assert isinstance(await impatient.poll(outcome.request_id), Pending)
    released.set()
    done = issued(await task)
    assert issued(await impatient.poll(outcome.request_id)).certificate == done.certificate


async def test_a_duplicate_waits_for_the_process_that_works_on_it(store: FlakyStore) -> None:
    _, task, released = await hung(store)
    other = Door(store)
    waiting = asyncio.create_task(other.submit(ask()))
    await asyncio.sleep(0.05)
    released.set()
    assert issued(await waiting).certificate == issued(await task).certificate
    assert other.issuer.issued == []


async def test_what_was_left_a_day_ago_is_given_up_and_asked_anew(store: FlakyStore) -> None:
    _, task, released = await hung(store)
    survivor = Door(store)
    survivor.now += timedelta(days=2)
    outcome = issued(await survivor.submit(ask(now=survivor.now)))
    states = {request.id: request.state for request in await asked(store)}
    assert sorted(states.values()) == [State.FAILED, State.ISSUED]
    assert states[outcome.request_id] is State.ISSUED
    released.set()
    assert problem(await task).reason is Reason.INTERNAL
    assert len(await stored(store)) == 1


async def test_a_failure_of_who_lost_the_lease_changes_nothing(store: FlakyStore) -> None:
    slow, task, released = await hung(store)
    survivor = Door(store)
    survivor.now += LEASE
    first = issued(await survivor.submit(ask(now=survivor.now)))
    slow.issuer.failures.append(IssuerRefused("too late"))
    released.set()
    assert problem(await task).reason is Reason.ISSUER_REFUSED
    assert (await asked(store))[0].state is State.ISSUED
    assert issued(await survivor.submit(ask(now=survivor.now))) == first


async def test_starting_again_finishes_what_was_left(store: FlakyStore) -> None:
    _, task, released = await hung(store)
    survivor = Door(store)
    assert await survivor.recover() == 0
    survivor.now += LEASE
    assert await survivor.recover() == 1
    assert len(await stored(store)) == 1
    assert await survivor.recover() == 0
    released.set()
    await task


async def test_a_lease_of_a_clock_that_was_wrong_does_not_last_until_then(store: FlakyStore) -> None:
    _, task, released = await hung(store)  # with its clock far ahead
    survivor = Door(store)
    survivor.now -= timedelta(days=365)
    assert await survivor.recover() == 1
    assert len(await stored(store)) == 1
    released.set()
    await task


async def test_draining_waits_for_what_goes_on(store: FlakyStore) -> None:
    door, _, released = await hung(store)
    draining = asyncio.create_task(door.drain())
    await asyncio.sleep(0.01)
    assert not draining.done()
    released.set()
    await draining
    assert len(await stored(store)) == 1


async def test_what_no_record_can_hold_is_logged(
    door: Door, store: FlakyStore, events: list[MutableMapping[str, Any]]
) -> None:
    store.before.append("claim")
    await door.submit(ask())
    assert [(event["event"], event["detail"]) for event in events] == [("store_unavailable", "as told")]


async def test_a_resumed_intent_is_logged(store: FlakyStore, events: list[MutableMapping[str, Any]]) -> None:
    store.before.append("record")
    door = Door(store)
    await door.submit(ask())
    issued(await door.submit(ask()))
    assert [event["event"] for event in events] == ["store_unavailable", "intent_resumed"]
