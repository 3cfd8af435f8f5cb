from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.issuer import IssuerError, IssuerRefused, IssuerUnavailable
from server.status.teller import LEASE, LONGEST_PAUSE, SHORTEST_PAUSE, Teller
from server.store import StoreUnavailable, notices
from server.store.tables import audit_events
from tests.fakes.status import Lab

if TYPE_CHECKING:
    from datetime import datetime

    from server.store import Store
    from server.store.notices import Untold


class ElsewhereCa:
    """Raises each of `failures` once, then takes revocations."""

    def __init__(self) -> None:
        self.failures: deque[Exception] = deque()
        self.revoked: list[tuple[x509.Certificate, x509.ReasonFlags]] = []

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:
        if self.failures:
            raise self.failures.popleft()
        self.revoked.append((certificate, reason))


async def revoked(store: Store, count: int = 1) -> Lab:
    """Make a record with so many revoked certificates; the octets are those of the CA's own."""
    lab = Lab.make(store)
    for serial in range(1, count + 1):
        octets = Lab.make(store).ca.certificate.public_bytes(Encoding.DER)
        await lab.add(serial, der=octets)
        await lab.revoke(serial, x509.ReasonFlags.key_compromise)
    return lab


def teller(lab: Lab, ca: ElsewhereCa) -> Teller:
    return Teller(lab.store, {"issuing": ca}, lambda: lab.now, pause=0.01)


async def untold(store: Store) -> Untold:
    return await store.read(lambda connection: notices.untold(connection, "issuing"))


async def test_a_ca_is_told_once_and_the_record_says_so(store: Store) -> None:
    lab, ca = await revoked(store), ElsewhereCa()
    assert await teller(lab, ca).tell("issuing") == 1
    assert await teller(lab, ca).tell("issuing") == 0
    assert [reason for _, reason in ca.revoked] == [x509.ReasonFlags.key_compromise]
    actions = await store.read(lambda c: c.scalars(sa.select(audit_events.c.action)).all())
    assert actions == ["revoked", "issuer-told"]


async def test_a_failure_is_seen_and_tried_again_ever_later(store: Store) -> None:
    lab, ca = await revoked(store), ElsewhereCa()
    for attempt in range(14):
        ca.failures.append(IssuerUnavailable("no route") if attempt % 2 else IssuerRefused("not ours"))
        assert await teller(lab, ca).tell("issuing") == 1
        assert (await untold(store)).error == ("no route" if attempt % 2 else "not ours")
        pause = min(SHORTEST_PAUSE * 2**attempt, LONGEST_PAUSE)
        lab.now += pause - timedelta(seconds=1)
        assert await teller(lab, ca).tell("issuing") == 0
        lab.now += timedelta(seconds=1)
    assert await teller(lab, ca).tell("issuing") == 1
    assert len(ca.revoked) == 1
    assert (await untold(store)).count == 0


async def test_what_a_process_was_at_when_it_died_is_told_by_another(store: Store) -> None:
    lab, ca = await revoked(store, 3), ElsewhereCa()
    ca.failures.append(asyncio.CancelledError())  # type: ignore[arg-type] # what ends a task
    try:
        await teller(lab, ca).tell("issuing")
    except asyncio.CancelledError:
        lab.now += LEASE
    assert await teller(lab, ca).tell("issuing") == 3
    assert len(ca.revoked) == 3


async def test_one_of_two_processes_tells(store: Store) -> None:
    lab, ca = await revoked(store, 5), ElsewhereCa()
    tried = await asyncio.gather(*(teller(lab, ca).tell("issuing") for _ in range(4)))
    assert sorted(tried) == [0, 0, 0, 5]
    assert len(ca.revoked) == 5


async def test_the_watch_tells_by_itself_and_outlives_trouble(store: Store) -> None:
    lab, ca = await revoked(store), ElsewhereCa()
    ca.failures += [RuntimeError("a fault"), StoreUnavailable("full"), IssuerError("odd")]
    watching = teller(lab, ca)
    watching.start()
    async with asyncio.timeout(60):
        while not ca.revoked:
            lab.now += LEASE
            await asyncio.sleep(0.01)
    await watching.stop()


async def test_without_such_a_ca_nothing_is_watched(store: Store) -> None:
    idle = Teller(store, {}, lambda: Lab.make(store).now)
    idle.start()
    await idle.stop()


async def test_what_was_postponed_under_a_wrong_clock_is_told_when_it_is_right(store: Store) -> None:
    lab, ca = await revoked(store), ElsewhereCa()
    lab.now += timedelta(days=1000)
    ca.failures.append(IssuerUnavailable("no route"))
    await teller(lab, ca).tell("issuing")
    lab.now -= timedelta(days=1000)
    assert await teller(lab, ca).tell("issuing") == 1
    assert len(ca.revoked) == 1
