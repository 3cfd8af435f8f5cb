"""SCEP with jscep, a library for Java, which also asks for certificates and lists: GetCert and GetCRL."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from itertools import count
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from ca.ceremony import generate_key
from tests.wire.devices import dns_names, refusals
from tests.wire.issuing import add_ca_with_ra, make_deployment
from tests.wire.running import REPOSITORY, require_program, serve, until
from tests.wire.test_scep_modes import pending

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.deployment.folder import Deployment
    from tests.wire.running import RunningServer

DRIVER = Path(__file__).with_name("jscep") / "Jscep.java"
JARS = DRIVER.with_name("jars.sha256")
INSTALLED = REPOSITORY / ".venv-jscep"
RA = "ra: {certificate: ra/plant.pem, key: ra/plant.key, passphrase_file: ca/pass}"
ENDPOINTS = {
    "plant": (
        f"{{issuer: plant, profiles: [plant-device], {RA}, challenge: {{static: secrets/scep-challenge}}, "
        "get_cert: true, rollover: {issuer: issuing, profile: network-device, "
        "ra: {certificate: ra/ra.pem, key: ra/ra.key, passphrase_file: ra/ra.passphrase}}}"
    ),
    "by-hand": f"{{issuer: plant, profiles: [plant-visitor], {RA}, by_hand: true}}",
}
UNKNOWN_SERIAL = "4711"
_numbers = count(1)


def add_plant(deployment: Deployment) -> None:
    """Add a CA with an RSA key: under another kind of key jscep enrolls, but does not renew."""
    status = f"status: {{url: 'http://127.0.0.1:{deployment.ports.http}', crl: {{after_revocation: 1s}}}}"
    add_ca_with_ra(deployment, "plant", generate_key("rsa:2048"), ENDPOINTS, status)
    policies = deployment.folder / "policies"
    profile = (policies / "network-device.yaml").read_text().partition("\ntests:")[0]
    profile = profile.replace("issuer: issuing", "issuer: plant")
    (policies / "plant-device.yaml").write_text(profile.replace("  network-device:\n", "  plant-device:\n"))
    visitor = profile.replace("  network-device:\n", "  plant-visitor:\n    approval: manual\n")
    visitor = visitor.replace("any: [challenge]", "any: [possession]")
    (policies / "plant-visitor.yaml").write_text(visitor)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    installed()
    deployment = make_deployment(tmp_path_factory.mktemp("jscep") / "deployment")
    add_plant(deployment)
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def installed() -> tuple[str, list[Path]]:
    """Return java and the jars whose hashes were verified, those and no others."""
    java = require_program("java", "apt-get install default-jdk-headless")
    if not (INSTALLED / ".installed").exists():
        require_program("jscep", "make jscep (needs Maven)")
    return java, [INSTALLED / line.split()[1] for line in JARS.read_text().splitlines()]


class Jscep:
    """The driver at work in one JVM; it knows its devices by their names."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        java, jars = installed()
        self._server = server
        self._log = folder / "log"
        classes = ":".join(map(str, jars))
        command = [java, "-XX:+UseSerialGC", "-cp", classes, str(DRIVER), str(server.folder / "ca" / "plant.pem")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
            )

    def ask(self, operation: str, *words: str, label: str = "plant") -> tuple[str, list[str]]:
        """Have one operation done at an endpoint; return the word for what came of it and what follows that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        overdue = Timer(60, self._process.kill)
        overdue.start()
        self._process.stdin.write(" ".join((operation, f"{self._server.scep_url}/{label}", *words)) + "\n")
        word, *rest = self._process.stdout.readline().strip().split(" ")
        overdue.cancel()
        assert word not in {"", "error"}, f"{' '.join(rest)}\n{self._log.read_text()[-4000:]}"
        return word, rest

    def certificates(self, operation: str, *words: str, label: str = "plant") -> list[x509.Certificate]:
        """Return the certificates of an operation that must succeed."""
        word, rest = self.ask(operation, *words, label=label)
        assert rest, word
        return [x509.load_der_x509_certificate(b64decode(one)) for one in rest]

    def enroll(self, name: str) -> x509.Certificate:
        (issued,) = self.certificates("enroll", name, self._server.scep_challenge)
        return issued

    def crl(self, name: str) -> x509.CertificateRevocationList | None:
        """Return what GetCRL shows of the issuer of a device's certificate, None while there is nothing."""
        word, rest = self.ask("list", name)
        if word == "refused":
            assert rest == ["badCertId"]
            return None
        return x509.load_der_x509_crl(b64decode(rest[0]))

    def running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def jscep(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jscep]:
    client = Jscep(server, tmp_path_factory.mktemp("driver"))
    yield client
    client.stop()


