"""An ACME endpoint with external accounts and a second profile, as certbot and lego see it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from server.bench.process import free_ports
from tests.fakes.dns_server import DnsServer
from tests.wire.devices import dns_names
from tests.wire.running import serve, start
from tests.wire.test_acme_certbot import Certbot
from tests.wire.test_acme_lego import Lego

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

SETTINGS = """\
    profiles: [tls-server, short]
    external_accounts: {required: true, sealing_key: {file: secrets/eab.key}}
    challenges: [http-01, dns-01, tls-alpn-01]
    dns01: {resolver: 127.0.0.1, port: DNS}
    tls_alpn01: {port: TLS, networks: [127.0.0.0/8], loopback_names: true}
"""
TLS_PORT = free_ports(1)[0]
AUTH_HOOK = """\
#!/bin/sh
echo "_acme-challenge.$CERTBOT_DOMAIN. $CERTBOT_VALIDATION" >> "$RECORDS"
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a TXT record a line, which the DNS server answers from."""
    file = tmp_path_factory.mktemp("dns") / "records"
    file.touch()
    return file


@pytest.fixture(scope="module")
def dns(records: Path) -> Iterator[DnsServer]:
    def look(name: str) -> list[str] | int:
        lines = (line.split() for line in records.read_text().splitlines())
        return [text for owner, text in lines if owner == name] or 3

    server = DnsServer(look)
    yield server
    server.close()


@pytest.fixture(scope="module")
def bound(dns: DnsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose ACME accounts need a binding, with a profile for a week beside the other."""
    first = start(tmp_path_factory.mktemp("wire") / "deployment")
    first.process.stop()
    file = first.config
    settings = SETTINGS.replace("DNS", str(dns.port)).replace("TLS", str(TLS_PORT))
    file.write_text(file.read_text().replace("    profiles: [tls-server]\n", settings))
    (first.folder / "secrets" / "eab.key").write_text("0f" * 32)
    policy = (first.folder / "policies" / "tls-server.yaml").read_text().partition("\ntests:")[0]
    policy = policy.replace("wildcards: forbidden", "wildcards: allowed")
    short = re.sub(r"validity:.*", "validity: {default: 7d, max: 8d, issuer_end: shorten}", policy)
    (first.folder / "policies" / "short.yaml").write_text(short.replace("  tls-server:", "  short:"))
    running = serve(first.deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def new_key(server: RunningServer) -> tuple[str, str]:
    made = json.loads(server.certwright("eab", "new", "--name", "dns:**.localhost", "--json").stdout)
    return made["kid"], made["hmac_key"]


def test_certbot_binds_its_account_and_chooses_a_profile(bound: RunningServer, tmp_path: Path) -> None:
    certbot = Certbot(bound, tmp_path)
    refused = certbot.issue(check=False)
    assert refused.returncode != 0
    kid, key = new_key(bound)
    agreed = ("--register-unsafely-without-email", "--agree-tos")
    certbot("register", *agreed, "--eab-kid", kid, "--eab-hmac-key", key)
    port = str(bound.http01_port)
    certbot("certonly", "--standalone", "--http-01-port", port, "-d", certbot.name, "--required-profile", "short")
    certificate = certbot.accepted()
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 7


def test_certbot_gets_a_wildcard_by_dns(bound: RunningServer, records: Path, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(AUTH_HOOK.replace("$RECORDS", str(records)))
    hook.chmod(0o755)
    kid, key = new_key(bound)
    certbot = Certbot(bound, tmp_path)
    certbot(
        *("certonly", "--manual", "--preferred-challenges", "dns", "--manual-auth-hook", str(hook)),
        *("--register-unsafely-without-email", "--agree-tos", "--eab-kid", kid, "--eab-hmac-key", key),
        *("--required-profile", "short", "-d", certbot.name, "-d", f"*.{certbot.name}"),
    )
    assert set(dns_names(certbot.accepted())) == {certbot.name, f"*.{certbot.name}"}


def test_lego_gets_a_name_by_tls(bound: RunningServer, tmp_path: Path) -> None:
    kid, key = new_key(bound)
    solver = ("--tls", "--tls.port", f"127.0.0.1:{TLS_PORT}")
    lego = Lego(bound, tmp_path, options=("--eab", "--kid", kid, "--hmac", key), solver=solver)
    lego("run")
    assert dns_names(lego.accepted()) == [lego.name]


def test_lego_binds_its_account(bound: RunningServer, tmp_path: Path) -> None:
    kid, key = new_key(bound)
    lego = Lego(bound, tmp_path, options=("--eab", "--kid", kid, "--hmac", key))
    lego("run")
    assert (lego.accepted().not_valid_after_utc - lego.accepted().not_valid_before_utc).days == 90
    wrong = Lego(bound, tmp_path / "other", options=("--eab", "--kid", kid, "--hmac", key[::-1]))
    assert wrong("run", check=False).returncode != 0
