"""SCEP with strongSwan's `pki`, which throws away every answer that is not HTTP 200."""

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


class Router:
    """A router with an RSA key, and with a certificate once it has enrolled."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.key = folder / "router.key"
        self.certificate = folder / "router.pem"
        self.make_key(2048)

    def make_key(self, bits: int) -> None:
        self.key.write_text(pki("--gen", "--type", "rsa", "--size", str(bits), "--outform", "pem").stdout)

    def enroll(
        self, server: RunningServer, *evidence: str | Path, san: str | None = None, check: bool = True
    ) -> CompletedProcess[str]:
        """Enroll, or with ``--cert`` and ``--key`` as evidence renew."""
        trust = (
            server.ra_pem,
            "--cacert-sig",
            server.ra_pem,
            "--cacert",
            server.chain_pem,
            "--cacert",
            server.root_pem,
        )
        names = ("--dn", f"CN={self.name}", "--san", san or self.name)
        where = ("--url", server.scep_url, "--in", self.key, "--outform", "pem", "--cacert-enc", *trust)
        done = pki("--scep", *where, *names, *evidence, check=check)
        if done.returncode == 0:
            self.certificate.write_text(done.stdout)
        return done

    def set_aside(self) -> tuple[str | Path, ...]:
        """Make a new key; return the present certificate and key as evidence for the renewal."""
        certificate, key = self.folder / "old.pem", self.folder / "old.key"
        evidence = ("--cert", self.certificate.rename(certificate), "--key", self.key.rename(key))
        self.make_key(2048)
        return evidence


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path, f"scep-{next(_numbers)}.example")


def challenge(server: RunningServer) -> tuple[str, str]:
    return "--password", server.scep_challenge


def test_scepca_fetches_the_ra_the_issuing_ca_and_the_root(server: RunningServer, tmp_path: Path) -> None:
    out = ("--caout", tmp_path / "ca.pem", "--raout", tmp_path / "ra.pem", "--outform", "pem")
    pki("--scepca", "--url", server.scep_url, *out)
    fetched = {x509.load_pem_x509_certificate(path.read_bytes()) for path in tmp_path.glob("ca*.pem")}

    assert fetched == set(x509.load_pem_x509_certificates(server.chain_pem.read_bytes()))
    assert (tmp_path / "ra.pem").read_bytes().strip() == server.ra_pem.read_bytes().strip()


@pytest.mark.parametrize(
    "options",
    [(), ("--digest", "sha384"), ("--digest", "sha512", "--rsa-padding", "pss")],
    ids=["SHA-256", "SHA-384", "SHA-512, PSS"],
)
def test_a_router_enrolls_and_renews(server: RunningServer, router: Router, options: tuple[str, ...]) -> None:
    router.enroll(server, *challenge(server), *options)
    first = accept(server, router.certificate)
    router.enroll(server, *router.set_aside(), *options)
    second = accept(server, router.certificate)

    assert dns_names(first) == dns_names(second) == [router.name]
    assert first.subject == second.subject
    assert first.serial_number != second.serial_number
    assert first.public_key() != second.public_key()


def test_a_retry_gets_the_same_certificate(server: RunningServer, router: Router) -> None:
    router.enroll(server, *challenge(server))
    first = accept(server, router.certificate)
    router.enroll(server, *challenge(server))

    assert accept(server, router.certificate) == first


def test_a_wrong_challenge_is_refused_and_on_record(server: RunningServer, router: Router) -> None:
    done = router.enroll(server, "--password", "guess", check=False)

    assert done.returncode
    assert "badRequest" in done.stdout + done.stderr
    transaction = transaction_of(done)
    assert [refusal["reason"] for refusal in refusals(server, transaction)] == ["bad-credentials"]


def transaction_of(done: CompletedProcess[str]) -> str:
    """Return the transactionID that `pki` prints."""
    line = next(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("transaction ID:"))
    return line.partition(":")[2].strip()


def test_a_forbidden_name_is_refused_and_on_record(server: RunningServer, router: Router) -> None:
    done = router.enroll(server, *challenge(server), san=f"{router.name}.bank.invalid", check=False)

    assert done.returncode
    assert refusals(server, transaction_of(done))[0]["reason"] == "policy"


def test_a_weak_key_is_refused_and_on_record(server: RunningServer, router: Router) -> None:
    router.make_key(1024)
    done = router.enroll(server, *challenge(server), check=False)

    assert done.returncode
    assert refusals(server, transaction_of(done))[0]["reason"] == "policy"


def test_old_algorithms_are_refused_and_on_record(server: RunningServer, router: Router) -> None:
    done = router.enroll(server, *challenge(server), "--digest", "sha1", "--cipher", "des3", check=False)

    assert done.returncode
    # strongSwan 6 reads that in GetCACaps and sends nothing.
    if "not supported by CA" not in done.stdout + done.stderr:
        assert "badAlg" in done.stdout + done.stderr
        assert refusals(server, transaction_of(done))[0]["reason"] == "bad-algorithm"


def test_a_renewal_does_not_change_the_names(server: RunningServer, router: Router) -> None:
    router.enroll(server, *challenge(server))
    done = router.enroll(server, *router.set_aside(), san=f"other.{router.name}", check=False)

    assert done.returncode
    assert refusals(server, transaction_of(done))[0]["reason"] == "policy"


def test_a_revoked_certificate_does_not_renew(server: RunningServer, router: Router) -> None:
    router.enroll(server, *challenge(server))
    revoked = accept(server, router.certificate)
    server.certwright("cert", "revoke", f"{revoked.serial_number:x}")
    done = router.enroll(server, *router.set_aside(), check=False)

    assert done.returncode
    assert refusals(server, transaction_of(done))[0]["reason"] == "certificate-rejected"
