"""ACME with two worker processes: one nonce for all of them, workers that are killed, a person who approves."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from server.bench.process import free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.conformance.acme.client import Answer, Client, Http, make_csr, to_json
from tests.conformance.acme.responders import Responder
from tests.wire.running import openssl_verify, serve, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

WORKERS = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two workers, and a directory whose orders a person must approve."""
    https, http, admin, http01 = free_ports(4)
    folder = tmp_path_factory.mktemp("workers") / "deployment"
    deployment = create(folder, ports=Ports(https, http, admin, http01), clock=system_clock)
    text = deployment.config.read_text()
    block = re.search(r"(?m)^  acme/default:\n(?:    .*\n)+", text)
    assert block
    by_hand = block[0].replace("acme/default", "acme/by-hand").replace("[tls-server]", "[by-hand]")
    deployment.config.write_text(text + "\n" * (not text.endswith("\n")) + by_hand)
    policy = (folder / "policies" / "tls-server.yaml").read_text().partition("\ntests:")[0]
    policy = policy.replace("  tls-server:\n", "  by-hand:\n    approval: manual\n")
    (folder / "policies" / "by-hand.yaml").write_text(policy)
    running = serve(deployment, workers=WORKERS)
    yield running
    assert running.process.stop() == 0, running.process.tail()


@pytest.fixture
def trust(server: RunningServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.root_pem)


@contextmanager
def connected(server: RunningServer, trust: ssl.SSLContext, label: str = "") -> Iterator[Client]:
    """A client with an account, whose answers to challenges are served while it is there."""
    http = Http(trust)
    directory = "/".join(filter(None, (server.https_url, "acme", label, "directory")))
    pages: dict[str, str] = {}
    client = Client(http, directory, pages.__setitem__)
    try:
        assert client.register().status == 201
        yield client
    finally:
        http.close()


def answer_all(client: Client, order: Answer, responder: Responder) -> None:
    """Show control over every name of an order."""
    for url in order.json["authorizations"]:
        challenge = client.post(url).json["challenges"][0]
        responder.publish(challenge["token"], f"{challenge['token']}.{client.key.thumbprint}")
        client.post(challenge["url"], {})
    for url in order.json["authorizations"]:
        assert client.until(url, "valid", "invalid").json["status"] == "valid"


def finish(client: Client, server: RunningServer, order: str, folder: Path) -> None:
    """Download the certificate of a valid order and look at it as openssl does."""
    pem = client.post(client.until(order, "valid", "invalid").json["certificate"]).body
    (folder / "leaf.pem").write_bytes(pem)
    openssl_verify(server, folder / "leaf.pem", "sslserver")
    assert server.is_stored(x509.load_pem_x509_certificates(pem)[0])


def test_fifty_posts_with_one_nonce_to_two_workers_are_one_success(
    server: RunningServer, trust: ssl.SSLContext
) -> None:
    with connected(server, trust) as client:
        url, nonce = str(client.kid), client.nonce()
        bodies = [to_json(client.jws(url, nonce=nonce)) for _ in range(50)]

    def send(body: bytes) -> Answer:
        own = Http(trust)  # a connection each: they come to one worker or the other
        try:
            return own.request("POST", url, body, {"Content-Type": "application/jose+json"})
        finally:
            own.close()

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(send, bodies))
    assert sorted(each.status for each in answers) == [200] + 49 * [400]
    assert {each.error for each in answers} == {"", "badNonce"}


def test_a_validation_survives_the_worker_that_made_it(
    server: RunningServer, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    with connected(server, trust) as client:
        order = client.order("killed.localhost")
        (url,) = order.json["authorizations"]
        challenge = client.post(url).json["challenges"][0]
        before = set(server.process.family()[1:])
        with closing(socket.create_server(("127.0.0.1", server.http01_port))) as silent:
            client.post(challenge["url"], {})
            silent.settimeout(60)
            attempt, _ = silent.accept()  # a worker asks, and gets no answer
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            attempt.close()
        client.http.drop(client.directory_url.split("/")[2])

        def replaced() -> bool | None:
            now = set(server.process.family()[1:])
            return True if len(now - before) >= WORKERS else None

        until(replaced, lambda: server.process.running, server.process.tail)
        # The time has come at which anybody may take the validation up: what the lease says, without the wait.
        with closing(sqlite3.connect(server.deployment.database, timeout=30)) as database:
            moved = database.execute(
                "UPDATE acme_authorizations SET next_attempt = '2000-01-01 00:00:00.000000+00:00' "
                "WHERE next_attempt IS NOT NULL"
            )
            assert moved.rowcount == 1
            database.commit()
        responder = Responder(server.http01_port)
        responder.publish(challenge["token"], f"{challenge['token']}.{client.key.thumbprint}")
        try:
            assert client.until(url, "valid", "invalid").json["status"] == "valid"
        finally:
            responder.close()
        csr = make_csr("killed.localhost")
        assert client.finalize(order, csr).status == 200
        finish(client, server, order.location, tmp_path)


def test_an_order_is_processing_until_a_person_approves(
    server: RunningServer, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    responder = Responder(server.http01_port)
    try:
        with connected(server, trust, "by-hand") as client:
            order = client.order("approved.localhost")
            answer_all(client, order, responder)
            csr = make_csr("approved.localhost")
            for _ in range(2):
                waiting = client.finalize(order, csr)
                assert (waiting.status, waiting.json["status"]) == (200, "processing")
                assert int(waiting.headers["Retry-After"]) > 0
            (pending,) = json.loads(server.said("request", "list", "--pending", "--json"))
            shown = server.said("order", "show", order.location, "--json")
            assert "finalized" in [each["what"] for each in json.loads(shown)["events"]]
            server.said("request", "approve", pending["id"], "--by", "alice")
            finish(client, server, order.location, tmp_path)
    finally:
        responder.close()
