"""Certwright in front of Certwright, by EST; and in front of a command."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ca.ceremony import generate_key
from tests.wire.devices import device, dns_names
from tests.wire.issuing import add_endpoint, add_issuer, enroll, make_ca, make_deployment, validate
from tests.wire.running import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

# Signs whatever it is given for 90 days: what the door makes of the result is the point.
SIGN = """#!/bin/sh
set -e
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -c 'import json, sys; open(sys.argv[1], "w").write(json.load(sys.stdin)["csr"])' "$dir/csr.pem"
cat > "$dir/ext" <<END
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = $1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
END
exec openssl x509 -req -in "$dir/csr.pem" -CA ca/cmd.pem -CAkey ca/cmd.key -passin "pass:correct horse" \\
    -days 90 -copy_extensions copy -extfile "$dir/ext"
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The CA elsewhere: a Certwright with a profile that it decides by itself, and one that a person approves."""
    deployment = make_deployment(tmp_path_factory.mktemp("upstream") / "deployment")
    add_endpoint(deployment, "auto", "issuing")
    add_endpoint(deployment, "manual", "issuing", manual=True)
    running = serve(deployment)
    yield running
    running.process.kill()


@pytest.fixture(scope="module")
def revived() -> Iterator[list[RunningServer]]:
    """Servers that a test has killed and started again for the others."""
    servers: list[RunningServer] = []
    yield servers
    for server in servers:
        server.process.kill()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, upstream: RunningServer) -> Iterator[RunningServer]:
    deployment = make_deployment(tmp_path_factory.mktemp("door") / "deployment")
    folder = deployment.folder
    for name in ("chain.pem", "root.pem"):
        shutil.copy(upstream.folder / name, folder / "ca" / f"upstream-{name}")
    (folder / "secrets" / "upstream").write_text(upstream.est_password)
    for label in ("auto", "manual"):
        files = "certificate: ca/upstream-chain.pem, chain: ca/upstream-chain.pem, trust: ca/upstream-root.pem"
        who = f"username: {upstream.est_username}, password: {{file: secrets/upstream}}"
        add_issuer(deployment, f"up-{label}", f"{{type: est, {files}, url: '{upstream.est_url}/{label}', {who}}}")
        policy = folder / "policies" / f"up-{label}.yaml"
        policy.write_text(policy.read_text().replace("max: 8", "max: 16"))
    make_ca(folder / "ca", "cmd", generate_key("P-256"))
    (folder / "sign").write_text(SIGN)
    (folder / "sign").chmod(0o700)
    for name, usage in (("cmd", "clientAuth"), ("cmd-odd", "clientAuth,serverAuth")):
        command = f"command: [./sign, '{usage}'], certificate: ca/cmd.pem, chain: ca/cmd.pem"
        command += ", revoke_command: [/bin/sh, -c, 'cat > told.new; mv told.new told']"
        add_issuer(deployment, name, f"{{type: exec, {command}}}")
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def issued_for(server: RunningServer, name: str) -> list[x509.Certificate]:
    return [each for each in server.stored_certificates() if dns_names(each) == [name]]


def test_a_certificate_comes_from_the_other_server_and_is_on_record_in_both(
    upstream: RunningServer, door: RunningServer, tmp_path: Path
) -> None:
    pump = device(tmp_path / "pump", "upstream-1.example")
    status, text = enroll(door, pump, "up-auto")
    assert status == 200, text
    (certificate,) = x509.load_pem_x509_certificates(pump.certificate.read_bytes())
    validate(pump, upstream.root_pem, upstream.chain_pem)
    assert issued_for(upstream, pump.name) == [certificate]
    assert issued_for(door, pump.name) == [certificate]
    revoked = door.certwright("cert", "revoke", format(certificate.serial_number, "x")).stdout
    assert "The CA of up-auto can't be told from here" in revoked
    shown = door.certwright("cert", "show", format(certificate.serial_number, "x")).stdout
    assert pump.name in shown


def test_the_same_request_again_gives_the_same_certificate(
    upstream: RunningServer, door: RunningServer, tmp_path: Path
) -> None:
    pump = device(tmp_path / "pump", "upstream-2.example")
    first = enroll(door, pump, "up-auto"), pump.certificate.read_text()
    second = enroll(door, pump, "up-auto"), pump.certificate.read_text()
    assert first == second
    assert len(issued_for(upstream, pump.name)) == 1


def test_a_request_that_waits_for_a_person_elsewhere_is_pending_here(
    upstream: RunningServer, door: RunningServer, tmp_path: Path
) -> None:
    pump = device(tmp_path / "pump", "upstream-3.example")
    assert enroll(door, pump, "up-manual")[0] == 202
    assert enroll(door, pump, "up-manual")[0] == 202
    (waiting,) = json.loads(upstream.certwright("request", "list", "--pending", "--json").stdout)
    upstream.certwright("request", "approve", waiting["id"])
    assert enroll(door, pump, "up-manual")[0] == 200
    assert len(issued_for(upstream, pump.name)) == len(issued_for(door, pump.name)) == 1


def test_a_refusal_elsewhere_is_a_refusal_here(upstream: RunningServer, door: RunningServer, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "upstream-4.example")
    pump.ask(*(f"upstream-4-{n}.example" for n in range(9)))  # nine names, where the other server allows eight
    policy = door.folder / "policies" / "up-auto.yaml"
    assert "max: 16" in policy.read_text()
    assert enroll(door, pump, "up-auto")[0] not in {200, 202, 503}
    (failed, *_) = json.loads(door.certwright("request", "list", "--json").stdout)
    assert "the CA answers 4" in door.certwright("request", "show", failed["id"]).stdout


def test_the_death_of_the_other_server_loses_and_doubles_nothing(
    upstream: RunningServer, door: RunningServer, revived: list[RunningServer], tmp_path: Path
) -> None:
    pumps = [device(tmp_path / f"pump-{n}", f"killed-upstream-{n}.example") for n in range(10)]
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(enroll, door, pump, "up-auto") for pump in pumps]
        next(iter(waiting)).result()
        upstream.process.kill()
        first = [each.result()[0] for each in waiting]
        assert set(first) <= {200, 503}
        assert enroll(door, device(tmp_path / "late", "late-upstream.example"), "up-auto")[0] == 503
        revived.append(serve(upstream.deployment))
        statuses = [pool.submit(enroll, door, pump, "up-auto").result()[0] for pump in pumps]

    assert set(statuses) == {200}
    for pump in pumps:
        assert issued_for(upstream, pump.name) == issued_for(door, pump.name)
        assert len(issued_for(door, pump.name)) == 1


def test_a_command_issues(door: RunningServer, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "command-1.example")
    status, text = enroll(door, pump, "cmd")
    assert status == 200, text + door.process.tail()
    validate(pump, door.folder / "ca" / "cmd.pem")


def test_a_revocation_is_passed_on(door: RunningServer, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "command-3.example")
    assert enroll(door, pump, "cmd")[0] == 200
    (certificate,) = x509.load_pem_x509_certificates(pump.certificate.read_bytes())
    serial = format(certificate.serial_number, "x")
    said = door.certwright("cert", "revoke", serial, "--reason", "keyCompromise").stdout
    assert "can't be told" not in said
    until = time.monotonic() + 60
    while not (door.folder / "told").exists() and time.monotonic() < until:
        time.sleep(0.2)
    told = json.loads((door.folder / "told").read_text())
    assert (told["serial"], told["reason"]) == (serial, "keyCompromise")
    assert x509.load_pem_x509_certificate(told["certificate"].encode()) == certificate
    while "issuer told at" not in door.certwright("cert", "show", serial).stdout and time.monotonic() < until:
        time.sleep(0.2)
    assert "issuer told at" in door.certwright("cert", "show", serial).stdout


def test_what_a_command_adds_is_quarantined(door: RunningServer, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "command-2.example")
    assert enroll(door, pump, "cmd-odd")[0] == 500
    (failed, *_) = json.loads(door.certwright("request", "list", "--json").stdout)
    shown = door.certwright("request", "show", failed["id"]).stdout
    assert "extendedKeyUsage" in shown
    assert not issued_for(door, pump.name)
