"""Several CAs in one server: each endpoint hands out certificates of its own."""

from __future__ import annotations

import re
from base64 import encodebytes
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.ceremony import generate_key
from server.bench.acme import AcmeClient, AcmeJob
from server.bench.acme_account import base64url
from server.bench.load import EnrollmentFailed
from tests.ca.requests import stated
from tests.wire.devices import Device, device, openssl
from tests.wire.issuing import PASSPHRASE, add_issuer, enroll, make_ca, make_deployment, validate
from tests.wire.running import run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ca.tbs import SigningKey
    from server.deployment.folder import Deployment
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
    post_quantum(deployment)
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def post_quantum(deployment: Deployment) -> None:
    """Let ``est/mldsa65`` and ``acme/mldsa65`` certify ML-DSA and ML-KEM keys too, each for what it can do."""
    config = deployment.config.read_text()
    http01 = config[config.index("    http01:\n") :]
    endpoint = f"  acme/mldsa65:\n    profiles: [acme-mldsa65]\n    issuer: mldsa65\n{http01}"
    deployment.config.write_text(config.replace("\nendpoints:\n", f"\nendpoints:\n{endpoint}"))
    policies = deployment.folder / "policies"
    acme, _, _ = (policies / "tls-server.yaml").read_text().partition("\ntests:")
    acme = acme.replace("  tls-server:\n", "  acme-mldsa65:\n").replace("issuer: issuing", "issuer: mldsa65")
    acme = acme.replace("      forced_for: {rsa: [keyEncipherment]}\n", "")
    for file, text in (("mldsa65", (policies / "mldsa65.yaml").read_text()), ("acme-mldsa65", acme)):
        profile = re.sub(r"(?m)^(      allowed: )\[.*ed25519\]$", r"\1[ml-dsa-65, ml-kem-768, 'ec:P-256']", text)
        usages = "{ml-dsa-65: [digitalSignature], ec: [digitalSignature], ml-kem-768: [keyEncipherment]}"
        (policies / f"{file}.yaml").write_text(profile.replace("forced: [digitalSignature]", f"forced_for: {usages}"))


@pytest.mark.parametrize("name", KINDS)
def test_each_endpoint_enrolls_with_its_own_ca(server: RunningServer, tmp_path: Path, name: str) -> None:
    pump = device(tmp_path / "pump", f"pump-{name}.example")
    status, text = enroll(server, pump, name)
    assert status == 200, text
    (certificate,) = x509.load_pem_x509_certificates(pump.certificate.read_bytes())
    own = server.folder / "ca" / f"{name}.pem"
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(own.read_bytes()))
    assert server.is_stored(certificate)
    if not name.startswith("mldsa"):
        validate(pump, own, webpki=name != "ed25519")
    elif "ML-DSA" in openssl("list", "-signature-algorithms"):  # which OpenSSL knows from 3.5 on, GnuTLS not yet
        openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", own, pump.certificate)


def test_the_chain_of_an_endpoint_is_that_of_its_ca(server: RunningServer, tmp_path: Path) -> None:
    for name in ("pss", "mldsa65"):
        url = f"{server.est_url}/{name}/cacerts"
        text = run("curl", "--silent", "--show-error", "--fail", "--cacert", server.root_pem, url).stdout
        (tmp_path / "chain").write_text(text)
        openssl("base64", "-d", "-in", tmp_path / "chain", "-out", tmp_path / "chain.der")
        subjects = openssl("pkcs7", "-inform", "DER", "-in", tmp_path / "chain.der", "-print_certs", "-noout")
        assert f"{name} CA" in subjects


def csr_of(name: str, subject: str) -> tuple[SigningKey, bytes]:
    """Make an ML-DSA key and a request for it."""
    key = generate_key("ml-dsa-65")
    san = x509.SubjectAlternativeName([x509.DNSName(name)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name.from_rfc4514_string(subject)).add_extension(
        san, critical=False
    )
    return key, builder.sign(key, None).public_bytes(Encoding.DER)


def certified(answer: bytes, server: RunningServer, key: object) -> x509.Certificate:
    """Return the first certificate; it is for the key and by the ML-DSA CA."""
    certificate = x509.load_pem_x509_certificates(answer)[0]
    ca = x509.load_pem_x509_certificate((server.folder / "ca" / "mldsa65.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)
    assert certificate.public_key() == key
    assert server.is_stored(certificate)
    return certificate


def test_an_ml_dsa_ca_certifies_ml_dsa_and_then_ml_kem_keys_by_est(server: RunningServer, tmp_path: Path) -> None:
    pump = Device(tmp_path, "pq.example")

    def ask(data: bytes) -> int:
        pump.csr.write_bytes(encodebytes(data))
        return enroll(server, pump, "mldsa65")[0]

    key, data = csr_of(pump.name, "CN=pq.example")
    assert ask(data) == 200
    signing = certified(pump.certificate.read_bytes(), server, key.public_key())
    kem = mlkem.MLKEM768PrivateKey.generate().public_key()
    spki = kem.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert ask(stated(spki, generate_key("ml-dsa-65"), signing)) == 400  # a statement of somebody else
    assert ask(stated(spki, key, signing)) == 200
    certificate = certified(pump.certificate.read_bytes(), server, kem)
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    server.certwright("cert", "revoke", format(signing.serial_number, "x"))
    assert ask(stated(spki, key, signing, certificate=True)) == 400


async def test_an_ml_dsa_ca_certifies_ml_dsa_and_then_ml_kem_keys_by_acme(server: RunningServer) -> None:
    directory = replace(server, acme_label="mldsa65").acme_directory
    async with AcmeClient(directory, server.root_pem, http01_port=server.http01_port) as client:
        key, data = csr_of("pq.localhost", "")
        job = AcmeJob(key.public_key(), "pq.localhost", base64url(data))  # type: ignore[arg-type] # any key
        signing = certified(await client.send(job), server, key.public_key())
        kem = mlkem.MLKEM768PrivateKey.generate().public_key()
        spki = kem.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for signer, ok in ((generate_key("ml-dsa-65"), False), (key, True)):
            job = AcmeJob(kem, "pq.localhost", base64url(stated(spki, signer, signing)))  # type: ignore[arg-type] # any key
            if ok:
                certified(await client.send(job), server, kem)
            else:
                with pytest.raises(EnrollmentFailed):
                    await client.send(job)


def test_the_command_line_reads_such_a_deployment(server: RunningServer) -> None:
    server.certwright("policy", "check")
