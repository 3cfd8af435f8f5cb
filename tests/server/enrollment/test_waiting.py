from __future__ import annotations

from datetime import timedelta

from server.outcome import Pending, Problem, Reason, Refused
from server.store.requests import State
from tests.fakes.door import Door, FlakyStore, ask
from tests.fakes.record import actions, asked, issued, problem, stored


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


async def test_a_rejected_request_is_refused_without_telling_why(door: Door, store: FlakyStore) -> None:
    waiting = await pending(door)
    outcome = await door.reject(waiting, "admin:eve", "the pump was stolen")
    assert problem(outcome).reason is Reason.POLICY
    assert "stolen" not in problem(outcome).message
    assert "stolen" in ((await asked(store))[0].detail or "")
    assert await actions(store, waiting) == ["rejected"]
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
