"""What an intent keeps to holds for requests of the same instant too: it is asked where the intent is written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ca.issuer import IssuerUnavailable
from policies.decision import Approved, Deferred, QuotaLimits, Rate
from policies.request import (
    CertificateEvidence,
    EndpointName,
    Kind,
    PendingLimits,
    RegistrationAuthorityEvidence,
    Requester,
)
from server.outcome import Issued, Pending, Reason
from server.store.certificates import renewed_from
from server.store.tables import COMPROMISED, certificates
from tests.fakes.credential import credential, keep, kept
from tests.fakes.door import ISSUER, Door, ask, csr_for
from tests.fakes.issuer import FakeIssuer
from tests.fakes.record import asked, issued, problem, stored
from tests.fakes.slow_ca import SlowCa

if TYPE_CHECKING:
    from policies.decision import Decision
    from policies.request import EnrollmentRequest, Evidence
    from server.store.certificates import StoredCertificate
    from tests.fakes.door import FlakyStore

DAY = timedelta(days=1)


def limited(store: FlakyStore, limits: QuotaLimits) -> Door:
    plain = Door(store)

    def decide(request: EnrollmentRequest) -> Decision:
        decision = plain.policy.decide(request)
        return decision._replace(limits=limits) if isinstance(decision, Approved | Deferred) else decision

    return Door(store, decide=decide)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (QuotaLimits(active=3), "holds as many valid certificates as it may"),
        (QuotaLimits(to_requester=Rate(3, DAY)), "to this requester were issued lately"),
        (QuotaLimits(under_profile=Rate(3, DAY)), "of this kind were issued lately"),
    ],
)
async def test_of_twenty_requests_at_once_as_many_are_answered_as_may_be(
    store: FlakyStore, limits: QuotaLimits, message: str
) -> None:
    doors = [limited(store, limits) for _ in range(2)]

    outcomes = await asyncio.gather(*(doors[n % 2].submit(ask("pump", key=f"k{n}")) for n in range(20)))

    refused = [problem(one) for one in outcomes if not isinstance(one, Issued)]
    assert (len(await stored(store)), len(refused)) == (3, 17)
    assert {one.reason for one in refused} == {Reason.POLICY}
    assert all(message in one.message for one in refused)
    assert sum(row.state == "refused" for row in await asked(store)) == 17


async def test_others_are_not_counted_for_a_requester(store: FlakyStore) -> None:
    door = limited(store, QuotaLimits(active=1, to_requester=Rate(1, DAY)))
    assert isinstance(await door.submit(ask("pump")), Issued)
    assert isinstance(await door.submit(ask("valve")), Issued)
    assert isinstance(await door.submit(ask("pump")), Issued)  # the same again
    assert problem(await door.submit(ask("pump", key="another"))).reason is Reason.POLICY


async def test_a_renewal_needs_no_room_among_the_valid_ones(store: FlakyStore) -> None:
    door = limited(store, QuotaLimits(active=1))
    assert isinstance(await door.submit(ask("pump")), Issued)
    assert isinstance(await door.submit(replace(ask("pump", key="again"), kind=Kind.RENEW)), Issued)


async def test_what_a_ca_has_not_signed_yet_counts_and_goes_on(store: FlakyStore) -> None:
    door = limited(store, QuotaLimits(active=1))
    door.issuer.failures.append(IssuerUnavailable("as told"))
    assert problem(await door.submit(ask("pump"))).reason is Reason.ISSUER_UNAVAILABLE
    assert problem(await door.submit(ask("pump", key="another"))).reason is Reason.POLICY
    assert isinstance(await door.submit(ask("pump")), Issued)


async def test_what_was_approved_too_late_finds_no_room(store: FlakyStore) -> None:
    door = limited(store, QuotaLimits(under_profile=Rate(1, DAY)))
    waiting = await door.submit(ask("deferred"))
    assert isinstance(waiting, Pending)
    assert isinstance(await door.submit(ask("pump")), Issued)

    refused = problem(await door.approve(waiting.request_id, "admin:ann"))

    assert "of this kind" in refused.message


async def with_certificate(door: Door, name: str) -> StoredCertificate:
    """Issue a certificate and return its record."""
    made = x509.load_der_x509_certificate(issued(await door.submit(ask(name))).certificate)
    (held,) = [one for one in await stored(door.record) if one.serial == made.serial_number]
    return held


async def test_who_renews_what_is_revoked_by_now_gets_nothing(store: FlakyStore) -> None:
    door = Door(store)
    held = await with_certificate(door, "old")
    request = replace(ask("pump"), kind=Kind.RENEW, renewed=renewed_from(held))
    await door.revoke(held.serial, x509.ReasonFlags.superseded, "admin:eve")
    refused = problem(await door.submit(request))
    assert (refused.reason, "was revoked" in refused.message) == (Reason.CERTIFICATE_REJECTED, True)
    assert len(await stored(store)) == 1


def waits(key: str, address: str, most: PendingLimits) -> EnrollmentRequest:
    request = ask("deferred", key=key, pending=most)
    return replace(request, requester=replace(request.requester, address=address))


@pytest.mark.parametrize("most", [PendingLimits(3, 20), PendingLimits(20, 3)], ids=["of all", "of an address"])
async def test_of_twenty_requests_that_wait_for_a_person_as_many_wait_as_may(
    store: FlakyStore, most: PendingLimits
) -> None:
    door = Door(store)
    outcomes = await asyncio.gather(*(door.submit(waits(f"k{n}", "192.0.2.7", most)) for n in range(20)))

    refused = [problem(one) for one in outcomes if not isinstance(one, Pending)]
    assert len(refused) == 17
    assert {(one.reason, one.retry_after) for one in refused} == {(Reason.RATE_LIMITED, 60)}
    assert sum(row.state == "pending" for row in await asked(store)) == 3
    assert isinstance(await door.submit(ask("pump", pending=most)), Issued)  # who waits for nobody


async def test_who_waits_elsewhere_takes_no_place_of_an_address_or_of_an_endpoint(store: FlakyStore) -> None:
    door, most = Door(store), PendingLimits(2, 1)
    assert isinstance(await door.submit(waits("a", "192.0.2.7", most)), Pending)
    assert problem(await door.submit(waits("b", "192.0.2.7", most))).reason is Reason.RATE_LIMITED
    assert isinstance(await door.submit(waits("c", "192.0.2.8", most)), Pending)
    assert problem(await door.submit(waits("d", "192.0.2.9", most))).reason is Reason.RATE_LIMITED
    elsewhere = replace(waits("e", "192.0.2.7", most), endpoint=EndpointName.parse("est/plant"))
    assert problem(await door.submit(waits("f", "192.0.2.7", most))).reason is Reason.RATE_LIMITED
    assert isinstance(await door.submit(elsewhere), Pending)


async def revoked(door: Door, request: EnrollmentRequest, reason: x509.ReasonFlags) -> None:
    """Issue what is asked for, and revoke it."""
    made = x509.load_der_x509_certificate(issued(await door.submit(request)).certificate)
    await door.revoke(made.serial_number, reason, "admin:eve")


async def test_a_key_that_is_compromised_gets_no_certificate_whoever_asks(store: FlakyStore) -> None:
    door = Door(store)
    first = ask("pump")
    await revoked(door, first, x509.ReasonFlags.key_compromise)

    by_itself = await door.submit(first)
    by_another = await door.submit(replace(ask("valve"), csr=replace(csr_for("valve"), spki=first.csr.spki)))
    at_once = await asyncio.gather(*(door.submit(replace(first, key=f"k{n}")) for n in range(5)), door.submit(ask("a")))

    refused = [problem(one) for one in (by_itself, by_another, *at_once[:5])]
    assert {(one.reason, "key was compromised" in one.message) for one in refused} == {(Reason.POLICY, True)}
    assert isinstance(at_once[5], Issued)
    assert len(await stored(store)) == 2
    assert sum(row.state == "refused" for row in await asked(store)) == 7


@pytest.mark.parametrize("reason", [x509.ReasonFlags.superseded, x509.ReasonFlags.certificate_hold])
async def test_a_key_whose_certificate_was_revoked_for_another_reason_may_have_one(
    store: FlakyStore, reason: x509.ReasonFlags
) -> None:
    door = Door(store)
    await revoked(door, ask("pump"), reason)
    assert isinstance(await door.submit(ask("pump")), Issued)


async def test_a_key_that_is_compromised_while_a_person_decides_gets_nothing(store: FlakyStore) -> None:
    door = Door(store)
    waiting = ask("deferred")
    outcome = await door.submit(waiting)
    assert isinstance(outcome, Pending)
    other = ask("pump")
    await revoked(door, replace(other, csr=replace(other.csr, spki=waiting.csr.spki)), x509.ReasonFlags.key_compromise)

    assert "key was compromised" in problem(await door.approve(outcome.request_id, "admin:ann")).message
    assert "key was compromised" in problem(await door.poll(outcome.request_id)).message
    assert len(await stored(store)) == 1


@pytest.mark.parametrize("way", ["asked again", "polled", "recovered"])
async def test_what_was_left_half_done_is_not_signed_for_a_key_that_is_compromised_since(
    store: FlakyStore, way: str
) -> None:
    door, request = Door(store), ask("pump")
    door.issuer.failures.append(IssuerUnavailable("as told"))
    assert problem(await door.submit(request)).reason is Reason.ISSUER_UNAVAILABLE
    (left,) = await asked(store)
    other = ask("valve")
    await revoked(door, replace(other, csr=replace(other.csr, spki=request.csr.spki)), x509.ReasonFlags.key_compromise)

    if way == "asked again":
        assert "key was compromised" in problem(await door.submit(request)).message
    if way == "recovered":
        assert await door.recover() == 1

    assert "key was compromised" in problem(await door.poll(left.id)).message
    assert "key was compromised" in problem(await door.submit(request)).message
    assert len(await stored(store)) == 1


@pytest.mark.parametrize(("ca", "left"), [(FakeIssuer, 1), (SlowCa, 0)], ids=["here", "elsewhere"])
async def test_what_is_not_finished_gives_its_secret_back_where_no_ca_can_have_signed(
    store: FlakyStore, ca: type[FakeIssuer | SlowCa], left: int
) -> None:
    await keep(store, credential(id="otp"))
    issuer, request = ca(ISSUER), ask("pump", spends=("otp",))
    door = Door(store, issuers={"issuing": issuer})
    issuer.failures.append(IssuerUnavailable("as told"))
    assert problem(await door.submit(request)).reason is Reason.ISSUER_UNAVAILABLE
    other = ask("valve")
    await revoked(door, replace(other, csr=replace(other.csr, spki=request.csr.spki)), x509.ReasonFlags.key_compromise)
    assert "key was compromised" in problem(await door.submit(request)).message
    assert (await kept(store, "otp")).uses_left == left


@pytest.mark.parametrize("way", ["asked again", "polled", "recovered"])
async def test_what_was_left_half_done_does_not_renew_a_certificate_that_is_revoked_since(
    store: FlakyStore, way: str
) -> None:
    door = Door(store)
    held = await with_certificate(door, "old")
    request = replace(ask("pump"), kind=Kind.RENEW, renewed=renewed_from(held))
    door.issuer.failures.append(IssuerUnavailable("as told"))
    assert problem(await door.submit(request)).reason is Reason.ISSUER_UNAVAILABLE
    (left,) = [one for one in await asked(store) if one.state == "intended"]
    await door.revoke(held.serial, x509.ReasonFlags.superseded, "admin:eve")

    if way == "asked again":
        assert "was revoked" in problem(await door.submit(request)).message
    if way == "recovered":
        assert await door.recover() == 1

    assert "was revoked" in problem(await door.poll(left.id)).message
    assert "was revoked" in problem(await door.submit(request)).message
    assert len(await stored(store)) == 1


async def test_a_renewal_that_was_left_half_done_is_finished_while_what_it_renews_stands(store: FlakyStore) -> None:
    door = Door(store)
    held = await with_certificate(door, "old")
    request = replace(ask("pump"), kind=Kind.RENEW, renewed=renewed_from(held))
    door.issuer.failures.append(IssuerUnavailable("as told"))
    await door.submit(request)
    issued(await door.submit(request))


async def test_a_secret_is_used_up_under_a_quota_too(store: FlakyStore) -> None:
    await keep(store, credential(id="otp"))
    door = limited(store, QuotaLimits(active=2))
    issued(await door.submit(ask("pump", spends=("otp",))))
    assert (await kept(store, "otp")).uses_left == 0
    assert problem(await door.submit(ask("pump", key="more", spends=("otp",)))).reason is Reason.BAD_CREDENTIALS


@pytest.mark.parametrize(("left", "good"), [(timedelta(0), False), (timedelta(seconds=1), True)])
async def test_a_secret_is_used_up_until_its_end_and_not_from_then_on(
    store: FlakyStore, left: timedelta, *, good: bool
) -> None:
    door = Door(store)
    await keep(store, credential(id="otp", expires_at=door.now + left))
    outcome = await door.submit(ask("pump", spends=("otp",)))
    assert isinstance(outcome, Issued) is good
    assert (await kept(store, "otp")).spent_at == (door.now if good else None)


@pytest.mark.parametrize("anchor", ["own", "maker", "authority"])
async def test_who_is_revoked_by_now_is_so_by_a_certificate_of_ours_alone(store: FlakyStore, anchor: str) -> None:
    door = Door(store)
    held = await with_certificate(door, "old")
    await door.revoke(held.serial, x509.ReasonFlags.superseded, "admin:eve")
    subject, end = csr_for("old").subject, held.not_after
    evidence: Evidence = CertificateEvidence(subject, (), held.serial, end, anchor, "scripted", held.endpoint)
    if anchor == "authority":
        evidence = RegistrationAuthorityEvidence(held.serial, "scripted")
    outcome = await door.submit(replace(ask("pump"), requester=Requester("whoever", (evidence,))))
    if anchor == "maker":  # that another has given the same number says nothing
        assert isinstance(outcome, Issued)
    else:
        assert problem(outcome).reason is Reason.CERTIFICATE_REJECTED


async def test_whether_any_key_is_compromised_costs_no_look_at_all_certificates(store: FlakyStore) -> None:
    query = f"EXPLAIN QUERY PLAN SELECT serial FROM {certificates.name} WHERE {COMPROMISED} LIMIT 1"  # noqa: S608
    plan = await store.read(lambda connection: connection.exec_driver_sql(query).all())
    assert "ix_certificates_compromised" in str(plan)