@pytest.fixture
def name() -> str:
    return f"jscep-{next(_numbers)}.example"


@pytest.fixture(scope="module")
def asking(jscep: Jscep) -> str:
    """A device that has its certificate, and now asks for others'."""
    jscep.enroll("jscep-asks.example")
    return "jscep-asks.example"


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def accept(server: RunningServer, certificate: x509.Certificate, name: str) -> None:
    certificate.verify_directly_issued_by(read(server.folder / "ca" / "plant.pem"))
    assert dns_names(certificate) == [name]
    assert server.is_stored(certificate)


def test_jscep_reads_what_the_endpoint_can_and_its_certificates(server: RunningServer, jscep: Jscep) -> None:
    _, capabilities = jscep.ask("capabilities")
    assert {"AES", "GetNextCACert", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-256"} <= set(capabilities)
    shown = jscep.certificates("authorities")
    assert set(shown) == {read(server.folder / "ra" / "plant.pem"), read(server.folder / "ca" / "plant.pem")}


def test_jscep_enrolls_and_renews_with_a_new_key(server: RunningServer, jscep: Jscep, name: str) -> None:
    first = jscep.enroll(name)
    accept(server, first, name)
    (second,) = jscep.certificates("renew", name)
    accept(server, second, name)
    assert first.subject == second.subject
    assert first.serial_number != second.serial_number
    assert first.public_key() != second.public_key()


def test_jscep_polls_until_a_person_has_approved(server: RunningServer, jscep: Jscep, name: str) -> None:
    assert jscep.ask("enroll", name, label="by-hand") == ("pending", [])
    assert jscep.ask("poll", name, label="by-hand") == ("pending", [])
    server.said("request", "approve", pending(server, name))
    (issued,) = jscep.certificates("poll", name, label="by-hand")
    accept(server, issued, name)


def test_jscep_is_told_that_a_person_has_rejected(server: RunningServer, jscep: Jscep, name: str) -> None:
    assert jscep.ask("enroll", name, label="by-hand") == ("pending", [])
    server.said("request", "reject", pending(server, name), "--why", "unknown device")
    assert jscep.ask("poll", name, label="by-hand") == ("refused", ["badRequest"])


def test_jscep_gets_a_certificate_by_its_serial_number(jscep: Jscep, asking: str, name: str) -> None:
    wanted = jscep.enroll(name)
    assert jscep.certificates("certificate", asking, f"{wanted.serial_number:x}") == [wanted]


def test_jscep_is_told_when_there_is_no_such_certificate(jscep: Jscep, asking: str) -> None:
    assert jscep.ask("certificate", asking, UNKNOWN_SERIAL) == ("refused", ["badCertId"])


def test_jscep_gets_no_certificate_where_nobody_does(jscep: Jscep, asking: str) -> None:
    assert jscep.ask("certificate", asking, UNKNOWN_SERIAL, label="by-hand") == ("refused", ["badRequest"])


def test_jscep_gets_the_list_on_which_a_revoked_certificate_is(server: RunningServer, jscep: Jscep, name: str) -> None:
    own = jscep.enroll(name)
    crl = until(lambda: jscep.crl(name), jscep.running, jscep.log)
    ca = read(server.folder / "ca" / "plant.pem")
    assert crl.issuer == ca.subject
    assert crl.get_revoked_certificate_by_serial_number(own.serial_number) is None
    server.said("cert", "revoke", f"{own.serial_number:x}")

    def revoked() -> x509.CertificateRevocationList | None:
        newest = jscep.crl(name)
        return newest if newest and newest.get_revoked_certificate_by_serial_number(own.serial_number) else None

    key = ca.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert until(revoked, jscep.running, jscep.log).is_signature_valid(key)


def test_jscep_verifies_who_announces_the_next_ca(server: RunningServer, jscep: Jscep) -> None:
    """That is all: what it returns is the bag beside the signature, and not the next CA in the content."""
    assert jscep.certificates("next") == [read(server.folder / "ra" / "plant.pem")]


def test_jscep_is_refused_with_a_wrong_challenge(server: RunningServer, jscep: Jscep, name: str) -> None:
    assert jscep.ask("enroll", name, "guess") == ("refused", ["badRequest"])
    assert [refusal["reason"] for refusal in refusals(server, name)] == ["bad-credentials"]


def test_jscep_is_refused_a_forbidden_name(server: RunningServer, jscep: Jscep, name: str) -> None:
    forbidden = f"{name}.bank.invalid"
    assert jscep.ask("enroll", forbidden, server.scep_challenge) == ("refused", ["badRequest"])
    assert [refusal["reason"] for refusal in refusals(server, forbidden)] == ["policy"]
