"""Revocation lists of a real server, fetched over HTTP and judged by OpenSSL and GnuTLS."""

from __future__ import annotations

import re
import ssl
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.ceremony import generate_key
from tests.wire.devices import device, openssl
from tests.wire.issuing import PASSPHRASE, add_issuer, enroll, make_ca, make_deployment
from tests.wire.running import require_program, run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.wire.devices import Device
    from tests.wire.running import RunningServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two workers; the issuer ``issuing`` has three shards, ``other`` complete and delta lists.

    The server's own TLS certificate is renewed at once.
    """
    deployment = make_deployment(tmp_path_factory.mktemp("status") / "deployment")
    text = deployment.config.read_text()
    crl = "      crl: {after_revocation: 1s, shards: 3}\n"
    text = text.replace("folder: tls/renewed}", "folder: tls/renewed, before: 400d, lifetime: 801d}")
    deployment.config.write_text(re.sub(r"(?m)^    status:\n.*\n", rf"\g<0>{crl}", text))
    make_ca(deployment.folder / "ca", "other", generate_key("P-256"))
    (deployment.folder / "ca" / "pass").write_text(f"{PASSPHRASE}\n")
    files = "certificate: ca/other.pem, chain: ca/other.pem, key: ca/other.key, passphrase: {file: ca/pass}"
    url = f"http://127.0.0.1:{deployment.ports.http}"
    status = f"status: {{url: '{url}', crl: {{after_revocation: 1s, delta: true}}}}"
    add_issuer(deployment, "other", f"{{type: local, {files}, {status}}}")
    running = serve(deployment, workers=2)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def fetch(url: str) -> bytes:
    """Fetch over plain HTTP, as relying parties do; the first list may take a moment."""
    curl = require_program("curl")
    with tempfile.NamedTemporaryFile() as file:
        command = (curl, "--silent", "--fail", "--retry", "20", "--retry-delay", "1", "--retry-all-errors")
        run(*command, "--output", file.name, url)
        return Path(file.name).read_bytes()


def certificate(pump: Device) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pump.certificate.read_bytes())[0]


def list_address(of: x509.Certificate) -> str:
    points = of.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    names = points[0].full_name
    assert names is not None
    return str(names[0].value)


def current(pump: Device, *, revoked: bool) -> Path:
    """Wait for the list that the certificate names to say so; return it as PEM."""
    own, deadline = certificate(pump), time.monotonic() + 15
    while True:
        crl = x509.load_der_x509_crl(fetch(list_address(own)))
        if (crl.get_revoked_certificate_by_serial_number(own.serial_number) is not None) == revoked:
            path = pump.folder / "crl.pem"
            path.write_bytes(crl.public_bytes(Encoding.PEM))
            return path
        assert time.monotonic() < deadline, "the list does not follow"
        time.sleep(0.2)


def verify(server: RunningServer, pump: Device, crl: Path) -> str:
    ca = server.folder / "ca" / "issuing.pem"
    command = ("openssl", "verify", "-crl_check", "-extended_crl", "-x509_strict", "-CRLfile", crl)
    done = run(*command, "-CAfile", server.root_pem, "-untrusted", ca, pump.certificate, check=False)
    return done.stdout + done.stderr


def enrolled(server: RunningServer, folder: Path, name: str, label: str = "default") -> Device:
    pump = device(folder / name, f"{name}.example")
    status, text = enroll(server, pump, label)
    assert status == 200, text
    return pump


def test_openssl_follows_a_revocation(server: RunningServer, tmp_path: Path) -> None:
    good, bad = enrolled(server, tmp_path, "good"), enrolled(server, tmp_path, "bad")
    serial = format(certificate(bad).serial_number, "x")
    server.certwright("cert", "revoke", serial, "--reason", "keyCompromise", "--invalid-since", "2026-01-01")
    crl = current(bad, revoked=True)
    assert "certificate revoked" in verify(server, bad, crl)
    assert verify(server, good, current(good, revoked=False)).endswith(": OK\n")
    text = openssl("crl", "-in", crl, "-noout", "-text")
    assert "Key Compromise" in text
    assert "Invalidity Date" in text


def test_a_revoked_certificate_does_not_renew_at_once(server: RunningServer, tmp_path: Path) -> None:
    pump = enrolled(server, tmp_path, "renewing")
    server.certwright("cert", "revoke", format(certificate(pump).serial_number, "x"))
    done = run(
        *("curl", "--silent", "--cacert", server.root_pem, "--cert", pump.certificate, "--key", pump.key),
        *("-H", "Content-Type: application/pkcs10", "--data-binary", f"@{pump.csr}"),
        *("--output", tmp_path / "reply", "--write-out", "%{http_code}", f"{server.est_url}/simplereenroll"),
    )
    assert done.stdout in {"401", "403"}


def test_a_hold_is_lifted(server: RunningServer, tmp_path: Path) -> None:
    pump = enrolled(server, tmp_path, "held")
    serial = format(certificate(pump).serial_number, "x")
    server.certwright("cert", "revoke", serial, "--reason", "certificateHold")
    assert "certificate revoked" in verify(server, pump, current(pump, revoked=True))
    server.certwright("cert", "release", serial)
    assert verify(server, pump, current(pump, revoked=False)).endswith(": OK\n")


def test_openssl_learns_of_a_revocation_from_a_delta_list(server: RunningServer, tmp_path: Path) -> None:
    pump = enrolled(server, tmp_path, "delta", "other")
    own = certificate(pump)
    base = x509.load_der_x509_crl(fetch(list_address(own)))
    (freshest,) = base.extensions.get_extension_for_class(x509.FreshestCRL).value
    assert freshest.full_name is not None
    address = freshest.full_name[0].value
    server.certwright("cert", "revoke", format(own.serial_number, "x"))
    deadline = time.monotonic() + 60
    while (delta := x509.load_der_x509_crl(fetch(address))).get_revoked_certificate_by_serial_number(
        own.serial_number
    ) is None:
        assert time.monotonic() < deadline, "the list does not follow"
        time.sleep(0.2)
    assert x509.load_der_x509_crl(fetch(list_address(own))) == base
    indicator = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    number = base.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert (indicator.critical, indicator.value.crl_number) == (True, number)
    for name, crl in (("base.pem", base), ("delta.pem", delta)):
        (tmp_path / name).write_bytes(crl.public_bytes(Encoding.PEM))
    (tmp_path / "both.pem").write_text((tmp_path / "base.pem").read_text() + (tmp_path / "delta.pem").read_text())
    command = ("openssl", "verify", "-crl_check", "-extended_crl", "-CAfile", server.folder / "ca" / "other.pem")
    assert run(*command, "-CRLfile", tmp_path / "base.pem", pump.certificate).stdout.endswith(": OK\n")
    done = run(*command, "-use_deltas", "-CRLfile", tmp_path / "both.pem", pump.certificate, check=False)
    assert "certificate revoked" in done.stdout + done.stderr


def test_lists_come_with_what_caches_need(server: RunningServer) -> None:
    for file in ("issuing.crl", "issuing/1.crl", "other.crl", "other-delta.crl"):
        fetch(f"{server.http_url}/crl/{file}")
        headers = run("curl", "--silent", "--head", f"{server.http_url}/crl/{file}").stdout.lower()
        assert "content-type: application/pkix-crl" in headers
        assert re.search(r"cache-control: public, max-age=\d+, must-revalidate", headers)
        (tag,) = re.findall(r"etag: (\S+)", headers)
        again = ("--header", f"If-None-Match: {tag}", "--output", "/dev/null", "--write-out", "%{http_code}")
        assert run("curl", "--silent", *again, f"{server.http_url}/crl/{file}").stdout == "304"


def test_both_workers_show_the_same_renewed_certificate(server: RunningServer) -> None:
    first = x509.load_pem_x509_certificate((server.folder / "tls" / "server.pem").read_bytes())
    port = int(server.https_url.rpartition(":")[2])
    shown = {ssl.get_server_certificate(("127.0.0.1", port)) for _ in range(16)}
    (renewed,) = (x509.load_pem_x509_certificate(pem.encode()) for pem in shown)
    assert renewed.serial_number != first.serial_number
    assert server.is_stored(renewed)
    run("curl", "--silent", "--fail", "--cacert", server.root_pem, f"{server.est_url}/cacerts")


def test_gnutls_verifies_a_list(server: RunningServer, tmp_path: Path) -> None:
    certtool = require_program("certtool", "apt-get install gnutls-bin")
    crl = tmp_path / "crl.pem"
    fetched = x509.load_der_x509_crl(fetch(f"{server.http_url}/crl/issuing.crl"))
    crl.write_bytes(fetched.public_bytes(Encoding.PEM))
    ca = server.folder / "ca" / "issuing.pem"
    verified = run(certtool, "--verify-crl", "--infile", crl, "--load-ca-certificate", ca)
    assert "Verified." in verified.stdout + verified.stderr
    assert "CRL Number" in run(certtool, "--crl-info", "--infile", crl).stdout


def test_the_issuer_is_found_from_the_certificate(server: RunningServer, tmp_path: Path) -> None:
    own = certificate(enrolled(server, tmp_path, "orphan"))
    access = own.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    (address,) = [a.access_location.value for a in access if a.access_method._name == "caIssuers"]
    own.verify_directly_issued_by(x509.load_der_x509_certificate(fetch(address)))
