"""A running application with fullcmc."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.server.est.fullcmc.sending import ENDPOINTS, PROFILES, SEALING_KEY, Sender
from tests.server.est.lab import lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cmc") / "deployment"
    create(folder, ports=Ports(0, 0, 0, 5002), clock=system_clock)
    (folder / "secrets" / "sealing.key").write_text(SEALING_KEY)
    (folder / "policies" / "more.yaml").write_text(PROFILES)
    return folder


@pytest.fixture
async def sender(deployment: Path, tmp_path: Path) -> AsyncIterator[Sender]:
    async with lab(shutil.copytree(deployment, tmp_path / "deployment"), ENDPOINTS) as running:
        yield Sender(running)
