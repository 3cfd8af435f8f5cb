from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from ca.csr import Csr
from server.enrollment import RefusedAttempt
from server.outcome import Pending, Problem, Reason, Refused
from server.store import StoreUnavailable
from server.store.certificates import RevocationOutcome
from server.store.requests import State, forget_refusals
from server.store.values import read_question
from tests.fakes.door import HERE, Door, FlakyStore, ask, csr_for
from tests.fakes.record import actions, asked, issued, problem, stored

BAD = Problem(Reason.BAD_CREDENTIALS, "The password is wrong.", detail="user pump")


async def pending(door: Door, name: str = "deferred") -> str:
    outcome = await door.submit(ask(name))
    assert isinstance(outcome, Pending)
    return outcome.request_id


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
    door._refusals = 999
    await door.refuse(RefusedAttempt(HERE, BAD))
    await door.refuse(RefusedAttempt(HERE, BAD))
    assert forgotten == [forget_refusals]


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
    stricter._decide = lambda _: verdict
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


async def test_an_approved_request_that_can_not_be_read_any_more_is_internal(door: Door, store: FlakyStore) -> None:
    waiting = await pending(door)
    await store.write(lambda c: c.exec_driver_sql("UPDATE requests SET question = '{}'") and None)
    assert problem(await door.approve(waiting, "admin:eve")).reason is Reason.INTERNAL


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


@pytest.mark.parametrize("name", ["pump", "denied", "deferred"])
async def test_every_judged_request_can_be_asked_again(store: FlakyStore, name: str) -> None:
    request = ask(name)
    await Door(store).submit(request)
    (row,) = await asked(store)
    assert row.policy_digest == "0" * 64
    again = read_question(row.asked or "", request.key, request.now, row.csr)
    assert replace(again, csr=request.csr) == request
    assert again.csr.spki == request.csr.spki


async def test_a_certificate_has_the_digest_of_its_policy(store: FlakyStore) -> None:
    await Door(store).submit(ask())
    (certificate,) = await stored(store)
    assert certificate.policy_digest == "0" * 64


async def test_what_a_person_refused_stays_refused_for_a_day(store: FlakyStore) -> None:
    door = Door(store)
    waiting = await pending(door)
    await door.reject(waiting, "admin:eve", "the pump was stolen")

    again = await door.submit(ask("deferred"))

    assert again == Refused(Problem(Reason.POLICY, "An administrator has rejected the request."), waiting)
    door.now += timedelta(hours=24, seconds=1)
    assert isinstance(await door.submit(ask("deferred")), Pending)
