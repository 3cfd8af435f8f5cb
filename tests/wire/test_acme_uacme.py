"""ACME with uacme, a client in C: its hook program answers http-01 and dns-01, its ualpn answers tls-alpn-01."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.wire.acme_site import OLD_ROOT
from tests.wire.devices import dns_names, ip_addresses
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.wire.acme_site import AcmeSite
    from tests.wire.running import RunningServer

# METHOD TYPE IDENT TOKEN AUTH; what begin declines, uacme does not choose
HOOK = """\
#!/bin/sh
case $1:$2 in
    begin:CHALLENGE) ;;
    begin:*) exit 1 ;;
    *) exit 0 ;;
esac
case $2 in
    http-01) printf %s "$5" > "TOKENS/$4" ;;
    dns-01) DNS "$3" "$5" ;;
    tls-alpn-01) test "$(echo "auth $3 $5" | ualpn --sock SOCKET)" = OK ;;
esac
"""
# uacme trusts what the system trusts, so it gets a system of its own, which trusts the root and nothing else.
TRUSTING = 'mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"'


@dataclass
class Uacme:
    """One machine with uacme: its account and keys are in a folder of its own."""

    site: AcmeSite
    folder: Path
    challenge: str = "http-01"
    options: tuple[str, ...] = ()
    server: RunningServer = field(init=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.server = self.site.server
        self.name = self.site.name("uacme")

    def __call__(self, *arguments: str | Path, check: bool = True) -> CompletedProcess[str]:
        uacme, unshare = require_program("uacme"), require_program("unshare", "util-linux")
        hook = self.folder / "hook"
        text = HOOK.replace("CHALLENGE", self.challenge).replace("DNS", str(self.site.dns_hook))
        text = text.replace("TOKENS", str(self.folder / "web" / ".well-known" / "acme-challenge"))
        hook.write_text(text.replace("SOCKET", str(self.folder / "ualpn")))
        hook.chmod(0o755)
        return run(
            *(unshare, "--map-root-user", "--mount", "sh", "-c", TRUSTING, self.server.root_pem),
            *(uacme, "-v", "-y", "-c", self.folder, "-h", hook, "-a", self.server.acme_directory),
            *(*self.options, *arguments),
            check=check,
        )

    def issue(self, *names: str) -> x509.Certificate:
        self("issue", *(names or (self.name,)))
        return self.site.accepted(self.pem)

    @property
    def pem(self) -> Path:
        return self.folder / self.name / "cert.pem"

    @contextmanager
    def ualpn(self) -> Iterator[None]:
        """Answer tls-alpn-01."""
        ualpn = require_program("ualpn", "apt-get install uacme")
        listen = ("--bind", f"127.0.0.1@{self.site.tls_port}")
        others = ("--connect", f"127.0.0.1@{self.server.deployment.ports.https}")  # who is no validation goes there
        own = ("--sock", self.folder / "ualpn", "--pidfile", self.folder / "ualpn.pid")
        run(ualpn, "--daemon", *listen, *others, *own, "--logfile", self.folder / "ualpn.log")
        try:
            yield
        finally:
            run(ualpn, "--terminate", *own)


@pytest.fixture
def uacme(site: AcmeSite, tmp_path: Path) -> Iterator[Uacme]:
    with site.web(tmp_path / "web"):
        yield Uacme(site, tmp_path)


def test_uacme_lives_a_whole_life(uacme: Uacme) -> None:
    uacme("new", "pki@example.com")
    first = uacme.issue()
    assert dns_names(first) == [uacme.name]
    assert uacme("issue", uacme.name, check=False).returncode == 1  # still current, says OCSP, too
    uacme("newkey")
    uacme("update", "ca@example.com")
    uacme("-f", "issue", uacme.name)
    second = uacme.site.accepted(uacme.pem)
    assert second != first
    uacme("-r", "4", "revoke", uacme.pem)
    assert uacme.site.is_revoked(second)
    uacme("deactivate")
    ended = uacme("issue", uacme.name, check=False)
    assert ended.returncode == 2
    assert "unauthorized" in ended.stderr


def test_uacme_replaces_a_certificate_that_ocsp_calls_revoked(uacme: Uacme) -> None:
    uacme.options = ("-t", "EC")
    uacme("new")
    first = uacme.issue()
    uacme.server.said("cert", "revoke", format(first.serial_number, "x"))
    second = uacme.issue()
    assert second != first
    key = uacme.folder / "private" / uacme.name / "key.pem"
    uacme("-r", "1", "revoke", uacme.pem, key)
    assert uacme.site.is_revoked(second)


@pytest.mark.parametrize("bits", ["256", "384"])
def test_uacme_gets_a_wildcard_by_dns_with_keys_on_curves(uacme: Uacme, bits: str) -> None:
    uacme.challenge, uacme.options = "dns-01", ("-t", "EC", "-b", bits)
    uacme("new")
    certificate = uacme.issue(uacme.name, f"*.{uacme.name}")
    assert set(dns_names(certificate)) == {uacme.name, f"*.{uacme.name}"}


def test_uacme_proves_an_address(uacme: Uacme) -> None:
    uacme("new")
    uacme("issue", "127.0.0.1")
    (address,) = ip_addresses(uacme.site.accepted(uacme.folder / "127.0.0.1" / "cert.pem"))
    assert address == "127.0.0.1"


def test_uacme_gets_a_name_and_an_address_by_tls(uacme: Uacme) -> None:
    uacme.challenge = "tls-alpn-01"
    uacme("new")
    with uacme.ualpn():
        certificate = uacme.issue(uacme.name, "127.0.0.1")
    assert dns_names(certificate) == [uacme.name]
    assert ip_addresses(certificate) == ["127.0.0.1"]


def test_uacme_chooses_the_other_chain(uacme: Uacme) -> None:
    uacme.options = ("-l", "1")
    uacme("new")
    uacme.issue()
    _, crossed = x509.load_pem_x509_certificates(uacme.pem.read_bytes())
    assert crossed.issuer.rfc4514_string() == f"CN={OLD_ROOT}"


def test_uacme_binds_its_account(uacme: Uacme, eab_key: tuple[str, str]) -> None:
    uacme.server = uacme.site.bound
    unbound = uacme("new", check=False)
    assert "requires external credentials" in unbound.stderr
    kid, key = eab_key
    uacme.options = ("-e", f"{kid}:{key}")
    uacme("new")
    assert dns_names(uacme.issue()) == [uacme.name]


def test_uacme_is_told_which_name_is_forbidden_and_why(uacme: Uacme) -> None:
    uacme("new")
    refused = uacme("issue", uacme.name, "uacme.google.com", check=False)
    assert refused.returncode == 2
    assert "uacme.google.com" in refused.stderr
    assert "not allowed" in refused.stderr
