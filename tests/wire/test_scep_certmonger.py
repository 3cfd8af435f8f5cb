"""SCEP with certmonger: its daemon as it is, on a private socket instead of a message bus."""

from __future__ import annotations

import os
import subprocess
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import accept, dns_names, refusals
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

_numbers = count(1)
_FOLDERS = ("REQUESTS_DIR", "CAS_DIR", "CONFIG_DIR", "LOCAL_CA_DIR", "TMPDIR")


class Certmonger:
    """A daemon with all its state in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {f"CERTMONGER_{name}": str(folder / name.lower()) for name in _FOLDERS}
        for path in self.environment.values():
            os.mkdir(path)  # noqa: PTH102 - texts for the environment
        self.environment["CERTMONGER_SYSTEM_LOCK_FILE"] = str(folder / "lock")
        self.environment["CERTMONGER_PVT_ADDRESS"] = f"unix:path={folder / 'socket'}"
        program = require_program("certmonger")
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [program, "-n", "-L", "-P", str(folder / "socket")],
            env=os.environ | self.environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def getcert(self, *arguments: str | Path) -> str:
        program = require_program("getcert", "apt-get install certmonger")
        return run(program, *arguments, environment=self.environment, check=False).stdout

    def add_ca(self, server: RunningServer, path: str = "") -> None:
        """Make the server known, once the daemon answers, and wait until its certificates are fetched."""
        files = ("-R", server.root_pem, "-N", server.chain_pem, "-r", server.ra_pem)
        self.wait_for("list-cas", "SelfSign")
        assert "added" in self.getcert("add-scep-ca", "-c", "certwright", "-u", server.scep_url + path, *files)
        self.wait_for("list-cas", "SCEP CA certificate thumbprint")

    def wait_for(self, command: str, text: str) -> None:
        for _ in range(150):
            if text in self.getcert(command):
                return
            time.sleep(0.2)
        pytest.fail(f"getcert {command} never said {text!r}:\n{(self.folder / 'log').read_text()}", pytrace=False)

    def request(self, name: str, challenge: str, *options: str) -> str:
        """Ask for a certificate with a new key and return the state that it comes to."""
        self.ask(name, challenge, "-w", *options)
        return self.state(name)

    def ask(self, name: str, challenge: str, *options: str) -> None:
        """Ask for a certificate with a new key."""
        files = ("-k", self.folder / f"{name}.key", "-f", self.certificate(name), "-I", name)
        self.getcert("request", "-c", "certwright", *files, "-N", f"CN={name}", "-L", challenge, *options)

    def state(self, name: str) -> str:
        return self.getcert("list", "-i", name)

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


@pytest.fixture(scope="module")
def certmonger(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certmonger]:
    daemon = Certmonger(tmp_path_factory.mktemp("certmonger"))
    try:
        daemon.add_ca(server)
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def name() -> str:
    return f"certmonger-{next(_numbers)}.example"


def test_a_host_enrolls_renews_and_changes_its_key(server: RunningServer, certmonger: Certmonger, name: str) -> None:
    assert "status: MONITORING" in certmonger.request(name, server.scep_challenge, "-D", name)
    first = accept(server, certmonger.certificate(name))
    certmonger.getcert("resubmit", "-i", name, "-w")
    renewed = accept(server, certmonger.certificate(name))
    certmonger.getcert("rekey", "-i", name, "-w")
    rekeyed = accept(server, certmonger.certificate(name))

    assert "status: MONITORING" in certmonger.state(name)
    assert dns_names(first) == dns_names(renewed) == dns_names(rekeyed) == [name]
    assert len({first.serial_number, renewed.serial_number, rekeyed.serial_number}) == 3
    assert first.public_key() == renewed.public_key() != rekeyed.public_key()


def test_a_wrong_challenge_is_a_rejection_and_on_record(
    server: RunningServer, certmonger: Certmonger, name: str
) -> None:
    """certmonger says CA_UNREACHABLE and asks for ever where the reply has no content at all."""
    state = certmonger.request(name, "guess", "-D", name)

    assert "status: CA_REJECTED" in state
    assert "not permitted" in state
    assert not certmonger.certificate(name).exists()
    assert refusals(server, "bad-credentials")


def test_a_forbidden_name_is_a_rejection_and_on_record(
    server: RunningServer, certmonger: Certmonger, name: str
) -> None:
    before = len(refusals(server, "policy"))

    assert "status: CA_REJECTED" in certmonger.request(name, server.scep_challenge, "-D", "www.bank.invalid")
    assert len(refusals(server, "policy")) == before + 1


def test_a_weak_key_is_a_rejection_and_on_record(server: RunningServer, certmonger: Certmonger, name: str) -> None:
    before = len(refusals(server, "policy"))

    assert "status: CA_REJECTED" in certmonger.request(name, server.scep_challenge, "-D", name, "-g", "1024")
    assert len(refusals(server, "policy")) == before + 1
