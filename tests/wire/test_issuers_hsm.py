"""A server whose CA keys and SCEP RA key are in an HSM (SoftHSM2), with the signer process killed under load."""

from __future__ import annotations

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import ocsp

from ca import ceremony
from ca.backends.hsm import HsmRsaKey, SignerProcess, generate_hsm_key, hsm_key
from ca.ceremony import Credential
from ca.names import DistinguishedName
from server.clock import system_clock
from tests.fakes.softhsm import PIN, make_token
from tests.wire.devices import device, openssl
from tests.wire.issuing import add_issuer, enroll, make_deployment, validate
from tests.wire.running import COMMAND, REPOSITORY, require_strongswan, run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

    from ca.backends.hsm import Token
    from server.deployment.folder import Deployment
    from tests.wire.running import RunningServer

KINDS = {"hsm-ec": "P-384", "hsm-rsa": "rsa:2048", "hsm-pss": "rsa:2048"}


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    with pytest.MonkeyPatch.context() as environment:
        yield make_token(tmp_path_factory.mktemp("hsm"), environment)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, token: Token) -> Iterator[RunningServer]:
    deployment = make_deployment(tmp_path_factory.mktemp("hsm-server") / "deployment")
    pin = deployment.folder / "secrets" / "pin"
    pin.write_text(f"{PIN}\n")
    hsm = f"module: {token.module}, token: {token.label}, pin: {{file: secrets/pin}}"
    reach = ("--module", str(token.module), "--token", str(token.label), "--pin-file", str(pin))
    run(*COMMAND, "ca", "hsm", "generate", *reach, "--label", "hsm-ec", "--kind", "P-384")
    request = run(*COMMAND, "ca", "hsm", "csr", *reach, "--label", "hsm-ec", "--subject", "CN=hsm-ec CA").stdout
    certify(deployment, "hsm-ec", x509.load_pem_x509_csr(request.encode()))
    signer = SignerProcess(token)
    for number, (name, kind) in enumerate({**KINDS, "ra": "rsa:2048", "ocsp": "P-256"}.items()):
        if number:  # the first was made as a person does it
            key = generate_hsm_key(signer, name, kind, bytes([number]))
            subject = DistinguishedName.from_text(f"CN={name} CA")
            certify(deployment, name, ceremony.make_ca_request(key, subject))
    signer.close()
    for name in KINDS:
        files = f"certificate: ca/{name}.pem, chain: root.pem, hsm: {{{hsm}, key: {name}}}"
        if name == "hsm-ec":
            files += f", status: {{ocsp: {{hsm: {{{hsm}, key: ocsp}}}}}}"
        add_issuer(deployment, name, f"{{type: pkcs11, {files}{', signature: pss' if name == 'hsm-pss' else ''}}}")
    put_ra_into(deployment, token, hsm)
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def root_of(deployment: Deployment) -> Credential:
    folder = deployment.folder / "ca"
    passphrase = (folder / "root.passphrase").read_text().strip().encode()
    key = load_pem_private_key((folder / "root.key").read_bytes(), passphrase)
    certificate = x509.load_pem_x509_certificate(deployment.root_pem.read_bytes())
    return Credential(key, certificate)  # type: ignore[arg-type] # the root's key is an EC key


def certify(deployment: Deployment, name: str, request: x509.CertificateSigningRequest) -> None:
    """Certify an issuing CA as the offline root does."""
    made = ceremony.certify_issuing_ca(root_of(deployment), request, now=system_clock())
    (deployment.folder / "ca" / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))


def put_ra_into(deployment: Deployment, token: Token, hsm: str) -> None:
    """Give the SCEP endpoint an RA whose key is in the HSM."""
    signer = SignerProcess(token)
    key = hsm_key(signer, "ra")
    signer.close()
    assert isinstance(key, HsmRsaKey)
    subject = DistinguishedName.from_text("CN=RA in an HSM")
    made = ceremony.make_ra_certificate(root_of(deployment), subject, now=system_clock(), key=key)
    (deployment.folder / "ra" / "ra.pem").write_bytes(made.certificate_pem())
    text = re.sub(r"(?m)^      key: ra/ra.key$", f"      hsm: {{{hsm}, key: ra}}", deployment.config.read_text())
    text = re.sub(r"(?m)^      passphrase_file: ra/ra.passphrase\n", "", text)
    renewal = "    ra_renewal: {profile: scep-ra, before: 3650d, folder: ra/renewed}\n"
    deployment.config.write_text(text.replace("  scep/default:\n", f"  scep/default:\n{renewal}"))
    (example,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "server/scep/README.md").read_text(), re.DOTALL)
    (deployment.folder / "policies" / "scep-ra.yaml").write_text(example)


@pytest.mark.parametrize("name", KINDS)
def test_each_key_in_the_hsm_issues(server: RunningServer, tmp_path: Path, name: str) -> None:
    pump = device(tmp_path / "pump", f"pump-{name}.example")
    status, text = enroll(server, pump, name)
    assert status == 200, text
    own = server.folder / "ca" / f"{name}.pem"
    validate(pump, server.root_pem, own)
    (certificate,) = x509.load_pem_x509_certificates(pump.certificate.read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(own.read_bytes()))
    assert server.is_stored(certificate)


def scep(server: RunningServer, ra: Path, *request: str | Path) -> CompletedProcess[str]:
    pki = require_strongswan()
    return run(
        *(pki, "--scep", "--url", server.scep_url, "--password", server.scep_challenge, "--outform", "pem", *request),
        *("--cacert-enc", ra, "--cacert-sig", ra, "--cacert", server.chain_pem, "--cacert", server.root_pem),
    )


