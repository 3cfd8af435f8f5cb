"""Users that come and go while a real server with two workers is serving, as curl sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from tests.wire.devices import device
from tests.wire.running import require_program, run, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

WORKERS = 2
POST = ("-H", "Content-Type: application/pkcs10", "--write-out", "%{http_code} %{num_connects}\n")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start(tmp_path_factory.mktemp("secrets") / "deployment", workers=WORKERS)
    yield server
    assert server.process.stop() == 0, server.process.tail()


def put(server: RunningServer, text: str) -> None:
    """Replace the file as an editor does: at once, by another."""
    file = server.folder / "secrets" / "est-passwords.yaml"
    coming = file.with_suffix(".new")
    coming.write_text(text, encoding="utf-8")
    coming.replace(file)


def until(server: RunningServer, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, server.process.tail()
        time.sleep(0.05)


def said(server: RunningServer, event: str) -> int:
    """How often it is in the log, which each worker writes to."""
    return server.process.log.read_text("utf-8").count(event)


def request(server: RunningServer, csr: Path, user: str, output: str | Path = os.devnull) -> tuple[str | Path, ...]:
    """Return how curl is told to ask for a certificate."""
    body = ("--data-binary", f"@{csr}", "--output", output)
    return "--silent", "--cacert", server.root_pem, "--user", user, *POST, *body, f"{server.est_url}/simpleenroll"


def test_users_come_and_go_without_a_restart_also_on_a_connection_that_is_kept(
    running: RunningServer, tmp_path: Path
) -> None:
    curl = require_program("curl")
    csr, gate = device(tmp_path / "pump", "pump-1.example").csr, tmp_path / "gate"
    first, added = f"{running.est_username}:{running.est_password}", "added:of-added"
    before = (running.folder / "secrets" / "est-passwords.yaml").read_text(encoding="utf-8")
    assert run(curl, *request(running, csr, added)).stdout == "401 1\n"

    put(running, f"{before}\nadded: {PasswordHasher().hash('of-added')}\n")
    until(running, lambda: said(running, "secrets taken") == WORKERS)  # by itself, without a signal

    # curl waits for a reader of what the first request got; then it asks again on the same connection.
    os.mkfifo(gate)
    issued = len(running.stored_certificates())
    twice = (*request(running, csr, added, gate), "--next", *request(running, csr, added))
    with subprocess.Popen([curl, *map(str, twice)], stdout=subprocess.PIPE, text=True) as asking:
        until(running, lambda: len(running.stored_certificates()) > issued)
        put(running, before)
        os.kill(running.process.pid, signal.SIGHUP)
        until(running, lambda: said(running, "secrets taken") == 2 * WORKERS)
        assert gate.read_bytes()
        told, _ = asking.communicate(timeout=60)
    assert told == "200 1\n401 0\n"
    assert run(curl, *request(running, csr, first)).stdout == "200 1\n"


def test_a_bad_file_is_told_and_the_last_good_one_stays_in_force(running: RunningServer, tmp_path: Path) -> None:
    curl = require_program("curl")
    before = (running.folder / "secrets" / "est-passwords.yaml").read_text(encoding="utf-8")
    put(running, "added: a password in the clear\n")
    os.kill(running.process.pid, signal.SIGHUP)
    until(running, lambda: said(running, "secrets not taken") == WORKERS)
    with urllib.request.urlopen(f"{running.admin_url}/readyz", timeout=5) as reply:  # noqa: S310 - http on loopback
        assert "the last good secrets are in force" in json.load(reply)["parts"]["secrets"]
    csr, user = device(tmp_path / "valve", "valve-1.example").csr, f"{running.est_username}:{running.est_password}"
    assert run(curl, *request(running, csr, user)).stdout == "200 1\n"
    put(running, before)
    os.kill(running.process.pid, signal.SIGHUP)
    until(running, lambda: said(running, "files of secrets are good again") == WORKERS)
