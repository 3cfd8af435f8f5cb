"""Requests that wait for persons: roles, several eyes, time limits, and a policy that changes meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ca.names import names_of, subject_of
from policies.decision import ApprovalTerms, Approved, Deferred
from policies.request import CertificateEvidence, Requester
from server.audit import Action, AuditEvent
from server.outcome import Issued, Pending, Reason, Refused
from server.store.approvals import Vote, Voter, standing, vote
from server.store.requests import State
from tests.fakes.door import HERE, Door, FlakyStore, ask
from tests.fakes.record import actions, asked, issued, problem, stored
from tests.fakes.scripted_policy import ScriptedPolicy

if TYPE_CHECKING:
    from policies.decision import Decision
    from policies.request import EnrollmentRequest

OFFICER = frozenset({"ra-officer"})
TWO = ApprovalTerms(count=2, role="ra-officer", expires=timedelta(days=7))


class TermedPolicy(ScriptedPolicy):
    """Defers everything on terms that can be changed, as can the digest of its file."""

    def __init__(self, terms: ApprovalTerms | None) -> None:
        super().__init__()
        self.terms = terms
        self.digest = "0" * 64

    def decide(self, request: EnrollmentRequest) -> Decision:
        decision = super().decide(request)
        assert isinstance(decision, Approved | Deferred)
        plan = replace(decision.plan, policy_digest=self.digest)
        if self.terms is None:
            return Approved(plan, decision.trace)
        return Deferred((), plan, decision.trace, terms=self.terms)


@pytest.fixture
def policy() -> TermedPolicy:
    return TermedPolicy(TWO)


@pytest.fixture
def door(store: FlakyStore, policy: TermedPolicy) -> Door:
    return Door(store, decide=policy.decide)


async def waiting(door: Door) -> str:
    outcome = await door.submit(ask())
    assert isinstance(outcome, Pending)
    return outcome.request_id


async def refused(door: Door, request_id: str, by: str, roles: frozenset[str] = OFFICER) -> str:
    found = problem(await door.approve(request_id, by, roles))
    assert found.reason is Reason.CONFLICT
    return found.detail


async def test_as_many_persons_as_the_profile_wants_must_approve(door: Door, store: FlakyStore) -> None:
    one = await waiting(door)
    assert isinstance(await door.approve(one, "admin:alice", OFFICER), Pending)
    assert isinstance(await door.submit(ask()), Pending)
    issued(await door.approve(one, "admin:bob", OFFICER))
    assert (await asked(store))[0].approved_by == "admin:alice, admin:bob"
    assert await actions(store, one) == ["approved", "approved", "issued"]


async def test_one_person_is_not_two(door: Door) -> None:
    one = await waiting(door)
    await door.approve(one, "admin:alice", OFFICER)
    assert await refused(door, one, "admin:Alice") == Vote.TWICE.value


async def test_only_the_role_counts(door: Door) -> None:
    one = await waiting(door)
    assert await refused(door, one, "admin:mallory", frozenset({"auditor"})) == Vote.WRONG_ROLE.value
    assert isinstance(await door.poll(one), Pending)


async def test_nobody_approves_a_request_of_their_own(door: Door) -> None:
    one = await waiting(door)
    assert await refused(door, one, "admin:PUMP") == Vote.OWN.value


async def test_what_nobody_approved_in_time_is_refused(door: Door, store: FlakyStore) -> None:
    one = await waiting(door)
    await door.approve(one, "admin:alice", OFFICER)
    door.now += timedelta(days=7)
    assert "in time" in problem(await door.approve(one, "admin:bob", OFFICER)).message
    assert "in time" in problem(await door.poll(one)).message
    assert (await asked(store))[0].state is State.REFUSED


async def test_who_asks_again_after_the_time_waits_anew(door: Door, store: FlakyStore) -> None:
    one = await waiting(door)
    door.now += timedelta(days=8)
    two = await waiting(door)
    assert two != one
    old = next(row for row in await asked(store) if row.id == one)
    assert (old.state, old.reason) == (State.REFUSED, Reason.POLICY)
    assert old.key is None


async def test_when_the_policy_has_changed_people_must_look_again(
    door: Door, store: FlakyStore, policy: TermedPolicy
) -> None:
    one = await waiting(door)
    await door.approve(one, "admin:alice", OFFICER)
    policy.digest = "1" * 64
    assert isinstance(await door.approve(one, "admin:bob", OFFICER), Pending)
    found = await store.read(lambda c: standing(c, one))
    assert found.voters == ()
    assert (await asked(store))[0].policy_digest == "1" * 64
    await door.approve(one, "admin:alice", OFFICER)
    issued(await door.approve(one, "admin:bob", OFFICER))


@pytest.mark.parametrize("terms", [replace(TWO, count=3), replace(TWO, role="security")])
async def test_stricter_terms_are_not_met_by_votes_on_record(
    door: Door, policy: TermedPolicy, terms: ApprovalTerms
) -> None:
    one = await waiting(door)
    await door.approve(one, "admin:alice", OFFICER)
    policy.terms = terms
    assert isinstance(await door.approve(one, "admin:bob", OFFICER), Pending)
    assert isinstance(await door.submit(ask()), Pending)


async def test_a_policy_that_wants_no_approval_any_more_issues(door: Door, policy: TermedPolicy) -> None:
    await waiting(door)
    policy.terms = None
    assert isinstance(await door.submit(ask()), Issued)


async def test_a_store_that_fails_is_an_outcome(door: Door, store: FlakyStore) -> None:
    one = await waiting(door)
    door.now += timedelta(days=8)
    store.before.append("write")
    assert problem(await door.poll(one)).reason is Reason.STORE_UNAVAILABLE
    assert isinstance(await door.poll(one), Refused)


async def test_who_votes_on_nothing_is_told(store: FlakyStore, door: Door) -> None:
    assert await store.write(lambda c: vote(c, "nothing", Voter("admin:a"), door.now, {})) is Vote.NOT_WAITING


async def holder(store: FlakyStore) -> tuple[Door, EnrollmentRequest, int]:
    """Return a door that issues, a request that comes with a certificate of its own, and its serial number."""
    door = Door(store)
    outcome = issued(await door.submit(ask("old")))
    held = x509.load_der_x509_certificate(outcome.certificate)
    end = held.not_valid_after_utc
    evidence = CertificateEvidence(subject_of(held), names_of(held), held.serial_number, end, "own", "scripted", HERE)
    return door, replace(ask(), requester=Requester("certificate:old", (evidence,))), held.serial_number


async def test_who_is_revoked_while_a_person_decides_gets_nothing(
    door: Door, store: FlakyStore, policy: TermedPolicy
) -> None:
    first, request, serial = await holder(store)
    policy.terms = ApprovalTerms()
    outcome = await door.submit(request)
    assert isinstance(outcome, Pending)
    await first.revoke(serial, x509.ReasonFlags.key_compromise, "admin:eve")
    assert "revoked" in problem(await door.approve(outcome.request_id, "admin:alice")).message
    assert "revoked" in problem(await door.poll(outcome.request_id)).message
    assert len(await stored(store)) == 1


async def test_who_is_revoked_after_the_credentials_were_judged_gets_nothing(store: FlakyStore) -> None:
    door, request, serial = await holder(store)
    await door.revoke(serial, x509.ReasonFlags.key_compromise, "admin:eve")
    found = problem(await door.submit(request))
    assert (found.reason, "revoked" in found.message) == (Reason.CERTIFICATE_REJECTED, True)
    assert len(await stored(store)) == 1


async def test_who_was_approved_and_is_revoked_before_asking_again_gets_nothing(
    door: Door, store: FlakyStore, policy: TermedPolicy
) -> None:
    first, request, serial = await holder(store)
    policy.terms = ApprovalTerms()
    outcome = await door.submit(request)
    assert isinstance(outcome, Pending)
    event = AuditEvent(door.now, Action.APPROVED, "admin:alice", outcome.request_id).row()
    await store.write(lambda c: vote(c, outcome.request_id, Voter("admin:alice"), door.now, event))
    await first.revoke(serial, x509.ReasonFlags.key_compromise, "admin:eve")
    assert problem(await door.submit(request)).reason is Reason.CERTIFICATE_REJECTED
    assert len(await stored(store)) == 1