def test_strongswan_enrolls_by_scep_with_an_ra_key_in_the_hsm(server: RunningServer, tmp_path: Path) -> None:
    key, ra = tmp_path / "router.key", server.folder / "ra" / "ra.pem"
    openssl("genrsa", "-out", key, "2048")
    done = scep(server, ra, "--in", key, "--dn", "CN=router-hsm", "--san", "router-hsm.example")
    assert server.is_stored(x509.load_pem_x509_certificate(done.stdout.encode()))


def test_the_ra_in_the_hsm_has_renewed_its_certificate_and_kept_its_key(server: RunningServer, tmp_path: Path) -> None:
    old = x509.load_pem_x509_certificate((server.folder / "ra" / "ra.pem").read_bytes())
    (renewed,) = (server.folder / "ra" / "renewed").iterdir()
    new = x509.load_pem_x509_certificate(renewed.read_bytes())
    assert (new.public_key(), new.subject) == (old.public_key(), old.subject)
    assert new.serial_number != old.serial_number
    assert server.is_stored(new)
    openssl("genrsa", "-out", tmp_path / "router.key", "2048")
    done = scep(server, renewed, "--in", tmp_path / "router.key", "--dn", "CN=router-2", "--san", "router-2.example")
    assert server.is_stored(x509.load_pem_x509_certificate(done.stdout.encode()))


def signers(server: RunningServer) -> list[int]:
    """Return the signer processes of a server."""
    found = []
    for pid in server.process.family():
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and b"pkcs11_signer" in command.read_bytes():
            found.append(pid)
    return found


def test_enrollments_survive_the_death_of_the_signer_process(server: RunningServer, tmp_path: Path) -> None:
    pumps = [device(tmp_path / f"pump-{n}", f"killed-{n}.example") for n in range(12)]
    enroll(server, device(tmp_path / "first", "first.example"), "hsm-ec")
    before = signers(server)
    assert before
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(enroll, server, pump, "hsm-ec") for pump in pumps]
        for _ in range(3):
            time.sleep(0.1)
            for pid in signers(server):
                os.kill(pid, signal.SIGKILL)
        answers = [each.result() for each in waiting]
    for pump, (status, _) in zip(pumps, answers, strict=True):
        if status != 200:
            assert status in {500, 503}
            assert enroll(server, pump, "hsm-ec")[0] == 200
    names = [name for certificate in server.stored_certificates() for name in names_of(certificate)]
    assert all(names.count(pump.name) == 1 for pump in pumps)
    assert not set(signers(server)) & set(before)


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names; the server's own certificates have none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def test_ocsp_answers_are_signed_in_the_hsm(server: RunningServer, token: Token, tmp_path: Path) -> None:
    pump = device(tmp_path / "pump", "hsm-ocsp.example")
    assert enroll(server, pump, "hsm-ec")[0] == 200
    issuer, answer = server.folder / "ca" / "hsm-ec.pem", tmp_path / "answer"
    asked = ("ocsp", "-issuer", issuer, "-cert", pump.certificate, "-url", f"{server.http_url}/ocsp")
    for more in ("-nonce", "-no_nonce"):
        said = openssl(*asked, more, "-CAfile", server.root_pem, "-resp_text", "-respout", answer)
        assert "good" in said
    response = ocsp.load_der_ocsp_response(answer.read_bytes())
    signer = SignerProcess(token)
    assert response.certificates[0].public_key() == hsm_key(signer, "ocsp").public_key()
    signer.close()


def test_tokens_and_keys_are_listed(server: RunningServer, token: Token) -> None:
    reach = ("--module", str(token.module), "--token", str(token.label), "--pin-file", "secrets/pin")
    text = server.certwright("ca", "hsm", "list", *reach).stdout
    assert "certwright" in text
    assert all(name in text for name in KINDS)
    wrong = server.certwright("ca", "hsm", "list", *reach[:-1], "credentials.json", check=False)
    assert wrong.returncode == 1
    assert "Pin" in wrong.stderr


def test_a_wrong_pin_stops_the_start_with_the_place(server: RunningServer, tmp_path: Path) -> None:
    pin = server.folder / "secrets" / "pin"
    pin.write_text("000000")
    done = run(*COMMAND, "doctor", "--config", server.config, check=False)
    pin.write_text(f"{PIN}\n")
    assert "PinIncorrect" in done.stdout
    assert re.search(r"server.yaml:\d+:\d+", done.stdout)
    assert "after some wrong ones it locks itself" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("token: certwright", "token: other", "NoSuchToken"),
        ("key: hsm-ec", "key: other", "NoSuchKey"),
        ("libsofthsm2.so", "libother.so", "cannot open shared object file"),
    ],
)
def test_what_the_hsm_does_not_have_is_told_at_the_word_that_names_it(
    server: RunningServer, old: str, new: str, message: str
) -> None:
    text = server.config.read_text().replace(old, new, 1)
    other = server.config.with_name("other.yaml")
    other.write_text(text)
    done = run(*COMMAND, "doctor", "--config", other, check=False)
    other.unlink()
    (line,) = {int(found) for found in re.findall(r"correct it in .*other.yaml:(\d+):", done.stdout)}
    assert message in done.stdout
    assert new in text.splitlines()[line - 1]
