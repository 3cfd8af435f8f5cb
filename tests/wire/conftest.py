"""One real server for all foreign clients, over a deployment made as `certwright init` makes it."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from tests.wire.acme_site import acme_site
from tests.wire.running import start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.deployment.folder import Deployment
    from tests.wire.acme_site import AcmeSite
    from tests.wire.running import RunningServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what waits for a client in the background behind all other tests of its file."""
    items[:] = [
        item
        for _, file in groupby(items, key=lambda item: item.path)
        for item in sorted(file, key=lambda item: item.get_closest_marker("waits") is not None)
    ]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for tests that leave it as they found it; it must stop cleanly at the end."""
    running = start(tmp_path_factory.mktemp("wire") / "deployment")
    yield running
    assert running.process.stop() == 0, running.process.tail()


@pytest.fixture(scope="session")
def deployment(server: RunningServer) -> Deployment:
    """The folder that the server serves."""
    return server.deployment


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeSite]:
    """A server with all challenges of ACME, for clients that leave it as they found it."""
    with acme_site(tmp_path_factory.mktemp("acme")) as made:
        yield made


@pytest.fixture(scope="session")
def eab_key(site: AcmeSite) -> tuple[str, str]:
    """The identifier and the text of a key with which any number of accounts may be bound in the site's ``bound``."""
    command = ("eab", "new", "acme/bound", "--uses", "0", "--name", "dns:**.localhost", "--json")
    made = json.loads(site.server.said(*command))
    return made["kid"], made["hmac_key"]
