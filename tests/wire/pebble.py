"""Pebble, the ACME server of Let's Encrypt's tests, with its own DNS server, as a CA elsewhere."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from ca import ceremony
from ca.names import DistinguishedName, dns_name
from server.bench.process import free_ports
from server.clock import system_clock
from tests.wire.running import REPOSITORY, require_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

HOOK = """#!/bin/sh
case $1 in
    present) exec curl -sf -d "{\\"host\\":\\"$2.\\",\\"value\\":\\"$3\\"}" http://127.0.0.1:PORT/set-txt ;;
    cleanup) exec curl -sf -d "{\\"host\\":\\"$2.\\"}" http://127.0.0.1:PORT/clear-txt ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Pebble:
    """A running Pebble.

    Attributes:
        directory: its directory.
        folder: has ``trust.pem`` for its TLS, ``issuing.pem`` and ``root.pem`` of its CA, ``dns01`` to be called.
        http01_port, tls_port: where it looks for answers to http-01 and tls-alpn-01.
        records: the interface of its DNS server.
        management: its own interface.
    """

    directory: str
    folder: Path
    http01_port: int
    tls_port: int
    records: str
    management: str

    def status(self, serial: int) -> str:
        """Return what Pebble says of a certificate: ``Valid`` or ``Revoked``."""
        octets = serial.to_bytes((serial.bit_length() + 7) // 8, "big").hex()
        answer = _fetch(f"{self.management}/cert-status-by-serial/{octets}", self.folder / "trust.pem")
        return str(json.loads(answer)["Status"])


def _program(name: str) -> str:
    own = REPOSITORY / ".venv-pebble" / "bin" / name
    return str(own) if own.exists() else require_program(name, "make pebble (needs Go)")


@contextmanager
def pebble(
    folder: Path, *, settings: Mapping[str, object] | None = None, environment: dict[str, str] | None = None
) -> Iterator[Pebble]:
    """Run Pebble; one nonce of ten is refused. More settings and variables can be given."""
    programs = _program("pebble"), _program("pebble-challtestsrv")
    folder.mkdir(parents=True, exist_ok=True)
    acme, management, http, tls, dns, records = free_ports(6)
    root = ceremony.make_root(DistinguishedName.from_text("CN=Pebble TLS"), now=system_clock())
    host = (dns_name("localhost"),)
    own = ceremony.make_tls_certificate(root, DistinguishedName(), host, now=system_clock())
    (folder / "trust.pem").write_bytes(root.certificate_pem())
    (folder / "tls.pem").write_bytes(own.certificate_pem())
    (folder / "tls.key").write_bytes(own.key_pem())
    chosen = {
        "listenAddress": f"127.0.0.1:{acme}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "tls.pem"),
        "privateKey": str(folder / "tls.key"),
        "httpPort": http,
        "tlsPort": tls,
        "domainBlocklist": ["blocked.example"],
        "retryAfter": {"authz": 1, "order": 1},
        "keyAlgorithm": "ecdsa",
        "profiles": {"default": {"description": "90 days", "validityPeriod": 90 * 86400}},
        **(settings or {}),
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": chosen}))
    (folder / "dns01").write_text(HOOK.replace("PORT", str(records)))
    (folder / "dns01").chmod(0o700)
    variables = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "10"} | (environment or {})
    unused = ("http01", "https01", "tlsalpn01", "doh", "defaultIPv6")
    off = [argument for name in unused for argument in (f"-{name}", "")]
    commands = (
        [programs[1], *off, "-dnsserver", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{records}"],
        [programs[0], "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"],
    )
    with (folder / "log").open("wb") as log:
        running = [subprocess.Popen(command, stdout=log, stderr=log, env=variables) for command in commands]
        try:
            for name in ("issuing", "root"):
                path = "intermediates" if name == "issuing" else "roots"
                pem = _fetch(f"https://localhost:{management}/{path}/0", folder / "trust.pem")
                (folder / f"{name}.pem").write_bytes(pem)
            addresses = f"http://127.0.0.1:{records}", f"https://localhost:{management}"
            yield Pebble(f"https://localhost:{acme}/dir", folder, http, tls, *addresses)
        finally:
            for process in running:
                process.kill()
                process.wait()


def _fetch(url: str, trust: Path) -> bytes:
    context = ssl.create_default_context(cafile=trust)
    until = time.monotonic() + 20
    while True:
        try:
            with urlopen(url, context=context, timeout=5) as answer:  # noqa: S310 - our own address
                found: bytes = answer.read()
                return found
        except (URLError, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
