"""ACME with lego: its built-in responder answers http-01 on the port that the deployment validates on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.wire.devices import dns_names, refusals
from tests.wire.running import openssl_verify, require_program, run

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.wire.running import RunningServer

_numbers = count(1)


@dataclass
class Lego:
    """One machine with lego; its account and certificates are in a folder of its own."""

    server: RunningServer
    folder: Path
    name: str = field(default_factory=lambda: f"lego-{next(_numbers)}.localhost")
    key_type: str = "ec256"
    options: tuple[str, ...] = ()
    solver: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, command: str, *arguments: str, names: tuple[str, ...] = (), check: bool = True
    ) -> CompletedProcess[str]:
        return run(
            require_program("lego"),
            "--path",
            self.folder,
            "--server",
            self.server.acme_directory,
            "--accept-tos",
            "--email",
            "pki@example.com",
            "--key-type",
            self.key_type,
            *(self.solver or ("--http", "--http.port", f"127.0.0.1:{self.server.http01_port}")),
            *self.options,
            *(word for name in names or (self.name,) for word in ("--domains", name)),
            command,
            *arguments,
            environment={"LEGO_CA_CERTIFICATES": str(self.server.root_pem), **self.environment},
            check=check,
            timeout=100,
        )

    def accepted(self) -> x509.Certificate:
        """The certificate that lego wrote, verified with openssl and found in the store."""
        path = self.folder / "certificates" / f"{self.name}.crt"
        openssl_verify(self.server, path, "sslserver")
        leaf, issuing = x509.load_pem_x509_certificates(path.read_bytes())
        leaf.verify_directly_issued_by(issuing)
        assert self.server.is_stored(leaf)
        return leaf


@pytest.fixture
def lego(server: RunningServer, tmp_path: Path) -> Lego:
    return Lego(server, tmp_path)


def test_lego_gets_a_certificate_and_renews_it(lego: Lego) -> None:
    lego("run")
    first = lego.accepted()
    assert dns_names(first) == [lego.name]
    lego("renew", "--days", "365", "--no-random-sleep")
    second = lego.accepted()
    assert dns_names(second) == [lego.name]
    assert second.serial_number != first.serial_number
    assert second.public_key() != first.public_key()


def test_lego_renews_with_the_same_key(lego: Lego) -> None:
    lego("run")
    first = lego.accepted()
    lego("renew", "--days", "365", "--no-random-sleep", "--reuse-key")
    assert lego.accepted().public_key() == first.public_key()


@pytest.mark.parametrize("key_type", ["rsa2048", "ec384"])
def test_lego_enrolls_other_kinds_of_keys(lego: Lego, key_type: str) -> None:
    lego.key_type = key_type
    lego("run")
    assert dns_names(lego.accepted()) == [lego.name]


def test_lego_gets_one_certificate_for_several_names(lego: Lego) -> None:
    names = (lego.name, f"www.{lego.name}", f"api.{lego.name}")
    lego("run", names=names)
    assert set(dns_names(lego.accepted())) == set(names)


def test_lego_revokes(lego: Lego) -> None:
    lego("run")
    certificate = lego.accepted()
    lego("revoke", "--keep")
    shown = lego.server.certwright("cert", "show", format(certificate.serial_number, "x")).stdout
    assert "revoked" in shown.lower()
    again = lego("revoke", check=False)
    assert again.returncode != 0
    assert "alreadyRevoked" in again.stdout + again.stderr


def test_lego_is_told_which_name_is_forbidden_and_why(lego: Lego) -> None:
    refused = lego("run", names=(lego.name, "lego.google.com"), check=False)
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert "rejectedIdentifier" in said
    assert "lego.google.com" in said
    (row,) = refusals(lego.server, "lego.google.com")
    shown = lego.server.certwright("request", "show", str(row["id"]), "--json").stdout
    assert "tls-server.yaml" in shown


def test_lego_goes_by_the_answer_to_its_challenge_and_polls_nothing(lego: Lego) -> None:
    log = lego.server.process.log
    before = log.stat().st_size
    lego("run")
    asked = re.findall(rb"method=POST path=/acme/([a-z-]+)", log.read_bytes()[before:])
    assert asked == [b"new-account", b"new-order", b"authorization", b"challenge", b"order", b"certificate"]
