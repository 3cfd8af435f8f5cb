from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from cryptography import x509

from server.outcome import Pending, Problem, Reason
from server.store import StoreUnavailable, revocations
from server.store.certificates import RevocationOutcome
from server.store.revocations import ReleaseOutcome
from server.store.tables import audit_events
from tests.fakes.door import Door, FlakyStore, ask
from tests.fakes.gate import hung
from tests.fakes.record import asked, issued, problem, stored

if TYPE_CHECKING:
    from policies.request import EnrollmentRequest

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


async def test_what_would_be_refused_is_foretold_and_nothing_is_recorded(store: FlakyStore) -> None:
    plain, told = Door(store), Door(store)
    assert await plain.foresee(ask()) is None

    async def gather(request: EnrollmentRequest) -> EnrollmentRequest:
        return replace(request, csr=ask("denied").csr)

    for door, name in ((told, "denied"), (Door(store, gather=gather), "pump")):
        foretold = await door.foresee(ask(name))
        assert foretold is not None
        assert (foretold.reason, foretold.message) == (Reason.POLICY, "this name is not allowed")
    assert await asked(store) == ()
    assert plain.issuer.issued == []


async def test_a_chain_is_that_of_its_issuer_and_of_none_else(door: Door) -> None:
    assert door.chain("issuing") == door.issuer.chain() != ()
    assert door.chain("another") == ()


async def test_a_claim_on_intents_is_that_of_one_process_for_as_long_as_it_is_told(store: FlakyStore) -> None:
    door = Door(store, lease=timedelta(seconds=7), replay=timedelta(hours=2))
    lease = door.lease()
    assert (lease.now, lease.until - lease.now) == (door.now, timedelta(seconds=7))
    assert (lease.now - lease.replay_from, lease.here) == (timedelta(hours=2), frozenset({"issuing"}))
    assert door.lease().owner == lease.owner != Door(store).lease().owner


async def test_what_was_asked_is_found_by_who_must_know_whose_it_is(door: Door) -> None:
    waiting = await pending(door)
    found = await door.find(waiting)
    assert found is not None
    assert (found.id, found.requester) == (waiting, "password:deferred")
    assert await door.find("nothing") is None


async def test_each_new_certificate_is_offered_to_who_looks_at_samples(store: FlakyStore) -> None:
    offered: list[tuple[str, bytes]] = []
    door = Door(store, sample=lambda profile, der: offered.append((profile, der)))
    done = issued(await door.submit(ask()))
    await door.submit(ask("denied"))
    assert offered == [("scripted", done.certificate)]


async def test_a_vote_that_does_not_count_is_told_and_one_that_is_late_is_the_end(store: FlakyStore) -> None:
    door = Door(store)
    waiting = await pending(door)
    own = await door.approve(waiting, "admin:deferred")
    assert (problem(own).reason, problem(own).detail) == (Reason.CONFLICT, "nobody approves a request of their own")
    assert own.request_id == waiting
    turned_away = await door.turn_away(waiting, BAD)
    assert problem(turned_away) == BAD
    assert problem(await door.poll(waiting)).reason is BAD.reason


async def test_a_revocation_tells_who_did_it_when_and_since_when_not_to_trust(door: Door, store: FlakyStore) -> None:
    done = issued(await door.submit(ask()))
    (kept,) = await stored(store)
    since = door.now - timedelta(days=3)
    hold, compromise = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.key_compromise
    assert await door.revoke(kept.serial, hold, "admin:eve") is RevocationOutcome.REVOKED
    assert await door.release(kept.serial, "admin:ann") is ReleaseOutcome.RELEASED
    assert await door.release(kept.serial, "admin:ann") is ReleaseOutcome.NOT_HELD
    assert await door.release(1, "admin:ann") is ReleaseOutcome.UNKNOWN
    door.now += timedelta(minutes=1)
    assert await door.revoke(kept.serial, compromise, "admin:bob", invalid_since=since) is RevocationOutcome.REVOKED
    rows = await store.read(lambda c: c.execute(sa.select(audit_events).order_by(audit_events.c.number)).all())
    told = [(row.action, row.actor, row.serial, row.detail) for row in rows if row.request_id != done.request_id]
    assert told == [
        ("revoked", "admin:eve", kept.serial, "certificateHold"),
        ("released", "admin:ann", kept.serial, ""),
        ("revoked", "admin:bob", kept.serial, "keyCompromise"),
    ]
    (entry,) = await store.read(lambda c: c.execute(sa.select(revocations.revocations)).all())
    assert (entry.serial, entry.invalid_since, entry.released) == (kept.serial, since, False)
