"""One-time secrets are used up with the intent: as often as they may be and not once more, and never in vain."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ca.issuer import AnswerUnusable, IssuerPending, IssuerRefused, IssuerUnavailable, NothingSigned
from server.audit import Action, AuditEvent
from server.credentials.redeeming import why_not
from server.outcome import Issued, Pending, Reason
from server.store import credentials
from tests.fakes.credential import credential, keep, kept
from tests.fakes.door import ISSUER, Door, ask
from tests.fakes.issuer import NOW
from tests.fakes.record import asked, issued, problem, stored
from tests.fakes.slow_ca import SlowCa

if TYPE_CHECKING:
    from server.store import Store
    from tests.fakes.door import FlakyStore


async def test_of_fifty_requests_with_one_secret_at_once_one_gets_a_certificate(door: Door, store: FlakyStore) -> None:
    await keep(store, credential(id="otp"))

    outcomes = await asyncio.gather(*(door.submit(ask(f"pump-{n}", spends=("otp",))) for n in range(50)))

    assert sum(isinstance(outcome, Issued) for outcome in outcomes) == 1
    assert len(await stored(store)) == 1
    reasons = [problem(one).reason for one in outcomes if not isinstance(one, Issued)]
    assert reasons == [Reason.BAD_CREDENTIALS] * 49
    assert (await kept(store, "otp")).uses_left == 0
    (use,) = await store.read(lambda connection: credentials.uses_of(connection, "otp"))
    assert use[0] == next(one.request_id for one in outcomes if isinstance(one, Issued))


async def test_processes_share_one_secret_as_tasks_do(store: FlakyStore) -> None:
    await keep(store, credential(id="otp", uses_left=2))
    doors = [Door(store) for _ in range(4)]

    outcomes = await asyncio.gather(
        *(each.submit(ask(f"pump-{n}", spends=("otp",))) for n, each in enumerate(doors * 3))
    )

    assert sum(isinstance(outcome, Issued) for outcome in outcomes) == 2


async def test_a_refused_for_lack_of_the_secret_is_on_record_and_leaves_no_intent(
    door: Door, store: FlakyStore
) -> None:
    await keep(store, credential(id="otp", uses_left=0))

    refused = problem(await door.submit(ask(spends=("otp",))))

    assert refused.reason is Reason.BAD_CREDENTIALS
    (record,) = await asked(store)
    assert (record.state, record.reason) == ("refused", Reason.BAD_CREDENTIALS)


async def test_a_retry_gets_the_same_certificate_and_spends_nothing(door: Door, store: FlakyStore) -> None:
    await keep(store, credential(id="otp", uses_left=3))

    first = issued(await door.submit(ask(spends=("otp",))))
    again = issued(await door.submit(ask(spends=("otp",))))

    assert first.certificate == again.certificate
    assert (await kept(store, "otp")).uses_left == 2


async def test_after_the_time_for_retries_the_same_request_needs_a_new_secret(door: Door, store: FlakyStore) -> None:
    await keep(store, credential(id="otp"))
    issued(await door.submit(ask(spends=("otp",))))
    door.now += timedelta(hours=25)

    assert problem(await door.submit(ask(spends=("otp",), now=door.now))).reason is Reason.BAD_CREDENTIALS


async def test_what_the_policy_denies_costs_nothing(door: Door, store: FlakyStore) -> None:
    await keep(store, credential(id="otp"))

    assert problem(await door.submit(ask("denied", spends=("otp",)))).reason is Reason.POLICY
    assert (await kept(store, "otp")).uses_left == 1


async def test_a_request_that_waits_for_a_person_has_spent_its_secret_once(door: Door, store: FlakyStore) -> None:
    await keep(store, credential(id="otp", uses_left=2))

    first = await door.submit(ask("deferred", spends=("otp",)))
    again = await door.submit(ask("deferred", spends=("otp",)))
    assert isinstance(first, Pending)
    assert first == again
    assert isinstance(await door.approve(first.request_id, "admin:eve"), Issued)
    assert (await kept(store, "otp")).uses_left == 1


async def test_an_issuer_that_refuses_gives_the_secret_back(door: Door, store: FlakyStore) -> None:
    await keep(store, credential(id="otp"))
    door.issuer.failures.append(IssuerRefused("no"))

    assert problem(await door.submit(ask(spends=("otp",)))).reason is Reason.ISSUER_REFUSED
    back = await kept(store, "otp")
    assert (back.uses_left, back.spent_at) == (1, None)
    issued(await door.submit(ask(spends=("otp",))))


async def test_an_issuer_that_is_away_keeps_the_secret_for_the_same_request(door: Door, store: FlakyStore) -> None:
    await keep(store, credential(id="otp"))
    door.issuer.failures.append(IssuerUnavailable("away"))

    assert problem(await door.submit(ask(spends=("otp",)))).reason is Reason.ISSUER_UNAVAILABLE
    assert (await kept(store, "otp")).uses_left == 0
    issued(await door.submit(ask(spends=("otp",))))


async def test_who_has_used_a_secret_may_ask_for_the_reply_again_though_another_got_nothing_for_it(
    door: Door, store: FlakyStore
) -> None:
    await keep(store, credential(id="batch", uses_left=3, expires_at=NOW + timedelta(hours=2)))
    for hour in range(2):
        door.now = NOW + timedelta(hours=hour)
        issued(await door.submit(ask(f"pump-{hour}", spends=("batch",), now=door.now)))
    door.issuer.failures.append(IssuerRefused("no"))
    await door.submit(ask("valve", spends=("batch",), now=door.now))

    back = await kept(store, "batch")
    assert (back.uses_left, back.spent_at) == (1, NOW + timedelta(hours=1))
    assert why_not(back, NOW + timedelta(hours=3)) is None


async def test_a_secret_of_any_number_of_uses_stays_so(door: Door, store: FlakyStore) -> None:
    await keep(store, credential(id="static", uses_left=None))
    door.issuer.failures.append(IssuerRefused("no"))
    await door.submit(ask(spends=("static",)))
    issued(await door.submit(ask(spends=("static",))))

    assert (await kept(store, "static")).uses_left is None


@pytest.mark.parametrize("spends", [("otp", "gone"), ("otp", "expired"), ("withdrawn",)])
async def test_all_secrets_of_a_request_must_be_good_or_none_is_spent(
    door: Door, store: Store, spends: tuple[str, ...]
) -> None:
    await keep(
        store,
        credential(id="otp"),
        credential("b", id="expired", expires_at=door.now),
        credential("c", id="withdrawn", revoked_at=door.now),
    )

    assert problem(await door.submit(ask(spends=spends))).reason is Reason.BAD_CREDENTIALS
    assert (await kept(store, "otp")).uses_left == 1


async def test_who_takes_the_place_of_another_request_has_its_use_of_the_secret_once(
    door: Door, store: FlakyStore
) -> None:
    await keep(store, credential(id="otp"))
    first = issued(await door.submit(ask(key="a", spends=("otp",))))

    again = (ask(key=key, spends=("otp",), instead_of=(first.request_id,)) for key in "bcd")
    outcomes = await asyncio.gather(*map(door.submit, again))

    (second,) = (one for one in outcomes if isinstance(one, Issued))
    uses = await store.read(lambda connection: credentials.uses_of(connection, "otp"))
    assert [request_id for request_id, _ in uses] == [second.request_id]
    assert (await kept(store, "otp")).uses_left == 0


async def test_a_secret_that_is_withdrawn_is_good_for_nothing_that_takes_the_place(
    door: Door, store: FlakyStore
) -> None:
    await keep(store, credential(id="otp"))
    first = issued(await door.submit(ask(key="a", spends=("otp",))))
    event = AuditEvent(door.now, Action.CREDENTIAL_ENDED, "admin:eve").row()
    await store.write(lambda connection: credentials.revoke(connection, "otp", door.now, event))

    again = await door.submit(ask(key="b", spends=("otp",), instead_of=(first.request_id,)))
    assert problem(again).reason is Reason.BAD_CREDENTIALS


async def test_what_was_approved_after_a_long_time_survives_an_issuer_that_is_away(
    door: Door, store: FlakyStore
) -> None:
    first = await door.submit(ask("deferred"))
    assert isinstance(first, Pending)
    door.now += timedelta(hours=30)
    door.issuer.failures.append(IssuerUnavailable("away"))
    assert problem(await door.approve(first.request_id, "admin:eve")).reason is Reason.ISSUER_UNAVAILABLE

    door.now += timedelta(minutes=1)
    again = issued(await door.submit(ask("deferred", now=door.now)))
    assert again.request_id == first.request_id
    assert len(await stored(store)) == 1


async def test_what_comes_to_nothing_in_place_of_another_request_gives_its_use_back_to_that_one(
    door: Door, store: FlakyStore
) -> None:
    await keep(store, credential(id="otp"))
    first = issued(await door.submit(ask(key="a", spends=("otp",))))

    door.issuer.failures.append(IssuerRefused("no"))
    refused = await door.submit(ask(key="b", spends=("otp",), instead_of=(first.request_id,)))
    assert problem(refused).reason is Reason.ISSUER_REFUSED
    assert (await kept(store, "otp")).uses_left == 0
    assert problem(await door.submit(ask(key="c", spends=("otp",)))).reason is Reason.BAD_CREDENTIALS
    issued(await door.submit(ask(key="d", spends=("otp",), instead_of=(first.request_id,))))


A_DAY_LATER = timedelta(hours=25)


async def test_what_was_to_be_signed_here_and_is_given_up_after_a_day_gives_its_secret_to_who_asks_again(
    door: Door, store: FlakyStore
) -> None:
    await keep(store, credential(id="otp"))
    door.issuer.failures.append(IssuerUnavailable("away"))
    first = await door.submit(ask(spends=("otp",)))
    door.now += A_DAY_LATER

    again = issued(await door.submit(ask(spends=("otp",), now=door.now)))

    assert again.request_id != first.request_id
    assert [one.request_id for one in await stored(store)] == [again.request_id]
    assert (await kept(store, "otp")).uses_left == 0


async def test_what_another_ca_may_have_signed_is_not_given_up_for_it_would_cost_the_secret(store: FlakyStore) -> None:
    await keep(store, credential(id="otp"))
    ca = SlowCa(ISSUER)
    ca.failures.append(IssuerUnavailable("timed out"))
    door = Door(store, issuers={"issuing": ca})
    first = await door.submit(ask(spends=("otp",)))
    door.now += A_DAY_LATER

    again = issued(await door.submit(ask(spends=("otp",), now=door.now)))

    assert again.request_id == first.request_id
    assert {permit.request_id for permit in ca.permits} == {first.request_id}
    assert (await kept(store, "otp")).uses_left == 0


@pytest.mark.parametrize("left", [timedelta(seconds=1), timedelta(0)])
async def test_what_another_ca_may_have_signed_is_given_up_with_its_secret_when_it_has_ended(
    store: FlakyStore, left: timedelta
) -> None:
    await keep(store, credential(id="otp"))
    ca = SlowCa(ISSUER)
    ca.failures.append(IssuerUnavailable("timed out"))
    door = Door(store, issuers={"issuing": ca})
    first = await door.submit(ask(spends=("otp",)))
    door.now += timedelta(days=door.policy.days) - left
    again = await door.submit(ask(spends=("otp",), now=door.now))

    if left:
        assert issued(again).request_id == first.request_id
    else:
        assert problem(again).reason is Reason.BAD_CREDENTIALS
    assert (await kept(store, "otp")).uses_left == 0


LOST = IssuerUnavailable("timed out")
NO = IssuerRefused("no")


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        pytest.param([NO], 1, id="a no to the first question is that nothing was signed"),
        pytest.param([LOST, NO], 0, id="a no to the same again may mean that it was signed the first time"),
        pytest.param([IssuerPending(7, "ticket"), NO], 0, id="or in between"),
        pytest.param([IssuerPending(7, "ticket"), NothingSigned("no")], 1, id="unless the CA says no to all of it"),
        pytest.param([AnswerUnusable("no certificate")], 0, id="what can not be read may be one"),
        pytest.param([RuntimeError("broken")], 0, id="nor does anybody know what a defect has left behind"),
    ],
)
async def test_a_ca_elsewhere_that_may_have_signed_does_not_give_the_secret_back(
    store: FlakyStore, answers: list[Exception], left: int
) -> None:
    await keep(store, credential(id="otp"))
    ca = SlowCa(ISSUER)
    ca.failures = list(answers)
    door = Door(store, issuers={"issuing": ca})

    outcomes = [await door.submit(ask(spends=("otp",))) for _ in answers]

    assert not any(isinstance(outcome, Issued) for outcome in outcomes)
    assert [one.state for one in await asked(store)] == ["failed"]
    assert (await kept(store, "otp")).uses_left == left
