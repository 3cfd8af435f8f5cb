from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from ca.issuer import IssuerUnavailable
from policies.decision import ApprovalTerms, Approved, Deferred, QuotaLimits
from server.audit import Action, AuditEvent
from server.outcome import Issued, Pending, Reason
from server.store import intents
from server.store.approvals import Voter, vote
from server.store.certificates import identity_in
from server.store.claims import AwaitsApproval, Claim, Compromised, Gone, Granted, OverQuota, Spent
from server.store.requests import State
from server.store.values import read_plan
from tests.fakes.credential import credential, keep, kept
from tests.fakes.door import ISSUER, Door, ask, csr_for
from tests.fakes.gate import hung
from tests.fakes.issuer import FakeIssuer
from tests.fakes.record import asked, issued, problem, stored
from tests.fakes.scripted_policy import ScriptedPolicy
from tests.fakes.slow_ca import SlowCa

if TYPE_CHECKING:
    from ca.issuer import Permit
    from ca.plan import CertificatePlan
    from policies.decision import Decision
    from policies.request import EnrollmentRequest
    from server.store import Store
    from server.store.claims import Claimed

DAY = timedelta(days=1)
MOMENT = timedelta(seconds=1)


def wanted(door: Door, name: str, key: bytes, **more: Any) -> Claim:
    """Return what the door would ask the record for, before anything is signed."""
    request = ask(name, spends=more.pop("spends", ()))
    verdict = door.policy.decide(request)
    assert isinstance(verdict, Approved | Deferred)
    terms = verdict.terms if isinstance(verdict, Deferred) else None
    serial = x509.random_serial_number()
    return Claim(
        f"request-{key[:5].decode(errors='replace')}", key, request, verdict.plan, serial, door.lease(), terms, **more
    )


async def claimed(store: Store, *claims: Claim) -> list[Claimed]:
    """Claim all of them in one group."""
    return await store.write(lambda connection: intents.claim(connection, claims))


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


@pytest.mark.parametrize(("age", "certificates"), [(timedelta(hours=12), 1), (timedelta(hours=12, seconds=1), 2)])
async def test_a_certificate_of_a_day_answers_its_key_for_half_of_its_life(
    door: Door, age: timedelta, certificates: int
) -> None:
    """Who asks later has lost no reply, but needs another before the first ends."""
    door.policy.days = 1
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


async def test_of_those_who_come_in_one_group_the_first_get_the_last_places(door: Door, store: Store) -> None:
    limits = QuotaLimits(active=2)
    unlimited, *limited = [wanted(door, "pump", b"k%d" % n, limits=None if n == 0 else limits) for n in range(4)]
    answers = await claimed(store, unlimited, *limited)
    assert [type(answer) for answer in answers] == [Granted, Granted, OverQuota, OverQuota]
    assert [row.id for row in await asked(store)] == ["request-k1", "request-k0"]


async def test_what_is_new_in_a_group_with_what_is_known_is_admitted_like_any(door: Door, store: Store) -> None:
    await keep(store, credential(id="used", uses_left=0), credential(id="good"))
    thief = issued(await door.submit(ask("thief")))
    serial = x509.load_der_x509_certificate(thief.certificate).serial_number
    await door.revoke(serial, x509.ReasonFlags.key_compromise, "admin:eve")
    known = wanted(door, "pump", b"known")
    await claimed(store, known)

    again, *new = await claimed(
        store,
        known._replace(request_id="another", companion=_nothing),
        wanted(door, "thief", b"k1"),
        wanted(door, "valve", b"k2", spends=("used",)),
        wanted(door, "tank", b"k3", spends=("good",)),
        wanted(door, "deferred", b"k4"),
    )

    assert isinstance(again, Granted)
    assert (again.request_id, again.serial, again.companion, again.resumed) == (
        "request-known",
        known.serial,
        _nothing,
        True,
    )
    assert [type(one) for one in new] == [Compromised, Spent, Granted, AwaitsApproval]
    (granted,) = [one for one in new if isinstance(one, Granted)]
    assert (granted.resumed, granted.csr, granted.requester) == (False, ask("tank").csr.der, "password:tank")
    assert (await kept(store, "good")).uses_left == 0
    assert {row.id for row in await asked(store)} >= {"request-known", "request-k3", "request-k4"}
    assert not {row.id for row in await asked(store)} & {"another", "request-k1", "request-k2"}


def _nothing(*_: object) -> None:
    """Record nothing."""


async def test_the_whole_question_is_kept_for_persons_alone(door: Door, store: Store) -> None:
    issued(await door.submit(ask()))
    assert isinstance(await door.submit(ask("deferred")), Pending)
    waiting, done = await asked(store)
    assert (done.question, waiting.question is not None) == (None, True)
    assert None not in {waiting.asked, done.asked}


