from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from server.store import notices
from server.store.notices import Untold
from tests.fakes.issuer import NOW
from tests.fakes.status import Lab

if TYPE_CHECKING:
    from server.store import Store
    from server.store.notices import Notice

LEASE = timedelta(minutes=10)
COMPROMISE = x509.ReasonFlags.key_compromise


@pytest.fixture
def lab(store: Store) -> Lab:
    return Lab.make(store)


async def take(lab: Lab) -> list[Notice]:
    now = lab.now
    return await lab.store.write(lambda connection: notices.take(connection, "issuing", now, now + LEASE))


async def tell(lab: Lab, notice: Notice) -> None:
    event = {"at": NOW, "action": "issuer-told", "actor": "certwright", "detail": ""}
    await lab.store.write(lambda connection: notices.told(connection, notice, NOW, event))


async def is_anything(lab: Lab) -> bool:
    return await lab.store.read(lambda connection: notices.is_anything(connection, "issuing", lab.now))


async def test_a_revocation_is_taken_by_one_until_its_lease_is_over(lab: Lab) -> None:
    for serial in (1, 2, 3):
        await lab.add(serial)
    assert not await is_anything(lab)
    await lab.revoke(2)
    assert await is_anything(lab)
    (notice,) = await take(lab)
    assert (notice.serial, notice.der, notice.reason) == (2, (2).to_bytes(20, "big"), x509.ReasonFlags.superseded)
    assert (notice.at, notice.attempts) == (NOW, 0)
    assert not await is_anything(lab)
    assert await take(lab) == []
    await lab.revoke(1)
    assert [one.serial for one in await take(lab)] == [1]
    lab.now += LEASE
    assert [(one.serial, one.attempts) for one in await take(lab)] == [(2, 1), (1, 1)]


async def test_a_hold_is_told_when_it_becomes_final(lab: Lab) -> None:
    for serial in (1, 2):
        await lab.add(serial)
        await lab.revoke(serial, x509.ReasonFlags.certificate_hold)
    assert await take(lab) == []
    await lab.release(1)
    await lab.revoke(2, x509.ReasonFlags.key_compromise)
    (notice,) = await take(lab)
    assert (notice.serial, notice.reason) == (2, x509.ReasonFlags.key_compromise)
    await lab.revoke(1, x509.ReasonFlags.superseded)
    assert [one.serial for one in await take(lab)] == [1]


async def test_what_was_told_is_told_again_when_its_key_turns_out_to_be_compromised(lab: Lab) -> None:
    for serial in (1, 2):
        await lab.add(serial)
        await lab.revoke(serial)
    for notice in await take(lab):
        await tell(lab, notice)
    await lab.revoke(2, COMPROMISE)
    assert await is_anything(lab)
    (again,) = await take(lab)
    assert (again.serial, again.reason, again.attempts) == (2, COMPROMISE, 0)
    await tell(lab, again)
    assert not await is_anything(lab)


async def test_what_turns_out_to_be_compromised_while_it_is_told_is_due_again(lab: Lab) -> None:
    for serial in (1, 2):
        await lab.add(serial)
    await lab.revoke(1)
    (before,) = await take(lab)
    await lab.revoke(1, COMPROMISE)
    await lab.revoke(2)
    assert [one.serial for one in await take(lab)] == [2]  # the first belongs to who tells it
    await tell(lab, before)
    assert [(one.serial, one.reason) for one in await take(lab)] == [(1, COMPROMISE)]


async def test_of_a_hold_there_is_nothing_to_tell(lab: Lab) -> None:
    for serial in (1, 2):
        await lab.add(serial)
        await lab.revoke(serial, x509.ReasonFlags.certificate_hold)
    await lab.release(1)
    assert not await is_anything(lab)


async def test_what_was_told_is_done_and_what_failed_is_seen(lab: Lab) -> None:
    for serial in (1, 2):
        await lab.add(serial)
        await lab.revoke(serial)
    await tell(lab, next(one for one in await take(lab) if one.serial == 1))
    later = NOW + timedelta(hours=1)
    await lab.store.write(lambda connection: notices.postpone(connection, 2, later, "no route"))
    assert await lab.store.read(lambda c: notices.untold(c, "issuing")) == Untold(1, "no route")
    assert await lab.store.read(lambda c: notices.standing(c, 1)) == (NOW, None)
    assert await lab.store.read(lambda c: notices.standing(c, 2)) == (None, "no route")
    assert await lab.store.read(lambda c: notices.standing(c, 3)) is None
    assert await take(lab) == []
    lab.now = later
    assert [one.serial for one in await take(lab)] == [2]
