from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from cryptography import x509

from ca.issuer import IssuerUnavailable
from server.status import records
from server.status.publisher import Publisher
from server.status.records import Scope
from server.store import Store
from server.store.certificates import RevocationOutcome
from server.store.revocations import ReleaseOutcome, revocations
from tests.fakes.status import DAY, Lab

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ca.crl import RevocationList

HOLD = x509.ReasonFlags.certificate_hold
SECONDS = timedelta(seconds=6)


def serials(crl: x509.CertificateRevocationList) -> list[int]:
    return [entry.serial_number for entry in crl]


def number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


async def test_the_first_list_is_made_at_once_and_is_empty(store: Store) -> None:
    lab = Lab.make(store)
    assert await lab.publish() == 1
    crl = await lab.crl()
    assert (serials(crl), number(crl)) == ([], 1)
    assert (crl.last_update_utc, crl.next_update_utc) == (lab.now, lab.now + 7 * DAY)
    key = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key == lab.ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


async def test_nothing_is_made_before_it_is_due(store: Store) -> None:
    lab = Lab.make(store)
    await lab.publish()
    assert await lab.publish(DAY - SECONDS) == 0
    assert await lab.publish(SECONDS) == 1
    assert number(await lab.crl()) == 2


async def test_a_revocation_brings_a_list_with_all_that_were_revoked_meanwhile(store: Store) -> None:
    lab = Lab.make(store)
    await lab.add(1)
    await lab.add(2)
    await lab.publish()
    assert await lab.revoke(1, x509.ReasonFlags.key_compromise, lab.now - DAY) is RevocationOutcome.REVOKED
    assert await lab.publish(timedelta(seconds=2)) == 0
    await lab.revoke(2, x509.ReasonFlags.unspecified)
    assert await lab.publish(timedelta(seconds=3)) == 1
    crl = await lab.crl()
    first, second = crl
    assert (first.serial_number, second.serial_number) == (1, 2)
    assert first.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    since = first.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc
    assert since == first.revocation_date_utc - DAY
    assert not list(second.extensions)


async def test_a_revoked_certificate_stays_until_a_scheduled_list_after_its_end_has_named_it(store: Store) -> None:
    lab = Lab.make(store)
    await lab.add(1, not_after=timedelta(hours=36))
    await lab.add(2)
    await lab.publish()
    await lab.revoke(1)
    await lab.publish(SECONDS)
    await lab.publish(DAY)
    assert serials(await lab.crl()) == [1]
    await lab.revoke(2)
    await lab.publish(timedelta(hours=13))  # not on schedule, after the end
    assert serials(await lab.crl()) == [1, 2]
    assert await kept(store) == 2
    await lab.publish(timedelta(hours=11))  # on schedule, after the end: the last time
    assert serials(await lab.crl()) == [1, 2]
    await lab.publish(DAY)
    assert serials(await lab.crl()) == [2]
    assert await kept(store) == 1


async def kept(store: Store) -> int:
    """Count what lists may be made of."""
    count = sa.select(sa.func.count()).select_from(revocations)
    return await store.read(lambda connection: connection.scalar(count)) or 0


async def test_a_shard_that_lags_behind_keeps_what_has_expired(store: Store) -> None:
    lab = Lab.make(store, shards=1)
    await lab.add(1, not_after=timedelta(hours=36))
    await lab.revoke(1)
    await lab.publish()
    complete = lab.publisher()
    lab.now += 3 * DAY
    await complete._look_after(Scope("issuing"))
    lab.now += 3 * DAY
    await complete._look_after(Scope("issuing"))
    assert await kept(store) == 1
    await lab.publish()
    await lab.publish(DAY)
    assert await kept(store) == 0
    assert await lab.revoke(1) is RevocationOutcome.ALREADY_REVOKED


async def test_a_hold_may_be_lifted_or_made_final_and_nothing_else_may_be_undone(store: Store) -> None:
    lab = Lab.make(store)
    await lab.add(1)
    assert await lab.revoke(1, HOLD) is RevocationOutcome.REVOKED
    assert await lab.revoke(1, HOLD) is RevocationOutcome.ALREADY_REVOKED
    assert await lab.release(1) is ReleaseOutcome.RELEASED
    assert await lab.release(1) is ReleaseOutcome.NOT_HELD
    await lab.publish()
    assert serials(await lab.crl()) == []
    await lab.revoke(1, HOLD)
    held = lab.now
    await lab.publish(SECONDS)
    assert await lab.revoke(1, x509.ReasonFlags.key_compromise) is RevocationOutcome.REVOKED
    assert await lab.revoke(1) is RevocationOutcome.ALREADY_REVOKED
    assert await lab.release(1) is ReleaseOutcome.NOT_HELD
    await lab.publish(SECONDS)
    (entry,) = await lab.crl()
    assert entry.revocation_date_utc == held
    assert await lab.revoke(9) is RevocationOutcome.UNKNOWN
    assert await lab.release(9) is ReleaseOutcome.UNKNOWN


