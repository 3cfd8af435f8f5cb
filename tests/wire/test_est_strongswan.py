"""EST with strongSwan's `pki`, whose HTTP client takes nothing but what it expects."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.wire.devices import accept, dns_names, refusals
from tests.wire.running import require_strongswan, run

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.wire.running import RunningServer

_numbers = count(1)


def pki(*arguments: str | Path, check: bool = True) -> CompletedProcess[str]:
    return run(require_strongswan(), *arguments, check=check)


def address(server: RunningServer) -> str:
    """Return the server's URL without a name: pki connects to the first address alone, for localhost often ::1."""
    return server.https_url.replace("localhost", "127.0.0.1")


class Gateway:
    """A VPN gateway with a key and a request that `pki` made."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.certificate = folder / "gateway.pem"
        self.key = folder / "gateway.key"
        self.csr = folder / "gateway.csr"

    def ask(self, *kind: str, san: str | None = None) -> Gateway:
        """Make a new key of a kind, P-256 if none is given, and a request for it."""
        algorithm, size = kind or ("ecdsa", "256")
        self.key.write_text(pki("--gen", "--type", algorithm, "--size", size, "--outform", "pem").stdout)
        names = ("--dn", f"CN={self.name}", "--san", san or self.name)
        self.csr.write_text(pki("--req", "--type", "priv", "--in", self.key, *names, "--outform", "pem").stdout)
        return self

    def enroll(self, server: RunningServer, *evidence: str | Path, check: bool = True) -> CompletedProcess[str]:
        """Enroll, or with ``--cert`` and ``--key`` as evidence renew."""
        where = ("--url", address(server), "--cacert", server.root_pem, "--cacert", server.chain_pem)
        done = pki("--est", *where, "--in", self.csr, *evidence, "--outform", "pem", check=check)
        self.certificate.write_text(done.stdout)
        return done

    def set_aside(self) -> tuple[str | Path, ...]:
        """Return the present certificate and key as evidence for their renewal."""
        certificate, key = self.folder / "old.pem", self.folder / "old.key"
        return "--cert", self.certificate.rename(certificate), "--key", self.key.rename(key)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path, f"strongswan-{next(_numbers)}.example")


def password(server: RunningServer) -> tuple[str, str]:
    return "--userpass", f"{server.est_username}:{server.est_password}"


def test_estca_fetches_the_root_and_the_issuing_ca(server: RunningServer, tmp_path: Path) -> None:
    out = ("--caout", tmp_path / "ca.pem", "--outform", "pem")
    pki("--estca", "--url", address(server), "--cacert", server.root_pem, *out)
    fetched = {x509.load_pem_x509_certificate(path.read_bytes()) for path in tmp_path.glob("*.pem")}

    assert fetched == set(x509.load_pem_x509_certificates(server.chain_pem.read_bytes()))


@pytest.mark.parametrize("kind", [("ecdsa", "256"), ("rsa", "2048"), ("ed25519", "256")])
def test_a_gateway_enrolls_and_renews(server: RunningServer, gateway: Gateway, kind: tuple[str, str]) -> None:
    gateway.ask(*kind).enroll(server, *password(server))
    first = accept(server, gateway.certificate)
    old = gateway.set_aside()
    gateway.ask(*kind).enroll(server, *old)
    second = accept(server, gateway.certificate)

    assert dns_names(first) == dns_names(second) == [gateway.name]
    assert first.subject == second.subject
    assert first.serial_number != second.serial_number


def test_a_wrong_password_is_refused_and_on_record(server: RunningServer, gateway: Gateway) -> None:
    user = f"stranger-{gateway.name}"

    assert gateway.ask().enroll(server, "--userpass", f"{user}:guess", check=False).returncode
    assert refusals(server, user)[0]["reason"] == "bad-credentials"


def test_a_forbidden_name_is_refused_and_on_record(server: RunningServer, gateway: Gateway) -> None:
    forbidden = f"{gateway.name}.bank.invalid"

    assert gateway.ask(san=forbidden).enroll(server, *password(server), check=False).returncode
    assert refusals(server, gateway.name)[0]["reason"] == "policy"


def test_a_weak_key_is_refused_and_on_record(server: RunningServer, gateway: Gateway) -> None:
    assert gateway.ask("rsa", "1024").enroll(server, *password(server), check=False).returncode
    assert refusals(server, gateway.name)[0]["reason"] == "policy"


def test_a_renewal_does_not_change_the_names(server: RunningServer, gateway: Gateway) -> None:
    gateway.ask().enroll(server, *password(server))
    old = gateway.set_aside()

    assert gateway.ask(san=f"other.{gateway.name}").enroll(server, *old, check=False).returncode
    assert refusals(server, gateway.name)[0]["reason"] == "policy"
