from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from cryptography import x509

from ca.lint import LintFinding
from policies.decision import Approved
from policies.request import Renewed
from server.outcome import Pending, Reason, Refused
from server.store.requests import State
from server.store.tables import audit_events
from tests.fakes.door import HERE, Door, FlakyStore, ask, csr_for
from tests.fakes.issuer import NOW
from tests.fakes.record import actions, asked, issued, problem, stored
from tests.fakes.scripted_policy import ScriptedPolicy

if TYPE_CHECKING:
    from policies.decision import Decision
    from policies.request import EnrollmentRequest

SECOND = timedelta(seconds=1)


class Gate:
    """Holds the signer until it is opened; `reached` tells that it was asked."""

    def __init__(self, door: Door) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        self._issue = door.issuer.issue
        setattr(door.issuer, "issue", self._wait)  # noqa: B010 - replaces a method

    async def _wait(self, *arguments: Any) -> bytes:
        self.reached.set()
        await self.open.wait()
        return await self._issue(*arguments)


async def test_an_approved_request_is_issued_and_on_record(door: Door, store: FlakyStore) -> None:
    outcome = issued(await door.submit(ask("pump", transaction="t-1")))
    certificate = x509.load_der_x509_certificate(outcome.certificate)
    (kept,) = await stored(store)
    assert (kept.der, kept.serial, kept.issuer) == (outcome.certificate, certificate.serial_number, "issuing")
    assert kept.fingerprint == hashlib.sha256(outcome.certificate).digest()
    assert (kept.endpoint, kept.profile, kept.requester) == (HERE, "scripted", "password:pump")
    assert (kept.not_before, kept.not_after) == (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    assert (kept.subject, kept.names, kept.request_id, kept.renews) == ("CN=pump", (), outcome.request_id, None)
    assert (kept.issued_at, kept.revoked_at) == (NOW, None)
    assert outcome.chain == door.issuer.chain()
    (request,) = await asked(store)
    assert (request.state, request.serial, request.transaction) == (State.ISSUED, kept.serial, "t-1")
    assert (request.address, request.csr, request.finished_at) == ("192.0.2.7", csr_for("pump").der, NOW)
    assert await actions(store, outcome.request_id) == ["issued"]


async def test_a_renewal_is_on_record_with_what_it_renews(door: Door, store: FlakyStore) -> None:
    old = Renewed(77, csr_for("pump").subject, (), b"", NOW, NOW, "scripted", HERE)
    issued(await door.submit(ask("pump", renewed=old)))
    assert (await stored(store))[0].renews == 77
    assert (await asked(store))[0].renews == 77


async def test_nothing_is_signed_before_the_intent_is_on_disk(door: Door, store: FlakyStore) -> None:
    gate = Gate(door)
    work = asyncio.create_task(door.submit(ask()))
    await gate.reached.wait()
    (request,) = await asked(store)
    assert request.state is State.INTENDED
    assert request.serial is not None
    assert await stored(store) == ()
    gate.open.set()
    issued(await work)


async def test_a_denied_request_is_refused_with_all_findings_on_record(door: Door, store: FlakyStore) -> None:
    outcome = await door.submit(ask("denied"))
    assert isinstance(outcome, Refused)
    assert outcome.problem.reason is Reason.POLICY
    assert outcome.problem.message == "this name is not allowed"
    (request,) = await asked(store)
    assert (request.id, request.state, request.problem) == (outcome.request_id, State.REFUSED, outcome.problem)
    assert str(request.findings[0].location) == "script.yaml:7:3"
    assert door.issuer.issued == []


async def test_a_refusal_frees_its_key(door: Door) -> None:
    assert isinstance(await door.submit(ask("denied", key="same")), Refused)
    issued(await door.submit(ask("pump", key="same")))


async def test_the_same_key_gives_the_same_certificate(door: Door, store: FlakyStore) -> None:
    first, again = [issued(await door.submit(ask(key="same"))) for _ in range(2)]
    assert again == first
    assert len(await stored(store)) == len(door.issuer.issued) == 1


async def test_the_same_key_at_once_gives_the_same_certificate(door: Door, store: FlakyStore) -> None:
    outcomes = await asyncio.gather(*(door.submit(ask(key="same")) for _ in range(20)))
    assert len({issued(outcome).certificate for outcome in outcomes}) == 1
    assert len(await stored(store)) == len(door.issuer.issued) == 1


async def test_different_keys_give_different_certificates(door: Door, store: FlakyStore) -> None:
    outcomes = await asyncio.gather(*(door.submit(ask(key=str(number))) for number in range(40)))
    assert len({issued(outcome).certificate for outcome in outcomes}) == 40
    assert len({one.serial for one in await stored(store)}) == 40


@pytest.mark.parametrize(("age", "certificates"), [(timedelta(hours=24), 1), (timedelta(hours=24) + SECOND, 2)])
async def test_a_key_is_answered_again_for_a_day(door: Door, age: timedelta, certificates: int) -> None:
    first = issued(await door.submit(ask(key="same")))
    door.now += age
    later = issued(await door.submit(ask(key="same", now=door.now)))
    assert len({first.certificate, later.certificate}) == certificates


async def test_a_revoked_certificate_does_not_answer_its_key(door: Door) -> None:
    first = issued(await door.submit(ask(key="same")))
    serial = x509.load_der_x509_certificate(first.certificate).serial_number
    await door.revoke(serial, x509.ReasonFlags.key_compromise, "admin:eve")
    assert issued(await door.submit(ask(key="same"))).certificate != first.certificate


async def test_what_a_policy_denies_now_is_not_answered_from_the_record(door: Door) -> None:
    issued(await door.submit(ask("pump", key="same")))
    assert problem(await door.submit(ask("denied", key="same"))).reason is Reason.POLICY


async def test_a_mix_of_new_and_known_keys_in_one_group_is_told_apart(door: Door, store: FlakyStore) -> None:
    known = [issued(await door.submit(ask(key=f"old-{n}"))) for n in range(5)]
    keys = [f"old-{n}" for n in range(5)] + [f"new-{n}" for n in range(5)]
    outcomes = [issued(o) for o in await asyncio.gather(*(door.submit(ask(key=key)) for key in keys))]
    assert outcomes[:5] == known
    assert len(await stored(store)) == 10


async def test_an_error_of_the_policy_is_a_no(store: FlakyStore) -> None:
    def broken(request: EnrollmentRequest) -> Any:
        raise ZeroDivisionError

    outcome = await Door(store, decide=broken).submit(ask())
    assert problem(outcome).reason is Reason.INTERNAL
    assert "ZeroDivisionError" not in problem(outcome).message
    assert "ZeroDivisionError" in ((await asked(store))[0].detail or "")


async def test_an_issuer_that_is_not_configured_is_internal(store: FlakyStore) -> None:
    assert problem(await Door(store, issuers={}).submit(ask())).reason is Reason.INTERNAL


async def test_what_lint_finds_is_not_signed(store: FlakyStore) -> None:
    class Strict:
        def lint(self, *_: object, full: bool) -> tuple[LintFinding, ...]:
            return (LintFinding("pkix.bad", "error", "certificate", "much too bad"),)

    door = Door(store, linter=Strict())
    outcome = await door.submit(ask())
    assert problem(outcome).reason is Reason.POLICY
    (request,) = await asked(store)
    assert "pkix.bad" in request.findings[0].value
    assert door.issuer.issued == []


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_profile_that_wants_every_certificate_linted_has_it(store: FlakyStore, *, wanted: bool) -> None:
    asked_for: list[bool] = []

    class Listening:
        def lint(self, *_: object, full: bool) -> tuple[LintFinding, ...]:
            asked_for.append(full)
            return ()

    scripted = ScriptedPolicy()

    def decide(request: EnrollmentRequest) -> Decision:
        decision = scripted.decide(request)
        assert isinstance(decision, Approved)
        return decision._replace(full_lint=wanted)

    issued(await Door(store, linter=Listening(), decide=decide).submit(ask()))
    assert asked_for == [wanted]


async def test_the_work_goes_on_when_the_caller_is_cancelled(door: Door, store: FlakyStore) -> None:
    gate = Gate(door)
    caller = asyncio.create_task(door.submit(ask()))
    await gate.reached.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.open.set()
    await door.drain()
    assert len(await stored(store)) == 1
    issued(await door.submit(ask()))
    assert len(door.issuer.issued) == 1


async def test_a_cancelled_caller_does_not_take_its_duplicates_along(door: Door) -> None:
    gate = Gate(door)
    first, second = (asyncio.create_task(door.submit(ask())) for _ in range(2))
    await gate.reached.wait()
    first.cancel()
    gate.open.set()
    issued(await second)


async def test_a_serial_number_is_never_signed_twice(store: FlakyStore) -> None:
    door = Door(store, serial_number=lambda: 4711)
    issued(await door.submit(ask(key="one")))
    assert problem(await door.submit(ask(key="two"))).reason is Reason.INTERNAL
    assert len(door.issuer.issued) == 1
    outcomes = await asyncio.gather(*(door.submit(ask(key=str(number))) for number in range(5)))
    assert {problem(outcome).reason for outcome in outcomes} == {Reason.INTERNAL}
    assert len(door.issuer.issued) == 1


async def test_a_deferred_request_waits_and_asking_again_finds_it(door: Door, store: FlakyStore) -> None:
    first = await door.submit(ask("deferred"))
    assert isinstance(first, Pending)
    assert await door.submit(ask("deferred")) == first
    (request,) = await asked(store)
    assert (request.state, request.serial) == (State.PENDING, None)
    assert door.issuer.issued == []


async def test_a_request_that_the_policy_approves_after_all_is_issued_from_where_it_waited(
    door: Door, store: FlakyStore
) -> None:
    waiting = await door.submit(ask("deferred", key="same"))
    outcome = issued(await door.submit(ask("pump", key="same")))
    assert isinstance(waiting, Pending)
    assert outcome.request_id == waiting.request_id
    assert len(await asked(store)) == 1


async def test_a_key_may_be_any_text(door: Door) -> None:
    assert issued(await door.submit(ask(key="\ud800\0\n"))) == issued(await door.submit(ask(key="\ud800\0\n")))


class Companion:
    """Notes what it is called with; writes where others can see it, or fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: list[tuple[str, str]] = []
        self.failures = failures

    def __call__(self, connection: sa.Connection, request_id: str, issuer: str) -> None:
        self.calls.append((request_id, issuer))
        if self.failures:
            self.failures -= 1
            raise ValueError("the companion fails")
        connection.execute(
            sa.insert(audit_events).values(at=NOW, action="met", actor="x", request_id=request_id, detail="")
        )


async def test_the_companion_is_recorded_with_the_certificate(door: Door, store: FlakyStore) -> None:
    companion = Companion()
    outcome = issued(await door.submit(ask(), companion))
    assert companion.calls == [(outcome.request_id, "issuing")]
    assert await actions(store, outcome.request_id) == ["issued", "met"]


async def test_the_companion_of_who_asks_again_is_recorded_too(door: Door, store: FlakyStore) -> None:
    first = issued(await door.submit(ask()))
    assert issued(await door.submit(ask(), Companion())) == first
    assert await actions(store, first.request_id) == ["issued", "met"]


async def test_a_half_done_request_is_finished_with_the_companion_of_who_asks_now(
    door: Door, store: FlakyStore
) -> None:
    store.before = ["record"]
    assert isinstance(await door.submit(ask(), Companion()), Refused)
    outcome = issued(await door.submit(ask(), Companion()))
    assert await actions(store, outcome.request_id) == ["issued", "met"]


async def test_without_its_companion_no_certificate_is_on_record(door: Door, store: FlakyStore) -> None:
    companion = Companion(failures=1)
    assert isinstance(await door.submit(ask(), companion), Refused)
    assert await stored(store) == ()
    outcome = issued(await door.submit(ask(), companion))
    assert outcome.certificate == (await stored(store))[0].der
    assert await actions(store, outcome.request_id) == ["issued", "met"]
