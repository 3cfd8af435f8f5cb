"""What a rule of the policy says is what clients are told, over each protocol."""

from __future__ import annotations

import http.client
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from server.bench.process import free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.wire.devices import device, openssl, refusals
from tests.wire.running import require_program, run, serve
from tests.wire.test_acme_lego import Lego
from tests.wire.test_scep_strongswan import Router, challenge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

MESSAGE = "pumps come with the profile of the waterworks"
RULE = f"""
    rules:
      - id: no-pumps
        require: csr.names.dns.all(name, !name.startsWith("pump-"))
        message: {MESSAGE}
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose profiles have one rule more."""

    https, http_, admin, http01 = free_ports(4)
    folder = tmp_path_factory.mktemp("wire") / "deployment"
    deployment = create(folder, ports=Ports(https, http_, admin, http01), clock=system_clock)
    for file in (folder / "policies").glob("*.yaml"):
        profile, tests, rest = file.read_text().partition("\ntests:")
        file.write_text(f"{profile}{RULE}{tests}{rest}")
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


@contextmanager
def overheard(server: RunningServer) -> Iterator[tuple[RunningServer, list[bytes]]]:
    """Yield the server as it is reached through a proxy, and the bodies of the answers that went through it."""
    heard: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.deployment.ports.http, timeout=60)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection.request(self.command, self.path, body, {"Content-Type": self.headers.get("Content-Type", "")})
            answer = connection.getresponse()
            heard.append(answer.read())
            connection.close()
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Length"):
                self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(heard[-1])

        do_POST = do_GET  # noqa: N815 - its name there

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            ports = replace(server.deployment.ports, http=proxy.server_port)
            yield replace(server, deployment=replace(server.deployment, ports=ports)), heard
        finally:
            proxy.shutdown()
            thread.join()


def test_curl_reads_it_over_est(strict: RunningServer, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "pump-1.example")
    refused = run(
        *(require_program("curl"), "--silent", "--cacert", strict.root_pem),
        *("--user", f"{strict.est_username}:{strict.est_password}", "-H", "Content-Type: application/pkcs10"),
        *("--data-binary", f"@{pump.csr}", f"{strict.est_url}/simpleenroll"),
    )
    assert MESSAGE in refused.stdout
    assert refusals(strict, MESSAGE)


def test_what_strongswan_gets_over_scep_has_it(strict: RunningServer, tmp_path: Path) -> None:
    router = Router(tmp_path, "pump-2.example")
    with overheard(strict) as (reached, heard):
        refused = router.enroll(reached, *challenge(strict), check=False)
    assert refused.returncode != 0
    assert "badRequest" in refused.stderr
    # It doesn't show failInfoText (RFC 8894 section 3.2.1.6), but got it.
    (tmp_path / "reply").write_bytes(heard[-1])
    text = openssl("cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", tmp_path / "reply")
    assert MESSAGE in " ".join(text.split())


def test_lego_prints_it_over_acme(strict: RunningServer, tmp_path: Path) -> None:
    lego = Lego(strict, tmp_path, name="pump-3.localhost")
    refused = lego("run", check=False)
    assert refused.returncode != 0
    assert MESSAGE in refused.stdout + refused.stderr
