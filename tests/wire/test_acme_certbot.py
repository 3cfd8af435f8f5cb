"""ACME with certbot: its standalone responder answers http-01 on the port that the deployment validates on."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.wire.devices import dns_names, ip_addresses, refusals
from tests.wire.running import openssl_verify, require_certbot, run

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.wire.running import RunningServer

_numbers = count(1)


@dataclass
class Certbot:
    """One machine with certbot: its configuration, keys and account are in a folder of its own."""

    server: RunningServer
    folder: Path
    name: str = field(default_factory=lambda: f"certbot-{next(_numbers)}.localhost")
    program: str = field(default_factory=require_certbot)

    def __call__(self, command: str, *arguments: str | Path, check: bool = True) -> CompletedProcess[str]:
        folders = [f"--{kind}-dir={self.folder / kind}" for kind in ("config", "work", "logs")]
        return run(
            self.program,
            command,
            *folders,
            "--non-interactive",
            "--server",
            self.server.acme_directory,
            *arguments,
            environment={"REQUESTS_CA_BUNDLE": str(self.server.root_pem)},
            check=check,
            timeout=120,
        )

    def issue(self, *names: str, options: tuple[str, ...] = (), check: bool = True) -> CompletedProcess[str]:
        domains = [word for name in names or (self.name,) for word in ("-d", name)]
        return self(
            "certonly",
            "--standalone",
            "--http-01-port",
            str(self.server.http01_port),
            "--register-unsafely-without-email",
            "--agree-tos",
            *domains,
            *options,
            check=check,
        )

    def renew(self) -> None:
        """Renew what is there, without the pause by which certbot spreads the load of all its users."""
        self("renew", "--force-renewal", "--no-random-sleep-on-renew")

    @property
    def live(self) -> Path:
        return self.folder / "config" / "live" / self.name

    def accepted(self) -> x509.Certificate:
        """The certificate that certbot installed, verified with openssl and found in the store."""
        openssl_verify(self.server, self.live / "cert.pem", "sslserver")
        (certificate,) = x509.load_pem_x509_certificates((self.live / "cert.pem").read_bytes())
        assert self.server.is_stored(certificate)
        return certificate


@pytest.fixture
def certbot(server: RunningServer, tmp_path: Path) -> Certbot:
    return Certbot(server, tmp_path)


def test_certbot_gets_a_certificate_and_renews_it(certbot: Certbot) -> None:
    certbot.issue()
    first = certbot.accepted()
    assert dns_names(first) == [certbot.name]
    issuing = x509.load_pem_x509_certificates((certbot.live / "chain.pem").read_bytes())
    assert len(issuing) == 1
    first.verify_directly_issued_by(issuing[0])
    certbot.renew()
    second = certbot.accepted()
    assert dns_names(second) == [certbot.name]
    assert second.serial_number != first.serial_number


def test_certbot_renews_when_its_renewal_window_is_moved(certbot: Certbot) -> None:
    certbot.issue()
    first = certbot.accepted()
    certbot.server.certwright("renewals", "push", "--serial", format(first.serial_number, "x"), "--within", "0s")
    certbot("renew", "--no-random-sleep-on-renew")
    second = certbot.accepted()
    assert second != first
    # That one's window is where the profile has it; certbot looks again when Retry-After says so.
    certbot("renew", "--no-random-sleep-on-renew")
    assert certbot.accepted() == second


def test_certbot_gets_one_certificate_for_several_names(certbot: Certbot) -> None:
    names = (certbot.name, f"www.{certbot.name}", f"a.b.c.{certbot.name}")
    certbot.issue(*names)
    assert set(dns_names(certbot.accepted())) == set(names)


def test_certbot_proves_an_address(certbot: Certbot) -> None:
    certbot.name = "127.0.0.1"
    port = str(certbot.server.http01_port)
    agreed = ("--register-unsafely-without-email", "--agree-tos")
    certbot("certonly", "--standalone", "--http-01-port", port, *agreed, "--ip-address", certbot.name)
    assert ip_addresses(certbot.accepted()) == [certbot.name]


def test_certbot_revokes_with_its_account_and_with_the_key_of_the_certificate(certbot: Certbot) -> None:
    certbot.issue()
    first = certbot.accepted()
    certbot("revoke", "--cert-path", certbot.live / "cert.pem", "--reason", "superseded", "--no-delete-after-revoke")
    certbot.renew()
    second = certbot.accepted()
    pem, key = certbot.live / "cert.pem", certbot.live / "privkey.pem"
    certbot("revoke", "--cert-path", pem, "--key-path", key, "--no-delete-after-revoke")
    again = certbot("revoke", "--cert-path", pem, "--no-delete-after-revoke", check=False)
    assert again.returncode != 0
    assert "revoked already" in again.stdout + again.stderr
    for certificate in (first, second):
        shown = certbot.server.certwright("cert", "show", format(certificate.serial_number, "x")).stdout
        assert "revoked" in shown.lower()


def test_certbot_is_told_which_name_is_forbidden_and_why(certbot: Certbot) -> None:
    refused = certbot.issue("certbot.google.com", check=False)
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert "not allowed" in said
    assert "certbot.google.com" in said
    (row,) = refusals(certbot.server, "certbot.google.com")
    assert row["endpoint"] == "acme/default"
    shown = certbot.server.certwright("request", "show", str(row["id"]), "--json").stdout
    assert "certbot.google.com" in shown
    assert "tls-server.yaml" in shown


def test_certbot_is_told_that_a_name_could_not_be_validated(certbot: Certbot) -> None:
    # Nothing answers for this name: .test exists nowhere (RFC 6761).
    refused = certbot.issue("nowhere.test", check=False)
    assert refused.returncode != 0
    assert "nowhere.test" in refused.stdout + refused.stderr
    assert refusals(certbot.server, "nowhere.test was not validated")


def test_certbot_can_close_its_account(certbot: Certbot) -> None:
    certbot("register", "--register-unsafely-without-email", "--agree-tos")
    certbot("update_account", "--email", "pki@example.com")
    certbot("unregister")
