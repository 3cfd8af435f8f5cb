from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.store import Store
from tests.fakes.database import empty_database
from tests.fakes.door import Door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return empty_database(tmp_path / "certwright.db")


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = await Store.open(url, busy_timeout=0.2)
    yield store
    await store.close()


@pytest.fixture
def door(store: Store) -> Door:
    return Door(store)
