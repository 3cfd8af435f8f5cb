"""Secrets of the store: what comparing them costs, and for how long a used one still names who waits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from server.audit import Action, AuditEvent
from server.credentials.hashes import SecretVerifier, TooManyVerifications
from server.credentials.stored import Presented, StoredSecrets
from server.outcome import Pending
from server.store import Store
from server.store.credentials import CredentialKind, revoke
from tests.fakes.credential import EST, credential, keep, kept
from tests.fakes.database import empty_database
from tests.fakes.door import Door, ask
from tests.fakes.record import issued

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(empty_database(tmp_path / "certwright.db"))
    yield store
    await store.close()


def secrets_of(door: Door, seconds: Callable[[], float] = lambda: 0.0) -> StoredSecrets:
    """Return those of a door's record; whoever would compute argon2 is told that there is no room for it."""
    return StoredSecrets(door.record, SecretVerifier(b"k" * 32, waiting=0), lambda: door.now, seconds)


async def test_a_name_without_a_chosen_secret_costs_as_much_as_one_with_where_there_are_such_names(
    store: Store,
) -> None:
    """Where there are any is looked for once a minute."""
    now = 1000.0
    secrets = secrets_of(Door(store), lambda: now)
    unknown = Presented(CredentialKind.EST_PASSWORD, EST, "guess", "valve")
    assert await secrets.find(unknown, decoy=True) == (None, False)
    chosen = credential(None, username="pump", argon2="$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g")
    await keep(store, chosen, credential("once", id="once"))
    now += 59
    assert await secrets.find(unknown, decoy=True) == (None, False)
    now += 1
    for wrong in (unknown, unknown._replace(username="pump")):
        with pytest.raises(TooManyVerifications):
            await secrets.find(wrong, decoy=True)
    assert await secrets.find(unknown, decoy=False) == (None, False)
    found, compared = await secrets.find(unknown._replace(secret="once"), decoy=True)
    assert (found and found.id, compared) == ("once", False)


async def test_a_used_secret_names_who_waits_however_long_a_person_takes_and_a_week_after_that(store: Store) -> None:
    door = Door(store)
    door.policy.days = 90
    await keep(store, credential(id="otp", expires_at=door.now + DAY))
    waiting = await door.submit(ask("deferred", spends=("otp",)))
    assert isinstance(waiting, Pending)
    secrets, used = secrets_of(door), await kept(store, "otp")
    door.now += 30 * DAY
    assert await secrets.why_not(used) is None
    issued(await door.approve(waiting.request_id, "admin:ann"))
    for passed, objection in ((7 * DAY, None), (SECOND, "expired")):
        door.now += passed
        assert await secrets.why_not(used) == objection


async def test_a_used_secret_names_who_has_a_certificate_for_it_for_a_day(store: Store) -> None:
    door = Door(store)
    await keep(store, credential(id="otp"))
    issued(await door.submit(ask(spends=("otp",))))
    secrets, used = secrets_of(door), await kept(store, "otp")
    for passed, objection in ((DAY, None), (SECOND, "used up")):
        door.now += passed
        assert await secrets.why_not(used) == objection


async def test_a_secret_that_is_withdrawn_names_nobody_though_its_request_waits(store: Store) -> None:
    door = Door(store)
    await keep(store, credential(id="otp"))
    assert isinstance(await door.submit(ask("deferred", spends=("otp",))), Pending)
    event = AuditEvent(door.now, Action.CREDENTIAL_ENDED, "admin:ann").row()
    assert await store.write(lambda connection: revoke(connection, "otp", door.now, event))
    assert await secrets_of(door).why_not(await kept(store, "otp")) == "withdrawn"
