from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.store import Store
from tests.fakes.database import empty_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = empty_database(tmp_path / "certwright.db")
    store = await Store.open(url, busy_timeout=0.2)
    yield store
    await store.close()