async def test_one_of_many_processes_makes_a_list_and_numbers_only_grow(store: Store) -> None:
    lab = Lab.make(store)
    publishers = [lab.publisher(f"worker-{each}") for each in range(8)]
    numbers = []
    for _ in range(3):
        assert sum(await asyncio.gather(*(each.publish_due() for each in publishers))) == 1
        numbers.append(number(await lab.crl()))
        lab.now += DAY
    assert numbers == [1, 2, 3]


class LateStore(Store):
    """The store inside of it, for a process that others overtake before it writes for the first time."""

    def __init__(self, inner: Store, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self.inner = inner
        self.meanwhile: Callable[[], Awaitable[object]] | None = meanwhile

    async def read(self, work: Any) -> Any:
        return await self.inner.read(work)

    async def write(self, work: Any) -> Any:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await self.inner.write(work)


async def test_a_process_that_was_overtaken_takes_back_no_revocation(store: Store) -> None:
    lab = Lab.make(store)
    await lab.add(1)
    await lab.publish()
    lab.now += DAY

    async def meanwhile() -> None:
        await lab.revoke(1)
        await lab.publish()

    late = Publisher(LateStore(store, meanwhile), {"issuing": lab.settings}, lambda: lab.now, "late", pause=0.01)
    assert await late.publish_due() == 0
    crl = await lab.crl()
    assert (serials(crl), number(crl)) == ([1], 2)
    await lab.publish(DAY)
    assert serials(await lab.crl()) == [1]


async def test_a_process_that_dies_over_a_list_is_replaced_when_its_lease_is_over(store: Store) -> None:
    lab, scope = Lab.make(store), Scope("issuing")
    lease = lab.now + timedelta(minutes=5)
    task = await store.write(lambda c: records.claim(c, scope, "the dead", lab.now, lease))
    assert task is not None
    assert await lab.publish() == 0
    assert await lab.publish(timedelta(minutes=6)) == 1
    assert number(await lab.crl()) == 2
    assert await store.write(lambda c: records.publish(c, task, [], lab.now)) is False


async def test_a_ca_that_can_not_sign_now_is_asked_again(store: Store) -> None:
    lab = Lab.make(store)

    class Moody:
        async def sign_crl(self, content: RevocationList) -> bytes:
            if content.number == 1:
                raise IssuerUnavailable("the HSM sleeps")
            return await sound.sign_crl(content)

    sound = lab.settings.issuer
    object.__setattr__(lab.settings, "issuer", Moody())
    assert await lab.publish() == 0
    assert await lab.publish() == 1
    assert number(await lab.crl()) == 2


async def test_the_watch_publishes_by_itself(store: Store) -> None:
    lab = Lab.make(store)
    publisher = lab.publisher()
    publisher.start()
    found: int | None = None
    for _ in range(500):
        found = await store.read(lambda c: records.number(c, Scope("issuing"), delta=False))
        if found is not None:
            break
        await asyncio.sleep(0.01)
    await publisher.stop()
    assert found == 1


@pytest.mark.parametrize("kind", ["P-384", "ed25519", "rsa:2048", "ml-dsa-65"])
async def test_every_kind_of_key_signs_lists(store: Store, kind: str) -> None:
    lab = Lab.make(store, kind)
    await lab.publish()
    await lab.crl()


async def test_a_clock_that_was_years_ahead_leaves_no_gap_in_the_lists(store: Store) -> None:
    lab = Lab.make(store)
    for serial in (1, 2, 3):
        await lab.add(serial)
    await lab.revoke(1, x509.ReasonFlags.key_compromise)
    await lab.publish()
    lab.now += 3000 * DAY
    await lab.revoke(2)
    await lab.publish()
    await lab.publish(DAY)
    before = await lab.crl()
    assert serials(before) == []  # so it seems
    assert await kept(store) == 0
    lab.now -= 3000 * DAY  # the clock is right again
    assert await lab.publish() == 1
    crl = await lab.crl()
    assert number(crl) > number(before)
    assert crl.last_update_utc == lab.now
    assert sorted(serials(crl)) == [1, 2]
    await lab.revoke(3)
    await lab.publish(SECONDS)
    assert sorted(serials(await lab.crl())) == [1, 2, 3]


async def test_a_lease_from_under_a_wrong_clock_does_not_last(store: Store) -> None:
    lab = Lab.make(store)
    ahead = lab.now + 3000 * DAY
    scope, until = Scope("issuing"), ahead + timedelta(minutes=5)
    assert await store.write(lambda c: records.claim(c, scope, "died", ahead, until)) is not None
    assert await lab.publish() == 1