async def test_who_asks_again_after_nobody_approved_in_time_has_the_secret_back(store: Store) -> None:
    def decide(request: EnrollmentRequest) -> Decision:
        decision = plain.policy.decide(request)
        assert isinstance(decision, Deferred)
        return decision._replace(terms=ApprovalTerms(expires=DAY))

    plain = Door(store)
    door = Door(store, decide=decide)
    await keep(store, credential(id="otp"))
    first = await door.submit(ask("deferred", spends=("otp",)))
    assert isinstance(first, Pending)
    door.now += DAY - MOMENT
    assert await door.submit(ask("deferred", spends=("otp",), now=door.now)) == first
    door.now += MOMENT
    assert isinstance(await door.submit(ask("deferred", spends=("otp",), now=door.now)), Pending)
    new, old = await asked(store)
    assert (old.state, old.finished_at, old.key) == (State.REFUSED, door.now, None)
    assert (new.state, (await kept(store, "otp")).uses_left) == (State.PENDING, 0)


@pytest.mark.parametrize(("age", "is_over"), [(DAY, False), (DAY + MOMENT, True)])
async def test_the_no_of_a_person_is_the_answer_for_a_day_and_then_it_waits_for_another(
    door: Door, store: Store, age: timedelta, *, is_over: bool
) -> None:
    first = await door.submit(ask("deferred"))
    assert isinstance(first, Pending)
    await door.reject(first.request_id, "admin:eve", "no")
    door.now += age
    again = await door.submit(ask("deferred", now=door.now))
    assert isinstance(again, Pending) is is_over
    assert (again.request_id != first.request_id) is is_over
    rows = {row.id: (row.state, row.key is None) for row in await asked(store)}
    assert rows[first.request_id] == (State.REFUSED, is_over)
    assert not is_over or rows[again.request_id or ""] == (State.PENDING, False)


@pytest.mark.parametrize(("age", "is_over"), [(DAY, False), (DAY + MOMENT, True)])
@pytest.mark.parametrize("ca", [FakeIssuer, SlowCa], ids=["here", "elsewhere"])
async def test_an_intent_that_has_cost_no_secret_is_taken_up_for_a_day_from_its_beginning_and_then_given_up(
    store: Store, ca: type[FakeIssuer | SlowCa], age: timedelta, *, is_over: bool
) -> None:
    door = Door(store, issuers={"issuing": ca(ISSUER)})
    begun = wanted(door, "pump", hashlib.sha256(b"pump").digest())
    await claimed(store, begun)
    door.now += age
    again = issued(await door.submit(ask(now=door.now)))
    assert (again.request_id != begun.request_id) is is_over
    left = next(row for row in await asked(store) if row.id == begun.request_id)
    over = (State.FAILED, None, door.now, "given up: too old")
    assert ((left.state, left.key, left.finished_at, left.detail) == over) is is_over


@pytest.mark.parametrize(("age", "is_over"), [(DAY / 2, False), (DAY / 2 + MOMENT, True)])
async def test_an_intent_for_a_certificate_of_a_day_is_taken_up_for_half_of_its_life(
    door: Door, age: timedelta, *, is_over: bool
) -> None:
    door.policy.days = 1
    door.issuer.failures.append(IssuerUnavailable("away"))
    first = await door.submit(ask())
    door.now += age
    again = issued(await door.submit(ask(now=door.now)))
    assert (again.request_id != first.request_id) is is_over


async def test_who_asks_with_another_key_gets_no_certificate_for_the_one_of_before(door: Door, store: Store) -> None:
    await keep(store, credential(id="otp"))
    door.issuer.failures.append(IssuerUnavailable("away"))
    first = await door.submit(ask("pump", key="same", spends=("otp",)))
    again = issued(await door.submit(ask("valve", key="same", spends=("otp",))))
    assert [one.request_id for one in await stored(store)] == [again.request_id]
    assert identity_in(again.certificate).spki == ask("valve").csr.spki
    assert (await kept(store, "otp")).uses_left == 0
    told = problem(await door.poll(first.request_id or ""))
    assert (told.reason, told.detail) == (Reason.ISSUER_UNAVAILABLE, "given up: asked for with another key")


@pytest.mark.parametrize("approved", [False, True])
async def test_what_a_person_looked_at_or_will_is_not_another_key(door: Door, store: Store, *, approved: bool) -> None:
    await keep(store, credential(id="otp"))
    first = ask("deferred", spends=("otp",))
    waiting = await door.submit(first)
    assert isinstance(waiting, Pending)
    if approved:
        voter = Voter("admin:eve")
        event = AuditEvent(door.now, Action.APPROVED, voter.name, waiting.request_id).row()
        await store.write(lambda c: vote(c, waiting.request_id, voter, door.now, event))
    other = replace(first, csr=csr_for.__wrapped__("deferred"))
    assert other.csr.spki != first.csr.spki
    again = await door.submit(other)
    assert isinstance(again, Pending)
    assert again.request_id != waiting.request_id
    assert problem(await door.poll(waiting.request_id)).detail == "given up: asked for with another key"
    done = issued(await door.approve(again.request_id, "admin:eve"))
    assert identity_in(done.certificate).spki == other.csr.spki
    assert (await kept(store, "otp")).uses_left == 0
    assert len(await stored(store)) == 1


