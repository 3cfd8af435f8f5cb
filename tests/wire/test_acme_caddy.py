"""ACME with Caddy: a web server that gets the certificates it needs by itself, over http-01 and tls-alpn-01."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.wire.devices import dns_names, ip_addresses
from tests.wire.running import require_program, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.wire.acme_site import AcmeSite
    from tests.wire.running import RunningServer

T = TypeVar("T")
GLOBAL = """\
{{
    admin off
    auto_https disable_redirects
    default_bind 127.0.0.1
    http_port {http}
    https_port {https}
    grace_period 1s
    ocsp_interval 1s
    storage file_system {folder}/data
    log {{
        output file {folder}/log
    }}
}}
"""
SITE = """\
{name} {{
    tls {{
        key_type {key_type}
        issuer acme {{
            dir {directory}
            trusted_roots {root}
            email pki@example.com
            disable_{other}_challenge
            {more}
        }}
    }}
    respond "here I am"
}}
"""


@dataclass
class Caddy:
    """One machine with Caddy: its storage is in a folder of its own."""

    site: AcmeSite
    folder: Path
    text: str = ""
    server: RunningServer = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.server = self.site.server
        ports = {"http": self.server.http01_port, "https": self.site.tls_port}
        self.text = GLOBAL.format(folder=self.folder, **ports)

    def wants(self, name: str, *, challenge: str = "http", key_type: str = "p256", more: str = "") -> str:
        """Add a web site that needs a certificate; return its name."""
        other = {"http": "tlsalpn", "tlsalpn": "http"}[challenge]
        values = {"directory": self.server.acme_directory, "root": self.server.root_pem}
        self.text += SITE.format(name=name, other=other, key_type=key_type, more=more, **values)
        return name

    @contextmanager
    def running(self) -> Iterator[None]:
        file = self.folder / "Caddyfile"
        file.write_text(self.text)
        command = [require_program("caddy"), "run", "--config", str(file)]
        with (self.folder / "output").open("ab") as output:
            own = os.environ | {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=own)
        try:
            yield
        finally:
            self.process.terminate()
            self.process.wait(30)

    def until(self, look: Callable[[], T | None]) -> T:
        """Return what `look` finds, as soon as it finds something."""
        return until(look, lambda: self.process.poll() is None, self.log)

    def log(self) -> str:
        return "".join(file.read_text() for file in (self.folder / "output", self.folder / "log") if file.exists())


@pytest.fixture
def caddy(site: AcmeSite, tmp_path: Path) -> Caddy:
    return Caddy(site, tmp_path)


def test_caddy_gets_what_its_sites_need_and_replaces_what_is_revoked(caddy: Caddy) -> None:
    by_http = caddy.wants(caddy.site.name("caddy"))
    by_tls = caddy.wants(caddy.site.name("caddy"), challenge="tlsalpn", key_type="rsa2048")
    address = caddy.wants("127.0.0.1", key_type="p384")
    with caddy.running():
        first = caddy.until(lambda: caddy.site.served(by_http))
        assert dns_names(first) == [by_http]
        assert dns_names(caddy.until(lambda: caddy.site.served(by_tls))) == [by_tls]
        assert ip_addresses(caddy.until(lambda: caddy.site.served(address))) == [address]
    caddy.server.said("cert", "revoke", format(first.serial_number, "x"))
    shutil.rmtree(caddy.folder / "data" / "ocsp", ignore_errors=True)  # "good", which it would keep for days
    with caddy.running():
        caddy.until(lambda: caddy.site.served(by_http) not in {None, first} or None)


def test_caddy_binds_its_account(caddy: Caddy, eab_key: tuple[str, str]) -> None:
    kid, key = eab_key
    caddy.server = caddy.site.bound
    name = caddy.wants(caddy.site.name("caddy"), more=f"eab {kid} {key}")
    with caddy.running():
        assert dns_names(caddy.until(lambda: caddy.site.served(name))) == [name]


def test_caddy_logs_which_name_is_forbidden_and_why(caddy: Caddy) -> None:
    caddy.wants("caddy.google.com")
    with caddy.running():
        caddy.until(lambda: "rejectedIdentifier" in caddy.log() or None)
    assert "not allowed" in caddy.log()
