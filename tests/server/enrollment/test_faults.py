from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ca.issuer import IssuerRefused, IssuerUnavailable
from server.outcome import Reason, Refused
from server.store import Store
from server.store.database import database_file
from server.store.requests import State
from tests.fakes.door import ISSUER, Door, FlakyStore, ask
from tests.fakes.issuer import FakeIssuer, make_issuer
from tests.fakes.record import actions, asked, issued, problem, stored

if TYPE_CHECKING:
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
    assert (request.message, request.finished_at) == (problem(outcome).message, door.now)
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
