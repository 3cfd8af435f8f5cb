"""Policy files that change while clients enroll, on a real server with two workers."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import device
from tests.wire.running import require_program, run, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

RULE = """    rules:
      - id: no-pumps
        require: csr.names.dns.all(name, !name.startsWith("pump-"))
        message: pumps come with the waterworks' own profile
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start(tmp_path_factory.mktemp("policy") / "deployment", workers=2)
    yield server
    assert server.process.stop() == 0, server.process.tail()


def policy(server: RunningServer) -> Path:
    return server.folder / "policies" / "iot-device.yaml"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def ready(server: RunningServer) -> str:
    with urllib.request.urlopen(f"{server.admin_url}/readyz", timeout=5) as reply:  # noqa: S310 - http on loopback
        assert reply.status == 200
        return str(json.load(reply)["parts"]["policies"])


def enroll(server: RunningServer, csr: Path) -> tuple[int, str]:
    program = require_program("curl")
    arguments = ("--silent", "--cacert", server.root_pem, "--user", f"{server.est_username}:{server.est_password}")
    post = ("-H", "Content-Type: application/pkcs10", "--data-binary", f"@{csr}", "--write-out", "\n%{http_code}")
    text, _, status = run(program, *arguments, *post, f"{server.est_url}/simpleenroll").stdout.rpartition("\n")
    return int(status), text


def until(holds: Callable[[], bool]) -> None:
    """Wait; each new connection may come to another worker, so that one answer is not enough."""
    end, agreed = time.monotonic() + 20, 0
    while agreed < 8:
        assert time.monotonic() < end
        agreed = agreed + 1 if holds() else 0
        time.sleep(0.05)


def test_a_rule_is_taken_by_every_worker_and_clients_see_its_message(running: RunningServer, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "pump-1.example")
    assert enroll(running, pump.csr)[0] == 200
    edit(policy(running), "\ntests:", f"{RULE}\ntests:")
    os.kill(running.process.pid, signal.SIGHUP)
    other = device(tmp_path / "other", "pump-2.example")
    until(lambda: enroll(running, other.csr)[0] != 200)
    status, text = enroll(running, other.csr)
    assert 400 <= status < 500
    assert "pumps come with the waterworks' own profile" in text


def test_bad_files_leave_the_last_good_ones_in_force(running: RunningServer, tmp_path: Path) -> None:
    edit(policy(running), "version: 1", "version: one")
    until(lambda: "the last good files are in force" in ready(running))  # by itself, without a signal
    assert "iot-device.yaml:" in ready(running)
    assert enroll(running, device(tmp_path / "valve", "valve-1.example").csr)[0] == 200
    edit(policy(running), "version: one", "version: 1")
    os.kill(running.process.pid, signal.SIGHUP)
    until(lambda: ready(running) == "ok")
