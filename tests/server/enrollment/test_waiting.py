from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from server.outcome import Pending, Problem, Reason, Refused
from server.store import StoreUnavailable
from server.store.requests import State, list_events
from tests.fakes.door import Door, FlakyStore, ask
from tests.fakes.record import actions, asked, issued, problem, stored

if TYPE_CHECKING:
    import pytest

    from policies.request import EnrollmentRequest


async def pending(door: Door, name: str = "deferred") -> str:
    outcome = await door.submit(ask(name))
    assert isinstance(outcome, Pending)
    return outcome.request_id


async def test_an_approved_request_is_issued(door: Door, store: FlakyStore) -> None:
    waiting = await pending(door)
    door.now += timedelta(days=3)
    outcome = issued(await door.approve(waiting, "admin:eve"))
    assert outcome.request_id == waiting
    assert await actions(store, waiting) == ["approved", "issued"]
    (kept,) = await stored(store)
    assert kept.not_before == door.now - timedelta(hours=1)  # its time starts when it is approved
    assert (await asked(store))[0].approved_by == "admin:eve"
    assert await door.poll(waiting) == outcome
    assert await door.submit(ask("deferred")) == outcome


async def test_an_approval_made_elsewhere_is_found_when_the_requester_asks_again(door: Door, store: FlakyStore) -> None:
    waiting = await pending(door)
    store.after.append("write")
    assert problem(await door.approve(waiting, "admin:eve")).reason is Reason.STORE_UNAVAILABLE
    assert issued(await door.submit(ask("deferred"))).request_id == waiting


async def test_a_person_can_not_approve_what_the_policy_denies_now(store: FlakyStore) -> None:
    waiting = await pending(Door(store))
    stricter = Door(store)
    verdict = stricter.policy.decide(ask("denied"))
    stricter._judge._decide = lambda _: verdict
    outcome = problem(await stricter.approve(waiting, "admin:eve"))
    assert outcome.reason is Reason.POLICY
    (request,) = await asked(store)
    assert (request.state, request.key) == (State.REFUSED, None)
    assert request.findings
    assert await stored(store) == ()
    assert isinstance(await Door(store).submit(ask("deferred")), Pending)
    (_approved, failed) = await store.read(lambda c: list_events(c, waiting))
    assert (failed.action, failed.actor, failed.detail) == ("failed", "certwright", outcome.message)


async def test_what_the_policy_wants_to_know_is_gathered_anew_when_a_person_has_approved(store: FlakyStore) -> None:
    known: list[int | None] = []

    async def gather(request: EnrollmentRequest) -> EnrollmentRequest:
        known.append(request.facts.active)
        return replace(request, facts=replace(request.facts, active=len(known)))

    door = Door(store, gather=gather)
    issued(await door.approve(await pending(door), "admin:eve"))
    assert known == [None, None]  # nothing of what was so when it was asked
    assert [request.facts.active for request in door.policy.seen] == [1, 2]


async def test_who_waits_is_told_when_to_come_again_and_a_store_that_fails_then_is_an_outcome(
    door: Door, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await pending(door)
    assert await door.poll(waiting) == Pending(waiting, 60)
    read, calls = store.read, iter([True, False])

    async def failing(work: Any) -> Any:
        if next(calls):
            return await read(work)
        raise StoreUnavailable("as told")

    monkeypatch.setattr(store, "read", failing)
    assert problem(await door.poll(waiting)).reason is Reason.STORE_UNAVAILABLE


async def test_who_is_turned_away_though_no_person_says_so_is_on_record_with_why(door: Door, store: FlakyStore) -> None:
    waiting, why = await pending(door), Problem(Reason.POLICY, "A key can't wait.")
    assert await door.turn_away(waiting, why) == Refused(why, waiting)
    (event,) = await store.read(lambda c: list_events(c, waiting))
    assert (event.action, event.actor, event.detail) == ("failed", "certwright", why.message)
    (row,) = await asked(store)
    assert (row.state, row.key) == (State.REFUSED, None)


async def test_a_rejected_request_is_refused_without_telling_why(door: Door, store: FlakyStore) -> None:
    waiting = await pending(door)
    outcome = await door.reject(waiting, "admin:eve", "the pump was stolen")
    assert problem(outcome).reason is Reason.POLICY
    assert "stolen" not in problem(outcome).message
    assert "stolen" in ((await asked(store))[0].detail or "")
    (event,) = await store.read(lambda c: list_events(c, waiting))
    assert (event.action, event.actor, event.detail) == ("rejected", "admin:eve", "the pump was stolen")
    assert problem(await door.poll(waiting)).reason is Reason.POLICY


async def test_an_approved_request_that_can_not_be_read_any_more_is_internal(door: Door, store: FlakyStore) -> None:
    waiting = await pending(door)
    await store.write(lambda c: c.exec_driver_sql("UPDATE requests SET question = '{}'") and None)
    assert problem(await door.approve(waiting, "admin:eve")).reason is Reason.INTERNAL


async def test_what_a_person_refused_stays_refused_for_a_day(store: FlakyStore) -> None:
    door = Door(store)
    waiting = await pending(door)
    await door.reject(waiting, "admin:eve", "the pump was stolen")

    again = await door.submit(ask("deferred"))

    assert again == Refused(Problem(Reason.POLICY, "An administrator has rejected the request."), waiting)
    door.now += timedelta(hours=24, seconds=1)
    assert isinstance(await door.submit(ask("deferred")), Pending)
