"""Requests that a person must approve, with curl in the field and the command line in the office."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import accept, device, openssl
from tests.wire.issuing import add_endpoint, make_deployment
from tests.wire.running import require_program, run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.devices import Device
    from tests.wire.running import RunningServer

_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    made = make_deployment(tmp_path_factory.mktemp("approval") / "deployment")
    add_endpoint(made, "guarded", "issuing", manual=True)
    running = serve(made)
    yield running
    running.process.stop()


@pytest.fixture
def pump(tmp_path: Path) -> Device:
    return device(tmp_path / "pump", f"guarded-{next(_numbers)}.example")


def ask(server: RunningServer, pump: Device) -> tuple[int, dict[str, str], str]:
    """Post the device's request; return status, header fields in lower case, and body."""
    reply, fields = pump.folder / "reply", pump.folder / "fields"
    done = run(
        *(require_program("curl"), "--silent", "--show-error", "--cacert", server.root_pem),
        *("--user", f"{server.est_username}:{server.est_password}", "-H", "Content-Type: application/pkcs10"),
        *("--data-binary", f"@{pump.csr}", "--output", reply, "--dump-header", fields),
        *("--write-out", "%{http_code}", f"{server.est_url}/guarded/simpleenroll"),
    )
    lines = [line.split(": ", 1) for line in fields.read_text().splitlines()[1:] if ": " in line]
    return int(done.stdout), {name.lower(): value for name, value in lines}, reply.read_text() if reply.exists() else ""


def waiting(server: RunningServer, pump: Device) -> str:
    """The one request of the device that waits, as an administrator finds it."""
    listed = json.loads(server.said("request", "list", "--pending", "--json"))
    (found,) = [one["id"] for one in listed if one["subject"] == f"CN={pump.name}"]
    return str(found)


def test_a_device_waits_until_a_person_approves(server: RunningServer, pump: Device) -> None:
    status, fields, body = ask(server, pump)
    assert (status, body) == (202, "")
    assert int(fields["retry-after"]) > 0

    assert ask(server, pump)[0] == 202  # and nothing is doubled
    server.certwright("request", "approve", waiting(server, pump), "--by", "alice")

    assert ask(server, pump)[0] == 200
    first = (pump.folder / "reply").read_text()
    openssl("base64", "-d", "-in", pump.folder / "reply", "-out", pump.folder / "reply.der")
    unpacked = openssl("pkcs7", "-inform", "DER", "-in", pump.folder / "reply.der", "-print_certs")
    pump.certificate.write_text(unpacked)
    accept(server, pump.certificate)
    assert ask(server, pump)[2] == first  # a lost reply costs nothing


def test_the_request_signed_anew_is_the_one_that_waits(server: RunningServer, pump: Device) -> None:
    """RFC 7030 section 4.2.3: who binds requests to connections must sign each anew."""
    assert ask(server, pump)[0] == 202
    before = pump.csr.read_bytes()
    openssl("req", "-new", "-key", pump.key, "-subj", f"/CN={pump.name}", "-addext", f"subjectAltName=DNS:{pump.name}",
            "-outform", "DER", "-out", pump.csr)  # fmt: skip
    assert pump.csr.read_bytes() != before
    assert ask(server, pump)[0] == 202
    server.said("request", "approve", waiting(server, pump), "--by", "alice")
    assert ask(server, pump)[0] == 200


def test_a_device_that_a_person_refuses_is_told_so_each_time(server: RunningServer, pump: Device) -> None:
    assert ask(server, pump)[0] == 202
    server.said("request", "reject", waiting(server, pump), "--by", "alice", "--why", "stolen")
    told = [ask(server, pump) for _ in range(2)]
    assert [(status, body) for status, _, body in told] == [(403, "An administrator has rejected the request.\n")] * 2


def test_two_devices_with_the_same_names_wait_each_for_itself(
    server: RunningServer, pump: Device, tmp_path: Path
) -> None:
    other = device(tmp_path / "other", pump.name)
    assert [ask(server, each)[0] for each in (pump, other)] == [202, 202]
    listed = json.loads(server.said("request", "list", "--pending", "--json"))
    assert len({each["id"] for each in listed}) >= 2
