"""A database that can't be written: no protocol hands out a certificate, and all work again when it can."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from server.bench.acme import AcmeClient
from server.bench.est import EstClient
from server.bench.load import EnrollmentFailed
from server.bench.scep import ScepClient
from server.clock import system_clock
from tests.wire.running import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from server.bench.load import Enroller
    from tests.wire.running import RunningServer


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start(tmp_path_factory.mktemp("faults") / "deployment")
    yield running
    running.process.kill()


@contextmanager
def locked_database(server: RunningServer) -> Iterator[None]:
    """Another process holds the write lock, as a stuck backup would."""
    with closing(sqlite3.connect(server.deployment.database, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


@contextmanager
def full_disk(server: RunningServer) -> Iterator[None]:
    """No file of the server can grow much: what a write then meets is an error of the operating system."""
    with closing(sqlite3.connect(server.deployment.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = max(path.stat().st_size for path in (server.deployment.database, server.process.log))
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in server.process.family()}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    yield
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


def est(server: RunningServer) -> Enroller[Any]:
    return EstClient(server.est_url, server.root_pem, server.est_username, server.est_password)


def scep(server: RunningServer) -> Enroller[Any]:
    return ScepClient(server.scep_url, server.scep_challenge, clock=system_clock, keys=4)


def acme(server: RunningServer) -> Enroller[Any]:
    return AcmeClient(server.acme_directory, server.root_pem, http01_port=server.http01_port)


async def enroll_until_refused(client: Enroller[Any]) -> tuple[str, Any]:
    """Enroll while the disk has room, and return how the server refused, and the request that it refused.

    The first thing that the disk has no room for may be what nobody waits for: that a name was validated. That order
    stays pending, and the next is refused.
    """
    for _ in range(200):
        job = client.prepare()
        try:
            await client.send(job)
        except EnrollmentFailed as error:
            if not str(error).startswith("still not valid"):
                return str(error), job
    pytest.fail("the fault has no effect")


@pytest.mark.parametrize("fault", [locked_database, full_disk])
@pytest.mark.parametrize("protocol", [est, scep, acme])
async def test_a_database_that_cannot_be_written_means_no_certificate_until_it_can(
    victim: RunningServer,
    protocol: Callable[[RunningServer], Enroller[Any]],
    fault: Callable[[RunningServer], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.bench.acme._PAUSES", [0.1] * 20)
    async with protocol(victim) as client:
        before = client.prepare()
        client.certificate(before, await client.send(before))
        with fault(victim):
            reason, refused = await enroll_until_refused(client)
            there = victim.stored_certificates()
        assert reason.startswith("HTTP 5")

        certificate = client.certificate(refused, await client.send(refused))
        assert certificate not in there
        assert set(victim.stored_certificates()) == {*there, certificate}
