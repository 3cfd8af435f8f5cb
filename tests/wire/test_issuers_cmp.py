"""A CMP server as the CA: the mock server of OpenSSL's own program."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from secrets import token_bytes
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import ceremony
from ca.backends.cmp import CmpUpstream
from ca.backends.cmp_protection import SharedSecret, Signatures
from ca.backends.http_client import HttpClient
from ca.backends.local import LocalIssuer
from ca.backends.upstream import RevokingIssuer
from ca.ceremony import generate_key
from ca.issuer import Permit
from ca.names import DistinguishedName
from server.bench.process import free_ports
from server.clock import system_clock
from tests.fakes.issuer import csr_of, make_plan
from tests.wire.devices import device, openssl
from tests.wire.issuing import PASSPHRASE, add_issuer, enroll, make_ca, make_deployment, validate
from tests.wire.running import require_program, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ca.backends.cmp_protection import Protection
    from ca.ceremony import Credential
    from tests.wire.devices import Device
    from tests.wire.running import RunningServer

EXTENSIONS = """basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@pytest.fixture(scope="module")
def port() -> int:
    (found,) = free_ports(1)
    return found


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[RunningServer]:
    deployment = make_deployment(tmp_path_factory.mktemp("cmp-door") / "deployment")
    folder = deployment.folder
    make_ca(folder / "ca", "cmp", generate_key("P-256"))
    (folder / "secrets" / "cmp").write_text("correct horse\n")
    (folder / "ext").write_text(EXTENSIONS)
    files = "certificate: ca/cmp.pem, chain: ca/cmp.pem"
    who = f"url: 'http://127.0.0.1:{port}/pkix/', reference: door, secret: {{file: secrets/cmp}}"
    add_issuer(deployment, "cmp", f"{{type: cmp, {files}, {who}}}")
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def certified(door: RunningServer, pump: Device) -> Path:
    """Make the certificate that the mock server will hand out for a device."""
    made, ca = pump.folder / "made.pem", door.folder / "ca"
    openssl(
        *("x509", "-req", "-in", pump.csr, "-CA", ca / "cmp.pem", "-CAkey", ca / "cmp.key"),
        *("-passin", f"pass:{PASSPHRASE}", "-days", "90", "-copy_extensions", "copy"),
        *("-extfile", door.folder / "ext", "-out", made),
    )
    return made


SECRET = ("-srv_ref", "door", "-srv_secret", "pass:correct horse")


@contextmanager
def mock_server(port: int, certificate: Path, *options: str, protection: tuple[str, ...] = SECRET) -> Iterator[None]:
    """Run OpenSSL's mock server; requests must be protected as is said."""
    program = require_program("openssl")
    command = [program, "cmp", "-config", "", "-port", str(port), *protection]
    with (certificate.parent / "mock.log").open("wb") as log:
        process = subprocess.Popen([*command, "-rsp_cert", str(certificate), *options], stdout=log, stderr=log)
        try:
            wait_for(port)
            yield
        finally:
            process.kill()
            process.wait()


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


@pytest.mark.parametrize("options", [(), ("-grant_implicitconf",)])
def test_a_certificate_comes_by_cmp(door: RunningServer, port: int, tmp_path: Path, options: tuple[str, ...]) -> None:
    pump = device(tmp_path / "pump", f"cmp-{len(options)}.example")
    made = certified(door, pump)
    with mock_server(port, made, *options):
        status, text = enroll(door, pump, "cmp")
        assert status == 200, text + door.process.tail() + (tmp_path / "pump" / "mock.log").read_text()
    (certificate,) = x509.load_pem_x509_certificates(pump.certificate.read_bytes())
    assert certificate == x509.load_pem_x509_certificate(made.read_bytes())
    validate(pump, door.folder / "ca" / "cmp.pem")
    assert door.is_stored(certificate)


def test_a_server_that_needs_time_is_polled(door: RunningServer, port: int, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "cmp-slow.example")
    with mock_server(port, certified(door, pump), "-poll_count", "2", "-check_after", "1"):
        statuses = [enroll(door, pump, "cmp")[0]]
        # How it counts, and whether for pkiConf too, differs between versions.
        while statuses[-1] == 202 and len(statuses) < 8:
            time.sleep(1.1)
            statuses.append(enroll(door, pump, "cmp")[0])
        assert statuses[:2] == [202, 202]
        assert statuses[-1] == 200, door.process.tail()


