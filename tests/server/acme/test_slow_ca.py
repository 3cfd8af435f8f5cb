"""A CA that says "later": the order is processing until a poll finds the certificate, also after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.fakes.slow_ca import SlowCa
from tests.server.acme.lab import PROFILE_TEXT, make_csr, make_lab, tear

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server.acme.lab import GatedIssuer, Lab


@pytest_asyncio.fixture
async def slow(tmp_path: Path) -> AsyncIterator[tuple[Lab, SlowCa]]:
    made: list[SlowCa] = []

    def later(inner: GatedIssuer) -> SlowCa:
        made.append(SlowCa(inner, waits=2))
        return made[0]

    lab = await make_lab(tmp_path, PROFILE_TEXT, later)
    yield lab, made[0]
    await tear(lab)


async def test_the_order_is_processing_until_the_ca_is_done(slow: tuple[Lab, SlowCa]) -> None:
    lab, ca = slow
    client = await lab.client()
    order = await client.ready("later.localhost")
    csr = make_csr("later.localhost")
    waiting = await client.finalize(order, csr)
    assert (waiting.status, waiting.body["status"]) == (200, "processing")
    assert int(waiting.headers["Retry-After"]) > 0
    assert "certificate" not in waiting.body
    done = await client.until(order.location, "valid", "invalid")
    assert (await client.post(done.body["certificate"])).status == 200
    assert (await client.finalize(order, csr)).body == done.body
    assert {permit.request_id for permit in ca.permits} == {ca.permits[0].request_id}
    assert ca.waits == 0


async def test_a_restart_while_the_ca_takes_its_time_loses_nothing(slow: tuple[Lab, SlowCa]) -> None:
    lab, ca = slow
    client = await lab.client()
    order = await client.ready("restart.localhost")
    assert (await client.finalize(order, make_csr("restart.localhost"))).body["status"] == "processing"
    await lab.serve()
    assert (await client.until(order.location, "valid", "invalid")).body["status"] == "valid"
    assert len(lab.issuer.issued) == 1
    assert ca.waits == 0
