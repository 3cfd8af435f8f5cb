"""A server that dies at the worst moment: kill -9 under load of all three protocols, then a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from server.bench.acme import AcmeClient
from server.bench.est import EstClient
from server.bench.load import EnrollmentFailed
from server.bench.scep import ScepClient
from server.clock import system_clock
from tests.wire.running import serve, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.bench.acme import AcmeJob
    from server.bench.load import Enroller
    from tests.wire.running import RunningServer

ENOUGH = 25
"""Certificates that each protocol must have given before the server is killed."""
AT_ONCE = 8


class OrderingAcmeClient(AcmeClient):
    """Goes on with the order of a job that it ordered before, as certbot and lego do with theirs."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(server.acme_directory, server.root_pem, http01_port=server.http01_port)
        self._orders: dict[str, str] = {}

    async def order(self, job: AcmeJob) -> tuple[str, dict[str, Any]]:
        if job.name in self._orders:
            return await self.resume(self._orders[job.name])
        url, order = await super().order(job)
        self._orders[job.name] = url
        return url, order


@dataclass
class Round:
    """One protocol's load until the kill: what was received, and what was under way."""

    client: Enroller[Any]
    received: list[x509.Certificate] = field(default_factory=list)
    interrupted: list[Any] = field(default_factory=list)
    killed: bool = False

    async def hammer(self) -> None:
        """Enroll until the server is gone: what it had answered by then may still be on its way here."""
        while True:
            job = self.client.prepare()
            try:
                reply = await self.client.send(job)
            except EnrollmentFailed:
                self.interrupted.append(job)
                if not self.killed:
                    raise
                return
            self.received.append(self.client.certificate(job, reply))

    async def retry(self) -> None:
        replies = await asyncio.gather(*(self.client.send(job) for job in self.interrupted))
        self.received += [self.client.certificate(*each) for each in zip(self.interrupted, replies, strict=True)]


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def victim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    running = start(tmp_path / "deployment", workers=request.param)
    yield running
    running.process.kill()


def clients(server: RunningServer) -> list[Enroller[Any]]:
    return [
        EstClient(server.est_url, server.root_pem, server.est_username, server.est_password),
        ScepClient(server.scep_url, server.scep_challenge, clock=system_clock, keys=4),
        OrderingAcmeClient(server),
    ]


async def kill_under_load(server: RunningServer, rounds: list[Round]) -> None:
    work = [asyncio.create_task(each.hammer()) for each in rounds for _ in range(AT_ONCE)]
    while min(len(each.received) for each in rounds) < ENOUGH:
        await asyncio.sleep(0.02)
        for task in work:
            if task.done():
                task.result()  # raises what went wrong before the kill
    for each in rounds:
        each.killed = True
    server.process.kill()
    await asyncio.gather(*work)


def name_of(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(names.get_values_for_type(x509.DNSName)[0])


async def test_after_kill_9_no_received_certificate_is_lost_and_a_retry_gives_exactly_one(
    victim: RunningServer,
) -> None:
    async with AsyncExitStack() as stack:
        rounds = [Round(await stack.enter_async_context(client)) for client in clients(victim)]
        await kill_under_load(victim, rounds)
        received = [certificate for each in rounds for certificate in each.received]
        stored = victim.stored_certificates()
        assert set(received) <= set(stored)

        restarted = serve(victim.deployment)
        try:
            assert all(len(each.interrupted) == AT_ONCE for each in rounds)
            await asyncio.gather(*(each.retry() for each in rounds))
            final = restarted.stored_certificates()
        finally:
            assert restarted.process.stop() == 0, restarted.process.tail()
    received = [certificate for each in rounds for certificate in each.received]
    assert set(stored) | set(received) <= set(final)
    assert max(Counter(certificate.serial_number for certificate in final).values()) == 1
    assert max(Counter(name_of(certificate) for certificate in final).values()) == 1
