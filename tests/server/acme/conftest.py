"""An ACME endpoint to talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.fakes.dns_server import NXDOMAIN, DnsServer, Zone
from tests.server.acme.lab import Lab, make_lab, tear

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest_asyncio.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = await make_lab(tmp_path)
    yield made
    await tear(made)


@pytest.fixture
def zone() -> Zone:
    """What the DNS server says, by name; a number is the error code of an answer without records."""
    return {}


@pytest.fixture
def server(zone: Zone) -> Iterator[DnsServer]:
    """A DNS server for the zone; other names do not exist."""
    made = DnsServer(lambda name: zone.get(name, NXDOMAIN))
    yield made
    made.close()
