"""Timed refusals, at a SCEP endpoint in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestServer
from rich.console import Console

from server.bench.load import EnrollmentFailed
from server.bench.refusals import FAULTS, FaultyClient, measure_refusals, refusal_table
from server.config import Limits
from server.http import create_app
from server.scep.routes import mount
from tests.server.scep.device import NOW
from tests.server.scep.lab import make_lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server.scep.lab import Lab


async def _ready() -> dict[str, str]:
    return {}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = await make_lab(tmp_path)
    yield made
    await made.tear()


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[FaultyClient]:
    app = create_app("http", Limits(), _ready, lambda: "request")
    mount(app, {"default": lab.endpoint()})
    server = TestServer(app)
    await server.start_server()
    yield FaultyClient(str(server.make_url("/scep")), "sesame", clock=lambda: NOW, keys=1)
    await server.close()


async def test_each_fault_is_found_behind_the_ras_key(lab: Lab, client: FaultyClient) -> None:
    done: list[None] = []
    found = await measure_refusals(client, 2, lambda: done.append(None))
    assert {fault: len(seconds) for fault, seconds in found.items()} == dict.fromkeys(FAULTS, 2)
    assert len(done) == 2 * len(FAULTS)
    details = [request.detail or "" for request in await lab.requests()]
    assert {request.reason for request in await lab.requests()} == {"malformed"}
    assert sum("deciphered" in detail for detail in details) >= 6, "two for each fault of the envelope, nearly always"
    assert sum("certification request" in detail for detail in details) >= 4
    assert await lab.issued() == 0


async def test_an_answer_that_is_no_refusal_gives_no_figures(client: FaultyClient) -> None:
    async with client:
        with pytest.raises(EnrollmentFailed, match="no CertRep FAILURE"):
            await client.refused(client.message("none of them"))


def test_a_request_needs_the_ras_certificate() -> None:
    client = FaultyClient("http://127.0.0.1/scep", "sesame", clock=lambda: NOW, keys=1)
    with pytest.raises(EnrollmentFailed, match="RA's certificate"):
        client.message(FAULTS[0])


def test_the_table_shows_differences_beside_the_noise() -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(refusal_table({fault: [0.001, 0.002, 0.003, 0.002] for fault in FAULTS}))
    shown = capture.get()
    assert "2000 µs" in shown
    assert all(fault in shown for fault in FAULTS)
