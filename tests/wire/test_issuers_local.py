"""Several CAs in one server: each endpoint hands out certificates of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ca.ceremony import generate_key
from tests.wire.devices import device, openssl
from tests.wire.issuing import PASSPHRASE, add_issuer, enroll, make_ca, make_deployment
from tests.wire.running import run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

KINDS = {
    "rsa": "rsa:2048",
    "pss": "rsa:3072",
    "p384": "P-384",
    "p521": "P-521",
    "ed25519": "ed25519",
    "mldsa44": "ml-dsa-44",
    "mldsa65": "ml-dsa-65",
    "mldsa87": "ml-dsa-87",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    deployment = make_deployment(tmp_path_factory.mktemp("issuers") / "deployment")
    (deployment.folder / "ca" / "pass").write_text(f"{PASSPHRASE}\n")
    for name, kind in KINDS.items():
        make_ca(deployment.folder / "ca", name, generate_key(kind))
        files = f"certificate: ca/{name}.pem, chain: ca/{name}.pem, key: ca/{name}.key, passphrase: {{file: ca/pass}}"
        scheme = ", signature: pss" if name == "pss" else ""
        add_issuer(deployment, name, f"{{type: local, {files}{scheme}}}")
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


@pytest.mark.parametrize("name", KINDS)
def test_each_endpoint_enrolls_with_its_own_ca(server: RunningServer, tmp_path: Path, name: str) -> None:
    pump = device(tmp_path / "pump", f"pump-{name}.example")
    status, text = enroll(server, pump, name)
    assert status == 200, text
    (certificate,) = x509.load_pem_x509_certificates(pump.certificate.read_bytes())
    own = server.folder / "ca" / f"{name}.pem"
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(own.read_bytes()))
    assert server.is_stored(certificate)
    if not name.startswith("mldsa"):  # which Debian's OpenSSL 3.0 does not know
        openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", own, pump.certificate)


def test_the_chain_of_an_endpoint_is_that_of_its_ca(server: RunningServer, tmp_path: Path) -> None:
    for name in ("pss", "mldsa65"):
        url = f"{server.est_url}/{name}/cacerts"
        text = run("curl", "--silent", "--show-error", "--fail", "--cacert", server.root_pem, url).stdout
        (tmp_path / "chain").write_text(text)
        openssl("base64", "-d", "-in", tmp_path / "chain", "-out", tmp_path / "chain.der")
        subjects = openssl("pkcs7", "-inform", "DER", "-in", tmp_path / "chain.der", "-print_certs", "-noout")
        assert f"{name} CA" in subjects


def test_the_command_line_reads_such_a_deployment(server: RunningServer) -> None:
    server.certwright("policy", "check")
