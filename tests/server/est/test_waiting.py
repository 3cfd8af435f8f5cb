"""Requests that wait for a person: who may make them, and how many there may be."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from server.clock import system_clock
from server.outcome import Issued
from server.store.requests import list_requests
from tests.fakes.credential import credential, keep, kept
from tests.server.est.lab import csr, lab

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {{one_time_passwords: true}}
  {most}: 2
"""


def let_wait(folder: Path, approval: str = "manual") -> None:
    file = folder / "policies" / "iot-device.yaml"
    head, _, _ = file.read_text().partition("\ntests:")
    file.write_text(f"{head}\n    approval: {approval}\n")


@pytest.mark.parametrize("most", ["most_pending", "most_pending_of_address"])
async def test_a_flood_fills_the_queue_so_far_and_no_further(folder: Path, most: str) -> None:
    let_wait(folder)
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


async def test_a_password_of_one_use_asks_for_the_outcome_however_long_a_person_takes(folder: Path) -> None:
    let_wait(folder)
    passed = [timedelta(0)]
    key = ec.generate_private_key(ec.SECP256R1())
    async with lab(folder, ENDPOINTS.format(most="most_pending"), clock=lambda: system_clock() + passed[0]) as running:
        services = running.application.services
        await keep(services.store, credential("otp", username="pump", expires_at=system_clock() + timedelta(days=1)))

        async def ask(after: timedelta, name: str = "pump") -> tuple[int, bytes]:
            passed[0] = after
            answer = await running.post("simpleenroll", csr(name, key=key), basic=("pump", "otp"))
            return answer.status, answer.body

        assert [(await ask(timedelta(days=days)))[0] for days in (0, 1.5, 3)] == [202, 202, 202]
        assert (await ask(timedelta(days=3), "valve"))[0] == 401  # it is good for nothing else
        (waiting,) = [one for one in await services.store.read(list_requests) if one.state == "pending"]
        assert isinstance(await services.enrollment.approve(waiting.id, "admin:eve"), Issued)
        status, certificate = await ask(timedelta(days=3.5))
        assert status == 200
        assert await ask(timedelta(days=9.9)) == (200, certificate)  # it may come but once a day
        assert (await ask(timedelta(days=10.1)))[0] == 401


async def test_what_a_person_has_refused_is_refused_for_a_day(folder: Path) -> None:
    let_wait(folder)
    passed = [timedelta(0)]
    key = ec.generate_private_key(ec.SECP256R1())
    async with lab(folder, ENDPOINTS.format(most="most_pending"), clock=lambda: system_clock() + passed[0]) as running:
        services = running.application.services
        await keep(services.store, credential("otp", id="once", username="pump"))

        async def ask(after: timedelta) -> int:
            passed[0] = after
            return (await running.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"))).status

        assert await ask(timedelta(0)) == 202
        (waiting,) = await services.store.read(list_requests)
        passed[0] = timedelta(days=2)
        await services.enrollment.reject(waiting.id, "admin:eve", "no")
        assert [await ask(timedelta(days=days)) for days in (2.5, 3.1)] == [403, 401]
        assert (await kept(services.store, "once")).uses_left == 0


async def test_what_nobody_approves_in_time_may_be_asked_again_with_the_same_password(folder: Path) -> None:
    let_wait(folder, "{count: 1, expires: 2d}")
    passed = [timedelta(0)]
    key = ec.generate_private_key(ec.SECP256R1())
    async with lab(folder, ENDPOINTS.format(most="most_pending"), clock=lambda: system_clock() + passed[0]) as running:
        services = running.application.services
        await keep(services.store, credential("otp", username="pump"))
        for passed[0] in (timedelta(0), timedelta(days=2.5)):
            assert (await running.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"))).status == 202
        assert sorted(one.state for one in await services.store.read(list_requests)) == ["pending", "refused"]
