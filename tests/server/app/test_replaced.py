"""Certificates that were renewed end when the profile of the new one says so."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from policies.profile import parse_profiles
from policies.profile_set import ProfileSet
from policies.request import Kind
from server.app.live_policies import LivePolicies
from server.app.replaced import Replaced
from server.outcome import Issued
from server.store import Store, StoreUnavailable
from server.store.certificates import find_by_request, list_certificates, renewed_from
from tests.fakes.database import empty_database
from tests.fakes.door import Door, ask
from tests.fakes.issuer import NOW
from tests.fakes.policy import CEILINGS, ISSUER, MINIMAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = empty_database(tmp_path / "certwright.db")
    opened = await Store.open(url)
    yield opened
    await opened.close()


def live(replaced: object) -> LivePolicies:
    content = {"version": 1, "profiles": {"scripted": {**MINIMAL, "renewal": {"replaced": replaced}}}}
    parsed = parse_profiles(json.dumps(content), "d.yaml")
    profiles = ProfileSet(parsed, ceilings=CEILINGS, issuers={"issuing": ISSUER})
    return LivePolicies(profiles, lambda: profiles, lambda: 0)


async def renewed(door: Door, store: Store) -> None:
    first = await door.submit(ask("pump"))
    assert isinstance(first, Issued)
    old = await store.read(lambda c: find_by_request(c, first.request_id))
    assert old is not None
    door.now = NOW + timedelta(days=1)
    again = replace(ask("pump", key="again", now=door.now), kind=Kind.RENEW, renewed=renewed_from(old))
    assert isinstance(await door.submit(again), Issued)


async def reasons(store: Store) -> list[str | None]:
    found = await store.read(list_certificates)
    return [one.revocation_reason for one in sorted(found, key=lambda one: one.issued_at)]


async def after(store: Store, replaced: object, **waits: float) -> list[str | None]:
    door = Door(store)
    await renewed(door, store)
    door.now += timedelta(**waits)
    await Replaced(live(replaced), store, door, lambda: door.now).check()
    return await reasons(store)


async def test_the_old_one_is_kept_unless_the_profile_says_otherwise(store: Store) -> None:
    assert await after(store, "keep", days=20) == [None, None]


async def test_the_old_one_is_revoked_after_a_while(store: Store) -> None:
    assert await after(store, {"revoke_after": "7d"}, days=7) == ["superseded", None]


async def test_the_old_one_is_not_revoked_at_once(store: Store) -> None:
    assert await after(store, {"revoke_after": "7d"}, days=6.9) == [None, None]


async def test_the_old_one_is_put_on_hold_first_and_revoked_later(store: Store) -> None:
    both = {"hold_after": "1h", "revoke_after": "7d"}
    assert await after(store, both, hours=2) == ["certificateHold", None]
    later = NOW + timedelta(days=9)
    door = Door(store)
    door.now = later
    await Replaced(live(both), store, door, lambda: later).check()
    assert await reasons(store) == ["superseded", None]


async def test_a_store_that_fails_is_asked_again_next_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(_: object) -> None:
        raise StoreUnavailable("as told")

    door = Door(store)
    await renewed(door, store)
    door.now += timedelta(days=9)
    with monkeypatch.context() as patched:
        patched.setattr(store, "read", failing)
        await Replaced(live({"revoke_after": "7d"}), store, door, lambda: door.now).check()
    assert await reasons(store) == [None, None]
