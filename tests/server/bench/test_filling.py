"""server/bench/filling.py: what a store holds before it is measured."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from server.bench.filling import fill
from server.store import Store, upgrade
from server.store.certificates import list_certificates
from server.store.tables import audit_events, requests
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("count", [1, 5003])  # more than are written at once
async def test_a_store_holds_so_many_certificates_each_with_its_request_and_event(tmp_path: Path, count: int) -> None:
    url, told = f"sqlite+aiosqlite:///{tmp_path / 'filled.db'}", list[int]()
    upgrade(url)
    fill(tmp_path / "filled.db", count, now=NOW, random=os.urandom, done=told.append)
    assert sum(told) == count
    store = await Store.open(url)
    try:
        newest = (await store.read(list_certificates))[0]
        assert (newest.subject, newest.issued_at) == (f"CN=stored-{count - 1}", NOW)
        asked = sa.select(requests).where(requests.c.id == newest.request_id)
        row = await store.read(lambda c: c.execute(asked).one())
        assert (row.serial, row.state, row.requester) == (newest.serial, "issued", newest.requester)
        for number in (sa.func.count(requests.c.number), sa.func.count(audit_events.c.number)):
            counted = sa.select(number)
            assert await store.read(partial(sa.Connection.scalar, statement=counted)) == count
        assert await store.read(lambda c: c.exec_driver_sql("PRAGMA foreign_key_check").all()) == []
    finally:
        await store.close()
