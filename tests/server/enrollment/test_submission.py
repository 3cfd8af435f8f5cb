from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from cryptography import x509

from policies.request import Renewed
from server.outcome import Pending, Reason, Refused
from server.store import intents
from server.store.requests import State
from server.store.tables import audit_events
from tests.fakes.door import HERE, Door, FlakyStore, ask, csr_for
from tests.fakes.gate import Gate
from tests.fakes.issuer import NOW
from tests.fakes.record import actions, asked, issued, problem, stored

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from policies.request import EnrollmentRequest

SECOND = timedelta(seconds=1)


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


async def test_different_keys_give_different_certificates(door: Door, store: FlakyStore) -> None:
    outcomes = await asyncio.gather(*(door.submit(ask(key=str(number))) for number in range(40)))
    assert len({issued(outcome).certificate for outcome in outcomes}) == 40
    assert len({one.serial for one in await stored(store)}) == 40


async def test_what_a_policy_denies_now_is_not_answered_from_the_record(door: Door) -> None:
    issued(await door.submit(ask("pump", key="same")))
    assert problem(await door.submit(ask("denied", key="same"))).reason is Reason.POLICY


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
    waiting = await door.submit(ask("deferred"))
    allowed = csr_for("pump").subject
    approving = Door(
        store, decide=lambda asked: door.policy.decide(replace(asked, csr=replace(asked.csr, subject=allowed)))
    )
    outcome = issued(await approving.submit(ask("deferred")))
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


async def test_what_the_profile_wants_to_know_besides_is_gathered_before_the_policy_is_asked(store: FlakyStore) -> None:
    async def gather(request: EnrollmentRequest) -> EnrollmentRequest:
        return replace(request, profile="gathered")

    door = Door(store, gather=gather)
    issued(await door.submit(ask()))
    assert [request.profile for request in door.policy.seen] == ["gathered"]


async def test_a_defect_before_anything_is_signed_is_internal_on_record_and_frees_the_key(
    store: FlakyStore, events: list[MutableMapping[str, Any]]
) -> None:
    class Broken(FlakyStore):
        async def write_together(self, work: Any, item: Any) -> Any:
            if work is intents.claim and self.before:
                raise RuntimeError(self.before.pop())
            return await super().write_together(work, item)

    broken = Broken(store)
    broken.before.append("nobody thought of it")
    door = Door(broken)
    outcome = await door.submit(ask())
    (request,) = await asked(store)
    for problem_ in (problem(outcome), request.problem):
        assert problem_ is not None
        assert (problem_.reason, "nobody" in problem_.message) == (Reason.INTERNAL, False)
        assert "nobody thought of it" in problem_.detail
    assert (request.id, request.state, request.requester) == (outcome.request_id, State.REFUSED, "password:pump")
    assert [event["event"] for event in events] == ["enrollment_failed"]
    issued(await door.submit(ask()))
