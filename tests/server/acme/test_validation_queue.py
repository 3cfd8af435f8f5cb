"""The queue of validations: what is taken up, and what comes to an end (RFC 8555 section 8.2)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from server.acme.messages import ChallengeStatus
from server.acme.records.authorizations import find_authorizations
from server.acme.service import Timing, validation
from server.acme.service.validation import Validation
from tests.server.acme.lab import QUICK
from tests.server.acme.test_orders import Stubborn, answer

if TYPE_CHECKING:
    import pytest

    from server.acme.challenges.question import Question
    from tests.server.acme.lab import Lab


class Stumbling:
    """A challenge type with a fault of its own."""

    type = "http-01"

    def __init__(self) -> None:
        self.tried = 0

    async def validate(self, question: Question) -> None:
        self.tried += 1
        raise UnicodeError(question.name)


class Telling(Stubborn):
    """A challenge type that tells when it is asked for the first time, and when that is over."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()

    async def validate(self, question: Question) -> None:
        self.asked.set()
        try:
            await super().validate(question)
        finally:
            self.ended.set()


async def test_what_expired_while_nobody_served_is_not_taken_up(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,)))
    client = await lab.client()
    url = await answer(client, await client.order("late.localhost"))
    lab.now[0] += timedelta(days=2)
    other = Stubborn()
    await lab.serve(lab.endpoint(challenges=(other,)))
    for _ in range(3):
        await asyncio.sleep(0.2)
        lab.now[0] += timedelta(minutes=1)
    assert other.tried == []
    assert (await client.post(url)).body["status"] == "expired"


async def test_a_clock_that_has_gone_back_keeps_no_validation_waiting(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,)))
    client = await lab.client()
    url = await answer(client, await client.order("early.localhost"))
    lab.now[0] -= timedelta(hours=3)
    second = Validation(lab.endpoint(challenges=(other := Stubborn(),)))
    second.start()
    await client.until(url, "valid")
    await second.stop()
    assert len(other.tried) == 1


async def test_what_another_process_works_on_is_left_to_it_though_clocks_differ_a_little(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,)))
    client = await lab.client()
    await answer(client, await client.order("busy.localhost"))
    lab.now[0] -= timedelta(seconds=1)
    second = Validation(lab.endpoint(challenges=(other := Stubborn(),)))
    second.start()
    await asyncio.sleep(0.5)
    await second.stop()
    assert other.tried == []


async def test_what_a_process_that_stops_was_at_is_taken_up_at_once(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,)))
    client = await lab.client()
    url = await answer(client, await client.order("restart.localhost"))
    await lab.serve(lab.endpoint(challenges=(other := Stubborn(),)))  # the time stands still: no lease runs out
    await client.until(url, "valid")
    assert (len(held.tried), len(other.tried)) == (1, 1)


async def test_what_a_process_works_on_stays_its_own_however_long_it_takes(lab: Lab) -> None:
    # A look-up, a connection and CAA may take longer than a lease, and so may waiting for one's turn.
    held, other = Stubborn(), Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,)))
    client = await lab.client()
    url = await answer(client, await client.order("long.localhost"))
    second = Validation(lab.endpoint(challenges=(other,)))
    second.start()
    for _ in range(8):  # twice the lease
        lab.now[0] += QUICK.attempt_lease / 4
        await asyncio.sleep(0.3)
    assert other.tried == []
    await lab.serve(lab.endpoint(challenges=(other,)))  # now it has ended
    await client.until(url, "valid")
    await second.stop()
    assert (len(held.tried), len(other.tried)) == (1, 1)


async def test_only_the_first_of_several_answers_waits_for_what_comes_of_it(lab: Lab) -> None:
    # A client with a hundred names on slow hosts, answering one challenge after the other, would wait for each.
    held = Telling()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,), timing=replace(QUICK, settle=60.0)))
    client = await lab.client()
    order = await client.order("a.localhost", "b.localhost")
    found = [(await client.post(url)).body["challenges"][0]["url"] for url in order.body["authorizations"]]
    async with asyncio.timeout(30):
        first = asyncio.create_task(client.post(found[0], {}))
        await held.asked.wait()
        assert (await client.post(found[1], {})).body["status"] == "processing"
        assert not first.done()
        held.open.set()
        assert (await first).body["status"] == "valid"
    await client.until(order.location, "ready")


async def test_an_authorization_that_is_given_back_is_worked_on_no_longer(lab: Lab) -> None:
    held = Telling()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,), timing=replace(QUICK, settle=0.0)))
    client = await lab.client()
    url = await answer(client, await client.order("back.localhost"))
    async with asyncio.timeout(30):
        await held.asked.wait()
        assert (await client.post(url, {"status": "deactivated"})).body["status"] == "deactivated"
        await held.ended.wait()
    assert len(held.tried) == 1


