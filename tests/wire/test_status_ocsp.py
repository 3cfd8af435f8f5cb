"""OCSP over HTTP, judged by OpenSSL and GnuTLS."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ca.ceremony import generate_key
from tests.wire.devices import device, openssl
from tests.wire.issuing import PASSPHRASE, add_issuer, enroll, make_ca, make_deployment
from tests.wire.running import require_program, run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.devices import Device
    from tests.wire.running import RunningServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    deployment = make_deployment(tmp_path_factory.mktemp("ocsp") / "deployment")
    (deployment.folder / "ca" / "pass").write_text(f"{PASSPHRASE}\n")
    for name, kind in (("rsa", "rsa:2048"), ("mldsa65", "ml-dsa-65")):
        make_ca(deployment.folder / "ca", name, generate_key(kind))
        files = f"certificate: ca/{name}.pem, chain: ca/{name}.pem, key: ca/{name}.key, passphrase: {{file: ca/pass}}"
        add_issuer(deployment, name, f"{{type: local, {files}}}")
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def enrolled(server: RunningServer, folder: Path, name: str, label: str = "default") -> Device:
    pump = device(folder / name, f"{name}.example")
    status, text = enroll(server, pump, label)
    assert status == 200, text
    return pump


def certificate(pump: Device) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pump.certificate.read_bytes())[0]


def ask(server: RunningServer, pump: Device, ca: Path, *more: str, digest: str = "-sha1") -> str:
    trust = server.root_pem if ca.name == "issuing.pem" else ca
    command = ("openssl", "ocsp", "-issuer", ca, "-CAfile", trust, "-verify_other", ca)
    done = run(*command, digest, "-cert", pump.certificate, "-url", f"{server.http_url}/ocsp", *more)
    return done.stdout + done.stderr


@pytest.mark.parametrize("digest", ["-sha1", "-sha256"])
def test_openssl_gets_good_then_revoked(server: RunningServer, tmp_path: Path, digest: str) -> None:
    pump, ca = enrolled(server, tmp_path, f"pump{digest}"), server.folder / "ca" / "issuing.pem"
    said = ask(server, pump, ca, digest=digest)
    assert "Response verify OK" in said
    assert re.search(r"\.pem: good", said), said
    assert "no nonce" not in said
    server.certwright("cert", "revoke", format(certificate(pump).serial_number, "x"), "--reason", "keyCompromise")
    for more in ((), ("-no_nonce",)):
        said = ask(server, pump, ca, *more, digest=digest)
        assert ": revoked" in said
        assert "Reason: keyCompromise" in said


def test_several_issuers_are_answered_each_by_its_own_responder(server: RunningServer, tmp_path: Path) -> None:
    pump, ca = enrolled(server, tmp_path, "other", "rsa"), server.folder / "ca" / "rsa.pem"
    said = ask(server, pump, ca)
    assert "Response verify OK" in said
    assert ".pem: good" in said


def test_several_certificates_in_one_request_are_answered(server: RunningServer, tmp_path: Path) -> None:
    first, second = enrolled(server, tmp_path, "first"), enrolled(server, tmp_path, "second")
    said = ask(server, first, server.folder / "ca" / "issuing.pem", "-cert", str(second.certificate))
    assert "Response verify OK" in said
    assert said.count(": good") == 2


def test_foreign_certificates_get_unauthorized_and_unknown(server: RunningServer, tmp_path: Path) -> None:
    pump, ca = enrolled(server, tmp_path, "known"), server.folder / "ca" / "issuing.pem"
    said = run(
        "openssl", "ocsp", "-issuer", server.root_pem, "-cert", ca, "-url", f"{server.http_url}/ocsp", check=False
    )
    assert "unauthorized" in said.stdout + said.stderr
    said = run(
        *("openssl", "ocsp", "-issuer", ca, "-serial", "0x1234", "-CAfile", server.root_pem, "-verify_other", ca),
        *("-url", f"{server.http_url}/ocsp"),
    )
    assert "0x1234: unknown" in said.stdout
    assert ".pem: good" in ask(server, pump, ca)


def test_gnutls_verifies_an_answer(server: RunningServer, tmp_path: Path) -> None:
    ocsptool = require_program("ocsptool", "apt-get install gnutls-bin")
    pump, ca = enrolled(server, tmp_path, "gnutls"), server.folder / "ca" / "issuing.pem"
    answer = tmp_path / "answer.der"
    pem = tmp_path / "leaf.pem"
    pem.write_bytes(certificate(pump).public_bytes(Encoding.PEM))
    run(
        *(ocsptool, f"--ask={server.http_url}/ocsp", "--load-cert", pem, "--load-issuer", ca),
        *("--nonce", "--outfile", answer, "--load-trust", server.chain_pem),
    )
    done = run(ocsptool, "--verify-response", "--load-response", answer, "--load-trust", server.chain_pem)
    assert "Verifying OCSP Response: Success" in done.stdout + done.stderr


def test_get_is_cached_and_ml_dsa_issuers_are_answered(server: RunningServer, tmp_path: Path) -> None:
    own = certificate(enrolled(server, tmp_path, "pq", "mldsa65"))
    ca = x509.load_pem_x509_certificate((server.folder / "ca" / "mldsa65.pem").read_bytes())
    request = ocsp.OCSPRequestBuilder().add_certificate(own, ca, hashes.SHA256()).build()
    path = quote(base64.b64encode(request.public_bytes(Encoding.DER)), safe="")
    head, body = tmp_path / "head", tmp_path / "body"
    answers = []
    for _ in range(2):
        run("curl", "--silent", "--fail", "-D", head, "--output", body, f"{server.http_url}/ocsp/{path}")
        answers.append(body.read_bytes())
    assert "max-age=300" in head.read_text()
    assert answers[0] == answers[1]
    answer = ocsp.load_der_ocsp_response(answers[0])
    assert answer.certificate_status is ocsp.OCSPCertStatus.GOOD
    (responder,) = answer.certificates
    responder.verify_directly_issued_by(ca)
    key = responder.public_key()
    assert isinstance(key, mldsa.MLDSA65PublicKey)
    key.verify(answer.signature, answer.tbs_response_bytes)
    assert openssl("asn1parse", "-inform", "DER", "-in", body)


@pytest.mark.parametrize("body", [b"", b"garbage", b"0" * 20000])
def test_what_is_no_request_gets_a_proper_error(server: RunningServer, tmp_path: Path, body: bytes) -> None:
    (tmp_path / "body").write_bytes(body)
    reply = tmp_path / "reply"
    run("curl", "--silent", "--fail", "--data-binary", f"@{tmp_path / 'body'}", "-o", reply, f"{server.http_url}/ocsp")
    answer = ocsp.load_der_ocsp_response(reply.read_bytes())
    assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
