from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from server.outcome import Pending, Problem, Reason
from server.store import StoreUnavailable
from server.store.certificates import RevocationOutcome
from tests.fakes.door import Door, FlakyStore, ask
from tests.fakes.gate import hung
from tests.fakes.record import issued, problem, stored

BAD = Problem(Reason.BAD_CREDENTIALS, "The password is wrong.", detail="user pump")


async def pending(door: Door, name: str = "deferred") -> str:
    outcome = await door.submit(ask(name))
    assert isinstance(outcome, Pending)
    return outcome.request_id


async def test_polling_what_nobody_knows_says_so(door: Door) -> None:
    assert problem(await door.poll("nothing")).reason is Reason.UNKNOWN_REQUEST


async def test_polling_tells_what_became_of_a_request(door: Door) -> None:
    done = issued(await door.submit(ask()))
    assert await door.poll(done.request_id) == done
    refused = await door.submit(ask("denied"))
    assert refused.request_id
    assert await door.poll(refused.request_id) == refused
    waiting = await pending(door)
    assert isinstance(await door.poll(waiting), Pending)


async def test_what_does_not_wait_can_not_be_approved_or_rejected(door: Door) -> None:
    done = issued(await door.submit(ask()))
    assert problem(await door.approve(done.request_id, "admin:eve")).reason is Reason.CONFLICT
    assert problem(await door.reject(done.request_id, "admin:eve", "no")).reason is Reason.CONFLICT
    assert problem(await door.approve("nothing", "admin:eve")).reason is Reason.UNKNOWN_REQUEST
    assert problem(await door.reject("nothing", "admin:eve", "no")).reason is Reason.UNKNOWN_REQUEST


async def test_a_store_that_fails_is_an_outcome_for_polls_and_rejections(
    door: Door, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await pending(door)
    store.before.append("write")
    assert problem(await door.reject(waiting, "admin:eve", "no")).reason is Reason.STORE_UNAVAILABLE

    async def failing(_: Any) -> Any:
        raise StoreUnavailable("as told")

    monkeypatch.setattr(store, "read", failing)
    assert problem(await door.poll(waiting)).reason is Reason.STORE_UNAVAILABLE


async def test_a_certificate_is_revoked_once(door: Door, store: FlakyStore) -> None:
    issued(await door.submit(ask()))
    (kept,) = await stored(store)
    revoke = [await door.revoke(kept.serial, x509.ReasonFlags.key_compromise, "admin:eve") for _ in range(2)]
    assert revoke == [RevocationOutcome.REVOKED, RevocationOutcome.ALREADY_REVOKED]
    (kept,) = await stored(store)
    assert (kept.revoked_at, kept.revocation_reason) == (door.now, "keyCompromise")
    assert await door.revoke(1, x509.ReasonFlags.unspecified, "admin:eve") is RevocationOutcome.UNKNOWN


async def test_a_revocation_may_be_dated_back(door: Door, store: FlakyStore) -> None:
    issued(await door.submit(ask()))
    (kept,) = await stored(store)
    at = door.now - timedelta(minutes=5)
    await door.revoke(kept.serial, x509.ReasonFlags.superseded, "admin:eve", at)
    assert (await stored(store))[0].revoked_at == at


async def test_a_revocation_that_can_not_be_recorded_is_raised(door: Door, store: FlakyStore) -> None:
    store.before.append("write")
    with pytest.raises(StoreUnavailable):
        await door.revoke(1, x509.ReasonFlags.unspecified, "admin:eve")


async def test_starting_again_finishes_what_was_left(store: FlakyStore) -> None:
    _, task, released = await hung(store)
    survivor = Door(store)
    assert await survivor.recover() == 0
    survivor.now += timedelta(seconds=10)  # the lease
    assert await survivor.recover() == 1
    assert len(await stored(store)) == 1
    assert await survivor.recover() == 0
    released.set()
    await task