async def test_what_is_given_back_in_the_instant_in_which_it_is_answered_takes_no_room(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are written in one transaction then, and the task is cancelled before its first step."""
    monkeypatch.setattr(validation, "_MOST", 1)
    client = await lab.client()
    made = [(await client.order(f"{name}.localhost")).body["authorizations"][0].rpartition("/")[2] for name in "ab"]
    first, second = (
        each._replace(challenges=(each.challenges[0]._replace(status=ChallengeStatus.PROCESSING),))
        for each in await lab.store.read(lambda c: find_authorizations(c, made, lab.now[0]))
    )
    validations = Validation(lab.endpoint(challenges=(tried := Stubborn(),)))
    validations.start_attempts(first)
    validations.cancel(first.id)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not validations.is_busy_for(first)
    validations.start_attempts(second)
    await validations.settle(second.id)
    assert len(tried.tried) == 1


async def test_a_validation_that_makes_the_server_stumble_fails_after_as_many_attempts_as_others(lab: Lab) -> None:
    stumbling = Stumbling()
    await lab.serve(lab.endpoint(challenges=(stumbling,)))
    client = await lab.client()
    order = await client.order("odd.localhost")
    url = await answer(client, order)
    (challenge,) = (await client.until(url, "invalid")).body["challenges"]
    assert stumbling.tried == 3
    assert challenge["error"]["type"] == "urn:ietf:params:acme:error:serverInternal"
    assert "odd.localhost" not in challenge["error"]["detail"]
    assert (await client.post(order.location)).body["status"] == "invalid"


async def test_what_there_is_no_room_for_is_taken_up_when_there_is(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "_MOST", 2)
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,)))
    client = await lab.client()
    urls = [await answer(client, await client.order(f"{name}.localhost")) for name in "abc"]
    for _ in range(3):  # leases run out, but nobody has room
        lab.now[0] += timedelta(seconds=3)
        await asyncio.sleep(0.15)
    assert len(held.tried) == 2
    held.open.set()
    async with asyncio.timeout(20):
        for url in urls:
            while (await client.post(url)).body["status"] != "valid":
                lab.now[0] += timedelta(seconds=3)
                await asyncio.sleep(0.05)
    assert len(held.tried) == 3


async def test_every_failed_attempt_has_an_entry_and_it_is_said_when_the_next_one_was(lab: Lab) -> None:
    await lab.serve(lab.endpoint(challenges=(Stubborn(failures=2),), timing=replace(QUICK, retries=(0.05, 30.0))))
    client = await lab.client()
    url = await answer(client, await client.order("twice.localhost"))
    (challenge,) = (await client.post(url)).body["challenges"]
    while "subproblems" not in (shown := await client.post(challenge["url"])).body.get("error", {}):
        assert shown.body["status"] == "processing"
        assert int(shown.headers["Retry-After"]) == 2
        await asyncio.sleep(0.02)
    entry = {"type": "urn:ietf:params:acme:error:connection", "detail": "twice.localhost does not answer"}
    assert shown.body["error"] == {
        **entry,
        "status": 400,
        "subproblems": [{**entry, "identifier": {"type": "dns", "value": "twice.localhost"}}] * 2,
    }
    for resource in (challenge["url"], url):
        assert int((await client.post(resource)).headers["Retry-After"]) == 31
    await client.post(url, {"status": "deactivated"})
    for resource in (challenge["url"], url):
        assert "Retry-After" not in (await client.post(resource)).headers


async def test_a_decided_authorization_shows_the_challenge_that_decided_it(lab: Lab) -> None:
    class Second(Stubborn):
        type = "tls-alpn-01"

    for failures, status in ((0, "valid"), (99, "invalid")):
        await lab.serve(lab.endpoint(challenges=(Stubborn(), Second(failures=failures, final=True))))
        client = await lab.client()
        (url,) = (await client.order("two.localhost")).body["authorizations"]
        first, second = (await client.post(url)).body["challenges"]
        await client.post(second["url"], {})
        found = await client.until(url, status)
        assert [(each["type"], each["status"]) for each in found.body["challenges"]] == [("tls-alpn-01", status)]
        assert (await client.post(first["url"])).body["status"] == "pending"


def test_attempts_are_made_after_five_and_ten_seconds_and_finalize_is_held_for_fifteen() -> None:
    assert (Timing().retries, Timing().finalize) == ((5.0, 10.0), 15.0)
