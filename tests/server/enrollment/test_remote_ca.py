"""A CA that builds certificates itself: it may need time, it numbers them itself, and it is compared all the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from ca.issuer import IssuerUnavailable
from ca.names import DistinguishedName
from server.outcome import Issued, Pending, Reason, Refused
from server.store import certificates, requests
from tests.fakes.credential import credential, keep, kept
from tests.fakes.door import ISSUER, Door, ask
from tests.fakes.slow_ca import SlowCa

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from ca.issuer import Permit
    from ca.plan import CertificatePlan
    from server.store import Store
    from server.store.requests import StoredRequest


def door(store: Store, ca: SlowCa) -> Door:
    return Door(store, issuers={"issuing": ca})


async def on_record(store: Store, request_id: str | None) -> StoredRequest:
    found = await store.read(lambda c: requests.find_request(c, request_id or ""))
    assert found is not None
    return found


async def test_a_ca_that_needs_time_makes_the_request_pending(store: Store) -> None:
    ca = SlowCa(ISSUER, waits=1)
    outcome = await door(store, ca).submit(ask())
    assert isinstance(outcome, Pending)
    assert outcome.retry_after == 7
    assert (await on_record(store, outcome.request_id)).state == "intended"


@pytest.mark.parametrize("way", ["poll", "submit"])
async def test_asking_again_resumes_with_the_reference_of_the_ca(store: Store, way: str) -> None:
    ca = SlowCa(ISSUER, waits=2)
    before, after = door(store, ca), door(store, ca)  # another process may go on
    first = await before.submit(ask())
    assert isinstance(first, Pending)
    outcome: object = first
    for process in (before, after):
        outcome = await (process.poll(first.request_id) if way == "poll" else process.submit(ask()))
    assert isinstance(outcome, Issued)
    assert [permit.reference for permit in ca.permits] == [None, *[f"ticket/{first.request_id}"] * 2]
    assert {permit.request_id for permit in ca.permits} == {first.request_id}
    assert {permit.csr for permit in ca.permits} == {ask().csr.der}
    assert len({permit.serial for permit in ca.permits}) == 1


async def test_a_start_does_not_wait_for_a_slow_ca(store: Store) -> None:
    ca = SlowCa(ISSUER, waits=9)
    await door(store, ca).submit(ask())
    assert await door(store, ca).recover() == 0
    assert len(ca.permits) == 1


async def test_what_nobody_comes_for_is_finished_when_the_ca_is_done_with_it(store: Store) -> None:
    ca = SlowCa(ISSUER, waits=2)
    one = door(store, ca)
    left = await one.submit(ask())
    assert isinstance(left, Pending)
    for hours, finished in ((24, 0), (1, 1), (24, 0), (1, 1), (1, 0)):
        one.now += timedelta(hours=hours)
        assert await one.recover(abandoned=True) == finished
    assert (await on_record(store, left.request_id)).state == "issued"
    assert len(ca.permits) == 3


async def test_what_would_be_over_is_not_asked_of_a_ca_any_more(store: Store) -> None:
    await keep(store, credential(id="otp"))
    ca = SlowCa(ISSUER, waits=9)
    one = door(store, ca)
    left = await one.submit(ask(spends=("otp",)))
    assert isinstance(left, Pending)
    one.now += timedelta(days=one.policy.days)
    assert await one.recover(abandoned=True) == 1
    assert (await on_record(store, left.request_id)).state == "failed"
    assert (await kept(store, "otp")).uses_left == 0  # it may have signed
    assert len(ca.permits) == 1


class DeadCa(SlowCa):
    """Answers nothing for a while, then there is an outage."""

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        await asyncio.sleep(0.2)
        raise IssuerUnavailable("dead")


async def test_a_start_waits_for_a_dead_ca_once_and_not_for_each_request(store: Store) -> None:
    before = door(store, DeadCa(ISSUER))
    await asyncio.gather(*(before.submit(ask(f"pump-{n}")) for n in range(30)))
    began = asyncio.get_running_loop().time()
    assert await door(store, DeadCa(ISSUER)).recover() == 30
    assert asyncio.get_running_loop().time() - began < 3


async def test_the_serial_number_of_the_ca_is_on_record(store: Store) -> None:
    outcome = await door(store, SlowCa(ISSUER, number=0xABC)).submit(ask())
    assert isinstance(outcome, Issued)
    assert x509.load_der_x509_certificate(outcome.certificate).serial_number == 0xABC
    stored = await store.read(lambda c: certificates.find_by_serial(c, 0xABC))
    assert stored is not None
    assert stored.request_id == outcome.request_id
    assert (await on_record(store, outcome.request_id)).serial == 0xABC


class CountingCa(SlowCa):
    """Gives one number after the other."""

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        self.number += 1
        return await super().issue(permit, plan, serial)


@pytest.mark.parametrize(("ca", "good"), [(CountingCa, 5), (SlowCa, 1)], ids=["one after the other", "the same"])
async def test_serial_numbers_that_come_at_the_same_time_are_told_apart(
    store: Store, ca: type[SlowCa], good: int
) -> None:
    one = door(store, ca(ISSUER))
    outcomes = await asyncio.gather(*(one.submit(ask(f"pump-{number}")) for number in range(5)))
    issued = [outcome for outcome in outcomes if isinstance(outcome, Issued)]
    assert len(issued) == good
    for outcome in issued:
        number = x509.load_der_x509_certificate(outcome.certificate).serial_number
        assert (await on_record(store, outcome.request_id)).serial == number


class HeldCa(SlowCa):
    """Answers when it is let go."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked, self.open = asyncio.Event(), asyncio.Event()

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        self.asked.set()
        await self.open.wait()
        return await super().issue(permit, plan, serial)


@pytest.mark.parametrize("number", [0xF0, 0xF1], ids=["the same certificate", "another one"])
async def test_what_a_ca_answers_too_late_is_what_another_process_has_recorded(
    store: Store, events: list[MutableMapping[str, Any]], number: int
) -> None:
    ca = HeldCa(ISSUER, number=number)
    task = asyncio.create_task(door(store, ca).submit(ask()))
    await ca.asked.wait()
    survivor = door(store, SlowCa(ISSUER, number=0xF0))
    survivor.now += timedelta(seconds=10)
    first = await survivor.submit(ask(now=survivor.now))
    assert isinstance(first, Issued)
    ca.open.set()
    assert await task == first
    record = await on_record(store, first.request_id)
    assert (record.state, record.serial, record.quarantined) == ("issued", 0xF0, None)
    dropped = [event["serial"] for event in events if event["event"] == "certificate_dropped"]
    assert dropped == [format(number, "x")]


async def test_a_ca_that_gives_a_serial_number_twice_is_found_out(store: Store) -> None:
    one = door(store, SlowCa(ISSUER))
    assert isinstance(await one.submit(ask("pump")), Issued)
    outcome = await one.submit(ask("valve"))
    assert isinstance(outcome, Refused)
    assert outcome.problem.reason is Reason.INTERNAL
    assert "another certificate has the serial number f0" in outcome.problem.detail
    record = await on_record(store, outcome.request_id)
    assert record.state == "failed"
    assert record.quarantined is not None


async def test_what_a_ca_changes_is_quarantined(store: Store) -> None:
    ca = SlowCa(ISSUER)
    ca.changes = {"subject": DistinguishedName.from_text("CN=somebody else")}
    outcome = await door(store, ca).submit(ask())
    assert isinstance(outcome, Refused)
    record = await on_record(store, outcome.request_id)
    assert record.quarantined is not None
    assert "subject" in (record.detail or "")
