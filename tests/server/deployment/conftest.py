from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from server.deployment.making import create

if TYPE_CHECKING:
    from server.clock import Clock
    from server.deployment.folder import Deployment

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)


@pytest.fixture(scope="session")
def clock() -> Clock:
    return lambda: NOW


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Deployment:
    """A deployment that tests look at and leave as it is."""
    return create(tmp_path_factory.mktemp("made") / "new" / "deployment", clock=clock, hostnames=["ca.example.com"])
