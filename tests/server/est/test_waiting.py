"""Requests that wait for a person: who may make them, and how many there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.store.requests import list_requests
from tests.fakes.credential import credential, keep
from tests.server.est.lab import csr, lab

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {{one_time_passwords: true}}
  {most}: 2
"""


@pytest.mark.parametrize("most", ["most_pending", "most_pending_of_address"])
async def test_a_flood_fills_the_queue_so_far_and_no_further(folder: Path, most: str) -> None:
    file = folder / "policies" / "iot-device.yaml"
    head, _, _ = file.read_text().partition("\ntests:")
    file.write_text(head + "\n    approval: manual\n")
    async with lab(folder, ENDPOINTS.format(most=most)) as running:
        services = running.application.services
        await keep(services.store, credential("otp", username="pump", uses_left=9))
        devices = {name: csr(name) for name in ("pump-1", "pump-2", "pump-3")}

        async def ask(name: str) -> tuple[int, str | None]:
            answer = await running.post("simpleenroll", devices[name], basic=("pump", "otp"))
            return answer.status, answer.fields.get("Retry-After")

        assert (await running.post("simpleenroll", csr("nobody"))).status == 401
        assert await services.store.read(list_requests) == ()  # who is nobody does not wait
        assert [(await ask(name))[0] for name in devices] == [202, 202, 429]
        status, retry_after = await ask("pump-3")
        assert (status, retry_after is not None) == (429, True)
        assert (await ask("pump-1"))[0] == 202  # it waits already
        waiting = [each for each in await services.store.read(list_requests) if each.state == "pending"]
        assert len(waiting) == 2

        await services.enrollment.reject(waiting[0].id, "admin:eve", "no")
        assert (await ask("pump-3"))[0] == 202
