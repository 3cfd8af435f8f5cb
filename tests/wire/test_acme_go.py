"""ACME with libraries for Go: acmez, golang.org/x/crypto/acme, and a TPM that go-attestation speaks to."""

from __future__ import annotations

import json
import subprocess
import tempfile
from base64 import b64encode
from datetime import datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.wire.devices import dns_names
from tests.wire.running import REPOSITORY, openssl_verify, require_program, run, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.wire.acme_site import AcmeSite
    from tests.wire.running import RunningServer

PROGRAM = REPOSITORY / ".venv-acme-go" / "acme-go"
_serials = count(1)


def go(server: RunningServer, **settings: Any) -> dict[str, Any]:
    """Return what the program in tests/wire/acme_go found."""
    if not PROGRAM.exists():
        pytest.skip("the clients for Go are not built: make acme-go (needs Go)")
    given = {"directory": server.acme_directory, "root": str(server.root_pem), **settings}
    return dict(json.loads(run(PROGRAM, json.dumps(given)).stdout))


def leaf(server: RunningServer, chain: str, purpose: str) -> x509.Certificate:
    """Return the first certificate of a chain: good, and in the store."""
    made, issuing = x509.load_pem_x509_certificates(chain.encode())
    made.verify_directly_issued_by(issuing)
    openssl_verify(server, made, purpose)
    assert server.is_stored(made)
    return made


def begin(window: dict[str, str]) -> datetime:
    return datetime.fromisoformat(window["start"])


@pytest.mark.parametrize("challenge", ["dns-01", "dns-account-01", "dns-persist-01"])
def test_acmez_shows_control_by_dns_and_renews_when_it_is_told_to(site: AcmeSite, challenge: str) -> None:
    name = site.name("acmez")
    found = go(site.wide, do="acmez", records=str(site.records), name=name, challenge=challenge)
    assert set(found["profiles"]) == {"tls-server", "short"}
    first, second = (leaf(site.server, chain, "sslserver") for chain in found["certificates"])
    assert dns_names(first) == [name]
    assert set(dns_names(second)) == {name, f"*.{name}"}
    assert (first.not_valid_after_utc - first.not_valid_before_utc).days == 7
    assert first.not_valid_before_utc < begin(found["window"]) < first.not_valid_after_utc
    assert found["again"] == "urn:ietf:params:acme:error:alreadyReplaced"
    assert site.is_revoked(first)
    assert begin(found["revoked"]) < begin(found["window"])


def test_x_crypto_is_authorized_before_it_orders(site: AcmeSite) -> None:
    name = site.name("go")
    found = go(site.wide, do="x/crypto", records=str(site.records), name=name)
    certificate = leaf(site.server, found["certificates"][0], "sslserver")
    assert dns_names(certificate) == [name]
    assert (found["before"], found["order"], found["given back"]) == ("valid", "ready", "deactivated")
    assert found["alternates"] == 1
    assert found["contact"] == ["mailto:pki@example.com"]
    assert found["forbidden"] == "urn:ietf:params:acme:error:rejectedIdentifier"
    assert found["gone"] == "urn:ietf:params:acme:error:unauthorized"
    assert site.is_revoked(certificate)


@pytest.fixture(scope="module")
def tpm() -> Iterator[str]:
    """The socket of a TPM in software, which is new and started."""
    program = require_program("swtpm")
    with tempfile.TemporaryDirectory(prefix="certwright-tpm-") as folder:
        socket = Path(folder) / "socket"
        places = ("--tpmstate", f"dir={folder}", "--server", f"type=unixio,path={socket}")
        command = [program, "socket", "--tpm2", *places, "--flags", "not-need-init,startup-clear"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            try:
                until(lambda: socket.exists() or None, lambda: process.poll() is None, lambda: "no socket")
                yield str(socket)
            finally:
                process.kill()


def attest(site: AcmeSite, tpm: str, algorithm: str, serial: str, said: str) -> dict[str, Any]:
    """Let a device that its maker calls `serial` ask for a certificate for `said`."""
    settings = {"tpm": tpm, "blob": f"{tpm}.attestation-key", "algorithm": algorithm}
    made = go(site.devices, do="attestation key", **settings)
    public = load_pem_public_key(made["public"].encode())
    chain = site.maker.attestation_key(SimpleNamespace(public_key=lambda: public), serial)
    x5c = [b64encode(each).decode() for each in chain]
    return go(site.devices, do="device", name=said, x5c=x5c, **settings)


@pytest.mark.parametrize("algorithm", ["RSA", "ECDSA"])
def test_a_tpm_attests_the_key_that_its_device_gets_a_certificate_for(site: AcmeSite, tpm: str, algorithm: str) -> None:
    serial = f"C02-{next(_serials)}"
    found = attest(site, tpm, algorithm, serial, serial)
    assert "refused" not in found, found
    certificate = leaf(site.server, found["certificates"][0], "sslclient")
    assert certificate.subject.rfc4514_string() == f"CN={serial}"
    assert certificate.public_key() == load_pem_public_key(found["public"].encode())


def test_a_tpm_can_not_speak_for_another_device(site: AcmeSite, tpm: str) -> None:
    found = attest(site, tpm, "RSA", f"C02-{next(_serials)}", "C02-other")
    assert "badAttestationStatement" in found["refused"]
    assert "another device" in found["refused"]
