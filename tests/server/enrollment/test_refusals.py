from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ca.csr import Csr
from server.enrollment import RefusedAttempt
from server.outcome import Problem, Reason
from server.store.requests import State, forget_refusals
from server.store.values import read_question
from tests.fakes.door import HERE, Door, FlakyStore, ask, csr_for
from tests.fakes.record import asked, issued, problem

BAD = Problem(Reason.BAD_CREDENTIALS, "The password is wrong.", detail="user pump")


async def test_a_refusal_before_the_policy_is_on_record(door: Door, store: FlakyStore) -> None:
    attempt = RefusedAttempt(HERE, BAD, "password:pump", "192.0.2.9", "t-9", csr_for("pump"))
    outcome = await door.refuse(attempt)
    (request,) = await asked(store)
    assert (outcome.problem, outcome.request_id) == (BAD, request.id)
    assert (request.state, request.problem, request.endpoint) == (State.REFUSED, BAD, HERE)
    assert (request.requester, request.address, request.transaction) == ("password:pump", "192.0.2.9", "t-9")
    assert request.csr == csr_for("pump").der


async def test_garbage_is_on_record_with_what_little_is_known(door: Door, store: FlakyStore) -> None:
    await door.refuse(RefusedAttempt(HERE, Problem(Reason.MALFORMED, "This is not a request.")))
    (request,) = await asked(store)
    assert (request.reason, request.requester, request.csr) == (Reason.MALFORMED, None, None)


async def test_a_large_request_of_somebody_refused_is_not_kept(door: Door, store: FlakyStore) -> None:
    known = csr_for("pump")
    fields: dict[str, Any] = {name: getattr(known, name) for name in Csr.__slots__}
    large = Csr(**(fields | {"der": bytes(8193)}))
    await door.refuse(RefusedAttempt(HERE, BAD, csr=large))
    assert (await asked(store))[0].csr is None


async def test_long_texts_of_somebody_refused_are_cut(door: Door, store: FlakyStore) -> None:
    """A user name, a serial number and a transaction may have as many characters as a header or a certificate."""
    long = replace(BAD, detail="d" * 60_000)
    await door.refuse(RefusedAttempt(HERE, long, "password:" + "x" * 60_000, transaction="t" * 60_000))
    (request,) = await asked(store)
    assert request.problem is not None
    for text in (request.requester, request.transaction, request.problem.detail):
        assert text is not None
        assert (len(text), text[-1]) == (512, "…")
    await door.refuse(RefusedAttempt(HERE, BAD, "x" * 512))
    assert "x" * 512 in {each.requester for each in await asked(store)}


async def test_a_refusal_that_can_not_be_recorded_is_a_refusal_all_the_same(door: Door, store: FlakyStore) -> None:
    store.before += ["record_refusals", "record_refusals"]
    assert (await door.refuse(RefusedAttempt(HERE, BAD))).problem == BAD
    assert problem(await door.submit(ask("denied"))).reason is Reason.POLICY
    assert await asked(store) == ()


async def test_only_the_newest_refusals_are_kept(door: Door, store: FlakyStore) -> None:
    kept = issued(await door.submit(ask()))
    for number in range(6):
        await door.refuse(RefusedAttempt(HERE, BAD, requester=str(number)))
    await store.write(lambda c: forget_refusals(c, 4))
    left = await asked(store)
    assert [one.requester for one in left[:-1]] == ["5", "4", "3", "2"]
    assert left[-1].id == kept.request_id
    await store.write(forget_refusals)
    assert len(await asked(store)) == 5


async def test_refusals_are_forgotten_now_and_then(door: Door, store: FlakyStore) -> None:
    forgotten: list[Any] = []
    write = store.write

    async def seen(work: Any) -> Any:
        forgotten.append(work)
        return await write(work)

    store.write = seen  # type: ignore[method-assign]
    door._refusals._count = 999
    await door.refuse(RefusedAttempt(HERE, BAD))
    await door.refuse(RefusedAttempt(HERE, BAD))
    assert forgotten == [forget_refusals]


@pytest.mark.parametrize("name", ["pump", "denied", "deferred"])
async def test_every_judged_request_can_be_asked_again(store: FlakyStore, name: str) -> None:
    request = ask(name)
    await Door(store).submit(request)
    (row,) = await asked(store)
    assert row.policy_digest == "0" * 64
    again = read_question(row.asked or "", request.key, request.now, row.csr)
    assert replace(again, csr=request.csr) == request
    assert again.csr.spki == request.csr.spki
