from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from server.outcome import Reason
from server.store.requests import State
from tests.fakes.door import Door, ask
from tests.fakes.gate import hung
from tests.fakes.record import asked, issued, problem, stored

if TYPE_CHECKING:
    from server.store import Store


async def test_the_same_key_gives_the_same_certificate(door: Door, store: Store) -> None:
    first, again = [issued(await door.submit(ask(key="same"))) for _ in range(2)]
    assert again == first
    assert len(await stored(store)) == len(door.issuer.issued) == 1


@pytest.mark.parametrize(("age", "certificates"), [(timedelta(hours=24), 1), (timedelta(hours=24, seconds=1), 2)])
async def test_a_key_is_answered_again_for_a_day(door: Door, age: timedelta, certificates: int) -> None:
    first = issued(await door.submit(ask(key="same")))
    door.now += age
    later = issued(await door.submit(ask(key="same", now=door.now)))
    assert len({first.certificate, later.certificate}) == certificates


async def test_a_revoked_certificate_does_not_answer_its_key(door: Door) -> None:
    first = issued(await door.submit(ask(key="same")))
    serial = x509.load_der_x509_certificate(first.certificate).serial_number
    await door.revoke(serial, x509.ReasonFlags.superseded, "admin:eve")
    assert issued(await door.submit(ask(key="same"))).certificate != first.certificate


async def test_a_mix_of_new_and_known_keys_in_one_group_is_told_apart(door: Door, store: Store) -> None:
    known = [issued(await door.submit(ask(key=f"old-{n}"))) for n in range(5)]
    keys = [f"old-{n}" for n in range(5)] + [f"new-{n}" for n in range(5)]
    outcomes = [issued(o) for o in await asyncio.gather(*(door.submit(ask(key=key)) for key in keys))]
    assert outcomes[:5] == known
    assert len(await stored(store)) == 10


async def test_what_was_left_a_day_ago_is_given_up_and_asked_anew(store: Store) -> None:
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