def test_a_rejection_refuses_the_request(door: RunningServer, port: int, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "cmp-rejected.example")
    options = ("-pkistatus", "2", "-failure", "9", "-statusstring", "no such pump")
    with mock_server(port, certified(door, pump), *options):
        assert enroll(door, pump, "cmp")[0] not in {200, 202, 503}
    (failed, *_) = json.loads(door.certwright("request", "list", "--json").stdout)
    assert "no such pump" in door.certwright("request", "show", failed["id"]).stdout


def test_a_server_that_does_not_take_our_secret_is_an_outage(door: RunningServer, port: int, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "cmp-secret.example")
    with mock_server(port, certified(door, pump), protection=("-srv_ref", "door", "-srv_secret", "pass:other")):
        assert enroll(door, pump, "cmp")[0] == 503
    assert enroll(door, pump, "cmp")[0] == 503  # and when it is not there at all
    with mock_server(port, certified(door, pump)):
        assert enroll(door, pump, "cmp")[0] == 200


def test_the_certificate_of_another_key_is_not_taken(door: RunningServer, port: int, tmp_path: Path) -> None:
    pump, other = device(tmp_path / "pump", "cmp-mine.example"), device(tmp_path / "other", "cmp-mine.example")
    with mock_server(port, certified(door, other)):
        assert enroll(door, pump, "cmp")[0] not in {200, 202, 503}


@asynccontextmanager
async def at_mock_server(port: int, ca: Credential, protection: Protection) -> AsyncIterator[RevokingIssuer]:
    """Give the backend alone, which renews by kur."""
    url, name = f"http://127.0.0.1:{port}/pkix/", ca.certificate.subject.public_bytes()
    upstream = CmpUpstream(url, name, protection, HttpClient(keep=False), token_bytes, updates=True)
    issuer = RevokingIssuer(upstream, (ca.certificate,))
    try:
        yield issuer
    finally:
        await issuer.close()


@pytest.mark.parametrize("kind", ["secret", "P-256", "rsa:2048"])
async def test_openssl_updates_and_revokes_with_a_secret_and_with_signatures(
    port: int, tmp_path: Path, kind: str
) -> None:
    now = system_clock()
    ca = ceremony.make_root(DistinguishedName.from_text("CN=CMP CA"), now=now)
    plan = make_plan(not_before=now.replace(microsecond=0), not_after=now.replace(microsecond=0) + timedelta(days=90))
    octets = await LocalIssuer(ca.key, ca.certificate).issue(Permit("made", plan, 0x77), plan, 0x77)
    made = x509.load_der_x509_certificate(octets)
    (tmp_path / "made.pem").write_bytes(made.public_bytes(Encoding.PEM))
    protection: Protection = SharedSecret(b"door", b"correct horse", token_bytes)
    options: tuple[str, ...] = SECRET
    if kind != "secret":
        server, ours = (ceremony.make_root(DistinguishedName.from_text(f"CN={who}"), now=now,
                                           key=generate_key(kind)) for who in ("server", "door"))  # fmt: skip
        files = {"server.pem": server.certificate_pem(), "door.pem": ours.certificate_pem()}
        for name, content in (files | {"server.key": server.key_pem(b"horse")}).items():
            (tmp_path / name).write_bytes(content)
        protection = Signatures(ours.key, (ours.certificate,), (server.certificate,))
        options = ("-srv_cert", str(tmp_path / "server.pem"), "-srv_key", str(tmp_path / "server.key"),
                   "-srv_keypass", "pass:horse", "-srv_trusted", str(tmp_path / "door.pem"))  # fmt: skip
    with mock_server(port, tmp_path / "made.pem", "-accept_raverified", protection=options):
        async with at_mock_server(port, ca, protection) as issuer:
            assert await issuer.issue(Permit("renewal", plan, 1, csr_of(plan), renews=0x77), plan, 1) == octets
            assert await issuer.issue(Permit("new", plan, 1, csr_of(plan)), plan, 1) == octets
            other = csr_of(replace(plan, names=()))
            assert await issuer.issue(Permit("told", plan, 1, other), plan, 1) == octets
            await issuer.revoke(made, x509.ReasonFlags.key_compromise, now)
