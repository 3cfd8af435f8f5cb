"""Approval by persons with a role, while clients wait: EST 202, SCEP PENDING with strongSwan, ACME's with lego."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from server.bench.process import free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.wire.devices import accept, device
from tests.wire.running import require_program, run, serve, until
from tests.wire.test_acme_lego import Lego
from tests.wire.test_scep_strongswan import Router, challenge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from tests.wire.running import RunningServer

APPROVAL = "    approval: {role: ra-officer, count: 2, expires: 1d}\n"


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server on which two officers must approve every certificate."""
    deployment = create(
        tmp_path_factory.mktemp("approvals") / "deployment", ports=Ports(*free_ports(4)), clock=system_clock
    )
    text = deployment.config.read_text()
    officers = "\napprovers: {ra-officer: [alice, bob], auditor: [eve]}\n\nendpoints:"
    deployment.config.write_text(text.replace("\nendpoints:", officers))
    for file in (deployment.folder / "policies").glob("*.yaml"):
        file.write_text(file.read_text().partition("\ntests:")[0] + APPROVAL)
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def pending(server: RunningServer) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(server.said("request", "list", "--pending", "--json"))
    return found


def approve(server: RunningServer, client: Future[object], name: str) -> None:
    """Approve the client's request as both officers, as soon as it waits; the auditor is not asked."""

    def waiting() -> str | None:
        return next((one["id"] for one in pending(server) if name in json.dumps(one)), None)

    found = until(waiting, lambda: not client.done(), lambda: repr(client.result()))
    refused = server.certwright("request", "approve", found, "--as", "eve", check=False)
    assert "does not have the role" in refused.stderr
    assert "1 more with the role ra-officer" in server.said("request", "approve", found, "--as", "alice")
    assert not client.done()
    assert "is approved" in server.said("request", "approve", found, "--as", "bob")


def test_curl_asks_again_until_two_officers_have_approved(careful: RunningServer, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "waiting-3.example")

    def ask() -> str:
        return run(
            *(require_program("curl"), "--silent", "--cacert", careful.root_pem),
            *("--user", f"{careful.est_username}:{careful.est_password}", "-H", "Content-Type: application/pkcs10"),
            *("--data-binary", f"@{pump.csr}", "--output", "/dev/null", "--write-out", "%{http_code}"),
            f"{careful.est_url}/simpleenroll",
        ).stdout

    assert ask() == "202"
    (found,) = [one["id"] for one in pending(careful) if pump.name in json.dumps(one)]
    careful.said("request", "approve", found, "--as", "alice")
    assert ask() == "202"
    careful.said("request", "approve", found, "--as", "bob")
    assert ask() == "200"


def test_strongswan_polls_until_two_officers_have_approved(careful: RunningServer, tmp_path: Path) -> None:
    router = Router(tmp_path, "waiting-1.example")
    with ThreadPoolExecutor(1) as thread:
        client: Future[object] = thread.submit(router.enroll, careful, *challenge(careful), "--interval", "1")
        approve(careful, client, router.name)
        client.result(60)
    accept(careful, router.certificate)


def test_lego_waits_for_an_order_that_two_officers_must_approve(careful: RunningServer, tmp_path: Path) -> None:
    lego = Lego(careful, tmp_path, name="waiting-2.localhost", options=("--cert.timeout", "90"))
    with ThreadPoolExecutor(1) as thread:
        client: Future[object] = thread.submit(lego, "run")
        approve(careful, client, lego.name)
        client.result(90)
    lego.accepted()
