"""ACME with dehydrated, a client in bash, by http-01 from a web server's folder, dns-01 by a hook, and tls-alpn-01."""

from __future__ import annotations

import socketserver
import ssl
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import dns_names
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from cryptography import x509

    from tests.wire.acme_site import AcmeSite
    from tests.wire.running import RunningServer

CONFIG = """\
CA={directory}
CURL_OPTS="--cacert {root}"
BASEDIR={folder}
WELLKNOWN={folder}/web/.well-known/acme-challenge
HOOK={folder}/hook
CHALLENGETYPE={challenge}
CONTACT_EMAIL=pki@example.com
KEYSIZE=2048
"""
HOOK = """\
#!/bin/sh
# deploy_challenge NAME TOKEN TEXT: the text that dns-01 wants when that is the challenge
case $1 in deploy_challenge) DNS "$2" "$4" ;; esac
"""


class _Server(socketserver.TCPServer):
    allow_reuse_address = True  # others have served on this port, and what they closed lingers for a minute


@dataclass
class Dehydrated:
    """One machine with dehydrated: account, keys and configuration are in a folder of its own."""

    site: AcmeSite
    folder: Path
    challenge: str = "http-01"
    settings: str = ""
    server: RunningServer = field(init=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.server = self.site.server
        self.name = self.site.name("dehydrated")

    def __call__(self, *arguments: str | Path, check: bool = True) -> CompletedProcess[str]:
        values = {"directory": self.server.acme_directory, "root": self.server.root_pem, "folder": self.folder}
        (self.folder / "config").write_text(CONFIG.format(**values, challenge=self.challenge) + self.settings)
        hook = self.folder / "hook"
        hook.write_text(HOOK.replace("DNS", str(self.site.dns_hook)))
        hook.chmod(0o755)
        dehydrated = require_program("dehydrated")
        return run(dehydrated, "--config", self.folder / "config", *arguments, check=check)

    def issue(self, *names: str, options: tuple[str, ...] = ("--algo", "prime256v1")) -> x509.Certificate:
        wanted = [word for name in names or (self.name,) for word in ("--domain", name)]
        self("--cron", *wanted, *options)
        return self.site.accepted(self.pem)

    @property
    def pem(self) -> Path:
        return self.folder / "certs" / self.name / "fullchain.pem"

    @contextmanager
    def tls(self) -> Iterator[None]:
        """Answer tls-alpn-01 with the certificates that it leaves in a folder, as a web server is set up to do."""

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            chosen = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            chosen.set_alpn_protocols(["acme-tls/1"])
            stem = self.folder / "alpn-certs" / str(name)
            chosen.load_cert_chain(f"{stem}.crt.pem", f"{stem}.key.pem")
            connection.context = chosen

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["acme-tls/1"])
        context.sni_callback = choose

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), context.wrap_socket(self.request, server_side=True) as connection:
                    connection.recv(1)

        with _Server(("127.0.0.1", self.site.tls_port), Handler) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture
def dehydrated(site: AcmeSite, tmp_path: Path) -> Iterator[Dehydrated]:
    with site.web(tmp_path / "web"):
        yield Dehydrated(site, tmp_path)


def test_dehydrated_lives_a_whole_life(dehydrated: Dehydrated) -> None:
    dehydrated("--register", "--accept-terms")
    names = (dehydrated.name, f"www.{dehydrated.name}")
    first = dehydrated.issue(*names)
    assert set(dns_names(first)) == set(names)
    assert dehydrated.issue(*names) == first  # it is valid for long enough
    second = dehydrated.issue(*names, options=("--algo", "rsa", "--force"))
    assert second != first
    dehydrated("--revoke", dehydrated.pem.with_name("cert.pem"))
    assert dehydrated.site.is_revoked(second)
    dehydrated.settings = "CONTACT_EMAIL=ca@example.com\n"
    dehydrated("--account")
    dehydrated("--deactivate")


def test_dehydrated_gets_a_wildcard_by_dns(dehydrated: Dehydrated) -> None:
    dehydrated.challenge = "dns-01"
    dehydrated("--register", "--accept-terms")
    certificate = dehydrated.issue(dehydrated.name, f"*.{dehydrated.name}")
    assert set(dns_names(certificate)) == {dehydrated.name, f"*.{dehydrated.name}"}


def test_dehydrated_gets_a_name_by_tls(dehydrated: Dehydrated) -> None:
    dehydrated.challenge = "tls-alpn-01"
    dehydrated("--register", "--accept-terms")
    with dehydrated.tls():
        assert dns_names(dehydrated.issue()) == [dehydrated.name]


def test_dehydrated_binds_its_account(dehydrated: Dehydrated, eab_key: tuple[str, str]) -> None:
    dehydrated.server = dehydrated.site.bound
    unbound = dehydrated("--register", "--accept-terms", check=False)
    assert "requires an external account" in unbound.stdout + unbound.stderr
    kid, key = eab_key
    dehydrated.settings = f"EAB_KID={kid}\nEAB_HMAC_KEY={key}\n"
    dehydrated("--register", "--accept-terms")
    assert dns_names(dehydrated.issue()) == [dehydrated.name]


def test_dehydrated_is_told_which_name_is_forbidden_and_why(dehydrated: Dehydrated) -> None:
    dehydrated("--register", "--accept-terms")
    refused = dehydrated("--cron", "--domain", "dehydrated.google.com", check=False)
    assert refused.returncode != 0
    assert "dehydrated.google.com" in refused.stdout + refused.stderr
    assert "not allowed" in refused.stdout + refused.stderr


def test_dehydrated_goes_by_the_answer_to_its_challenge_and_polls_nothing(dehydrated: Dehydrated) -> None:
    dehydrated("--register", "--accept-terms")
    log = dehydrated.server.process.log
    before = log.stat().st_size
    dehydrated.issue()
    assert log.read_bytes()[before:].count(b"path=/acme/challenge/") == 1
