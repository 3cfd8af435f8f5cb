"""A deployment to build the application from, and for commands to work on; made once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from server.clock import system_clock
from server.config import load_config
from server.deployment.folder import Ports
from server.deployment.making import create

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "deployment"
    create(folder, ports=Ports(0, 0, 0, 5002), clock=system_clock)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A deployment of the test's own, on ports that are free."""
    return shutil.copytree(made, tmp_path / "deployment")


@pytest.fixture
def config(folder: Path) -> Config:
    return load_config(folder / "server.yaml")