async def test_what_another_process_works_on_is_not_given_up_for_another_key(store: Store) -> None:
    _, task, released = await hung(store)
    other = Door(store, patience=timedelta(0))
    assert isinstance(await other.submit(ask("valve", key="pump")), Pending)
    released.set()
    done = issued(await task)
    assert [one.request_id for one in await stored(store)] == [done.request_id]


async def approved(door: Door) -> str:
    waiting = await door.submit(ask("deferred"))
    assert isinstance(waiting, Pending)
    return issued(await door.approve(waiting.request_id, "admin:eve")).request_id


@pytest.mark.parametrize(
    ("replay", "age", "is_answered"),
    [
        (DAY, 7 * DAY, True),
        (DAY, 7 * DAY + MOMENT, False),
        (20 * DAY, 20 * DAY, True),
        (20 * DAY, 20 * DAY + MOMENT, False),
    ],
)
async def test_what_a_person_has_approved_is_the_answer_for_a_week_or_for_as_long_as_all_is(
    store: Store, replay: timedelta, age: timedelta, *, is_answered: bool
) -> None:
    door = Door(store, replay=replay)
    door.policy.days = 90
    first = await approved(door)
    door.now += age
    again = await door.submit(ask("deferred", now=door.now))
    assert (again.request_id == first) is is_answered
    assert isinstance(again, Issued) is is_answered


class Watched(FakeIssuer):
    """Waits before it signs; keeps what it was permitted."""

    def __init__(self) -> None:
        super().__init__(ISSUER)
        self.permits: list[Permit] = []
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        self.permits.append(permit)
        self.reached.set()
        await self.open.wait()
        return await super().issue(permit, plan, serial)


class Changing(ScriptedPolicy):
    """Defers everything on some terms; its file changes."""

    def __init__(self, **terms: Any) -> None:
        super().__init__()
        self.digest, self.terms = "0" * 64, ApprovalTerms(**terms)

    def decide(self, request: EnrollmentRequest) -> Decision:
        decision = super().decide(request)
        assert isinstance(decision, Approved)
        plan = replace(decision.plan, policy_digest=self.digest)
        return Deferred((), plan, decision.trace, terms=self.terms)


async def test_when_the_policy_has_changed_people_look_at_the_new_plan_which_is_what_is_signed(store: Store) -> None:
    ca, policy = Watched(), Changing(count=2)
    door, other = Door(store, decide=policy.decide, issuers={"issuing": ca}), Door(store)
    waiting = await door.submit(ask())
    assert isinstance(waiting, Pending)
    assert isinstance(await door.approve(waiting.request_id, "admin:ann"), Pending)
    policy.days, policy.digest = 5, "1" * 64
    assert isinstance(await door.approve(waiting.request_id, "admin:bob"), Pending)
    (row,) = await asked(store)
    assert (row.policy_digest, read_plan(row.plan or "").not_after) == ("1" * 64, door.now + 5 * DAY)

    assert isinstance(await door.approve(waiting.request_id, "admin:ann"), Pending)
    policy.days = 4  # as time goes on
    task = asyncio.create_task(door.approve(waiting.request_id, "admin:bob"))
    await ca.reached.wait()
    assert isinstance(await other.poll(waiting.request_id), Pending)  # it is another's, for a while
    ca.open.set()
    issued(await task)

    (row,), (made,), (permit,) = await asked(store), await stored(store), ca.permits
    assert (row.serial, read_plan(row.plan or "")) == (made.serial, permit.plan)
    assert (made.not_after, permit.csr, row.policy_digest) == (door.now + 4 * DAY, ask().csr.der, "1" * 64)
    assert other.issuer.issued == []


async def test_when_the_policy_has_changed_people_have_as_long_as_at_the_beginning_to_look_again(store: Store) -> None:
    policy = Changing(expires=DAY)
    door = Door(store, decide=policy.decide)
    waiting = await door.submit(ask())
    assert isinstance(waiting, Pending)
    door.now += DAY / 2
    policy.digest = "1" * 64
    assert isinstance(await door.approve(waiting.request_id, "admin:ann"), Pending)
    door.now += DAY - MOMENT
    assert isinstance(await door.poll(waiting.request_id), Pending)
    door.now += MOMENT
    assert problem(await door.poll(waiting.request_id)).reason is Reason.POLICY


async def test_what_was_approved_is_begun_once(door: Door, store: Store) -> None:
    waiting = wanted(door, "deferred", b"key")
    await claimed(store, waiting)

    async def start() -> object:
        return await store.write(lambda connection: intents.start(connection, waiting._replace(deferred=None)))

    assert isinstance(await start(), Gone)  # nobody has approved
    event = AuditEvent(door.now, Action.APPROVED, "admin:ann", waiting.request_id).row()
    await store.write(lambda c: vote(c, waiting.request_id, Voter("admin:ann"), door.now, event))
    assert isinstance(await start(), Granted)
    assert isinstance(await start(), Gone)


async def test_who_has_something_to_record_besides_waits_for_another_process_like_anybody(store: Store) -> None:
    _, task, released = await hung(store)
    other = Door(store, patience=timedelta(seconds=0.05))
    assert isinstance(await other.submit(ask(), _nothing), Pending)
    released.set()
    issued(await task)
