from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from server.store import Store
from tests.fakes.database import empty_database
from tests.fakes.door import Door, FlakyStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, MutableMapping
    from pathlib import Path


@pytest.fixture(autouse=True)
def events() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged; nothing is written, which would take longer than the tests."""
    with capture_logs() as events:
        yield events


@pytest.fixture
def url(tmp_path: Path) -> str:
    return empty_database(tmp_path / "certwright.db")


@pytest.fixture
async def store(url: str) -> AsyncIterator[FlakyStore]:
    store = FlakyStore(await Store.open(url, busy_timeout=0.1))
    yield store
    await store.close()


@pytest.fixture
def door(store: FlakyStore) -> Door:
    return Door(store)
