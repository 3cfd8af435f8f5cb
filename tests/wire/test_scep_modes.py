"""SCEP endpoints of several kinds in one server, with strongSwan's `pki` and micromdm's scepclient."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ca.ceremony import generate_key
from tests.wire.devices import accept, openssl, refusals
from tests.wire.issuing import add_ca_with_ra, make_deployment
from tests.wire.running import REPOSITORY, require_program, require_strongswan, run, serve
from tests.wire.test_scep_certmonger import Certmonger
from tests.wire.test_scep_strongswan import Router, pki, transaction_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

RA = "ra: {certificate: ra/ra.pem, key: ra/ra.key, passphrase_file: ra/ra.passphrase}"
STATIC = "challenge: {static: secrets/scep-challenge}"
ENDPOINTS = {
    "legacy-approved": (
        f"{{issuer: issuing, profiles: [approved-device], {RA}, {STATIC}, "
        "compatibility: legacy-des, ca_certificates: ra-only}"
    ),
    "by-hand": f"{{issuer: issuing, profiles: [approved-device], {RA}, by_hand: true}}",
    "legacy": (
        f"{{issuer: issuing, profiles: [network-device], {RA}, {STATIC}, "
        "compatibility: legacy-des, ca_certificates: ra-only, https: true}"
    ),
    "approved": f"{{issuer: issuing, profiles: [approved-device], {RA}, {STATIC}}}",
    "once": (
        f"{{issuer: issuing, profiles: [network-device], {RA}, "
        "challenge: {one_time: true, page: {users: secrets/est-passwords.yaml}}}"
    ),
    "patient": f"{{issuer: issuing, profiles: [patient-device], {RA}, {STATIC}}}",
    "renewing": (
        f"{{issuer: issuing, profiles: [network-device], {RA}, {STATIC}, "
        "ra_renewal: {profile: scep-ra, before: 3650d, folder: ra/renewed}}"
    ),
    "rolling": (
        f"{{issuer: issuing, profiles: [network-device], {RA}, {STATIC}, rollover: {{issuer: next, "
        "profile: next-device, ra: {certificate: ra/next.pem, key: ra/next.key, passphrase_file: ca/pass}}}"
    ),
}
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    deployment = make_deployment(tmp_path_factory.mktemp("scep") / "deployment")
    add_ca_with_ra(deployment, "next", generate_key("P-256"), ENDPOINTS)
    policies = deployment.folder / "policies"
    profile = (policies / "network-device.yaml").read_text().partition("\ntests:")[0]
    approved = profile.replace("  network-device:\n", "  approved-device:\n    approval: manual\n")
    approved = approved.replace("any: [challenge]", "any: [challenge, possession]")
    assert "possession" in approved
    (policies / "approved-device.yaml").write_text(approved)
    patient = profile.replace("  network-device:\n", "  patient-device:\n")
    assert "    renewal:\n" in patient
    patient = re.sub(r"(    renewal:\n)(      window: .*\n)?", r"\1      window: 1h\n", patient)
    (policies / "patient-device.yaml").write_text(patient)
    following = profile.replace("  network-device:\n", "  next-device:\n").replace("issuer: issuing", "issuer: next")
    following = following.replace("    renewal:\n", "    renewal:\n      profiles: [next-device, network-device]\n")
    (policies / "next-device.yaml").write_text(following)
    (policies / "scep-ra.yaml").write_text(example())
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


@dataclass(frozen=True)
class Mac:
    """micromdm's scepclient at work."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "client.pem"

    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture(scope="module", autouse=True)
def mac(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mac]:
    """Have a client wait in the background while other tests run: it has no shorter pause than 30 seconds."""
    folder = tmp_path_factory.mktemp("mac")
    program = require_program("scepclient", "apt-get install scep")
    files = ["-private-key", folder / "client.key", "-certificate", folder / "client.pem"]
    where = ["-server-url", f"{server.scep_url}/legacy-approved", "-cn", "mdm-9.example"]
    command = [program, *files, *where, "-challenge", server.scep_challenge]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        server.said("request", "approve", pending(server, "mdm-9.example"))
        yield Mac(process, folder)
    finally:
        process.kill()
        process.wait(60)


def example() -> str:
    """Return the profile that the README shows."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "server" / "scep" / "README.md").read_text(), re.DOTALL)
    return str(text)


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path, f"scep-mode-{next(_numbers)}.example")


def command(
    server: RunningServer, router: Router, label: str, *evidence: str | Path, ra: Path | None = None
) -> list[str | Path]:
    ra = ra or server.ra_pem
    trust = (ra, "--cacert-sig", ra, "--cacert", server.chain_pem, "--cacert", server.root_pem)
    where = ("--url", f"{server.scep_url}/{label}", "--in", router.key, "--outform", "pem", "--cacert-enc", *trust)
    return ["--scep", *where, "--dn", f"CN={router.name}", "--san", router.name, *evidence]


def enroll(
    server: RunningServer, router: Router, label: str, *evidence: str | Path, check: bool = True, ra: Path | None = None
) -> subprocess.CompletedProcess[str]:
    done = pki(*command(server, router, label, *evidence, ra=ra), check=check)
    if done.returncode == 0:
        router.certificate.write_text(done.stdout)
    return done


def challenge(server: RunningServer) -> tuple[str, str]:
    return "--password", server.scep_challenge


def pending(server: RunningServer, name: str) -> str:
    """Return the request of a name that a person must decide, once it is there."""
    with closing(sqlite3.connect(f"file:{server.deployment.database}?mode=ro", uri=True)) as database:
        for _ in range(600):
            rows = database.execute("SELECT id, csr FROM requests WHERE state = 'pending'")
            for identifier, csr in rows:
                if name.encode() in csr:
                    return str(identifier)
            time.sleep(0.1)
    pytest.fail("no request is pending")


def waiting(server: RunningServer, router: Router, label: str, *evidence: str) -> tuple[subprocess.Popen[str], str]:
    """Start a client that polls every second; return it with the request that a person must decide."""
    program = require_strongswan()
    polling = ("--interval", "1", "--maxpolltime", "60")
    arguments = [program, *command(server, router, label, *evidence, *polling)]
    client = subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return client, pending(server, router.name)


@pytest.mark.parametrize("label", ["approved", "by-hand"])
def test_a_router_polls_until_a_person_has_approved(server: RunningServer, router: Router, label: str) -> None:
    """With a challenge, or without any where a person alone decides."""
    client, request = waiting(server, router, label, *(challenge(server) if label == "approved" else ()))
    server.said("request", "approve", request)
    out, error = client.communicate(timeout=60)
    assert client.returncode == 0, error
    router.certificate.write_text(out)
    accept(server, router.certificate)


def test_a_router_that_a_person_rejects_is_told_so(server: RunningServer, router: Router) -> None:
    client, request = waiting(server, router, "approved", *challenge(server))
    server.said("request", "reject", request, "--why", "unknown device")
    _, error = client.communicate(timeout=60)
    assert client.returncode != 0
    assert "badRequest" in error


def test_certmonger_waits_for_a_person_and_polls(server: RunningServer, tmp_path: Path) -> None:
    name, daemon = "certmonger-waits.example", Certmonger(tmp_path)
    try:
        daemon.add_ca(server, "/approved")
        daemon.ask(name, server.scep_challenge, "-D", name)
        request = pending(server, name)
        daemon.wait_for("list", "status: CA_WORKING")
        server.said("request", "approve", request)
        daemon.getcert("refresh", "-i", name)
        daemon.wait_for("list", "status: MONITORING")
        accept(server, daemon.certificate(name))
    finally:
        daemon.stop()


def test_a_one_time_challenge_is_made_spent_and_not_burnt_by_a_retry(server: RunningServer, router: Router) -> None:
    made = json.loads(server.said("credential", "new", "scep/once", "--device", router.name, "--json"))
    secret = made["secret"]
    enroll(server, router, "once", "--password", secret)
    first = accept(server, router.certificate)
    enroll(server, router, "once", "--password", secret)
    assert accept(server, router.certificate) == first
    router.make_key(2048)
    done = enroll(server, router, "once", "--password", secret, check=False)
    assert done.returncode
    assert refusals(server, router.name)[0]["reason"] == "bad-credentials"
    told = server.said("request", "explain", transaction_of(done))
    assert "strongSwan" in told
    assert "bad-credentials" in told


def test_a_router_that_renews_too_early_is_refused_and_told_when_to_come(server: RunningServer, router: Router) -> None:
    enroll(server, router, "patient", *challenge(server))
    accept(server, router.certificate)
    done = enroll(server, router, "patient", *router.set_aside(), check=False)
    assert done.returncode
    assert "badRequest" in done.stderr
    assert refusals(server, transaction_of(done))[0]["reason"] == "policy"
    assert "it is too early to renew; try again from" in server.said("request", "explain", transaction_of(done))


def test_the_page_gives_a_challenge_to_who_logs_in(server: RunningServer, router: Router) -> None:
    curl = require_program("curl")
    page = f"{server.https_url}/scep/once/mscep_admin"
    common = (curl, "--silent", "--cacert", server.root_pem, "--output", router.folder / "page.html")
    user = ("--user", f"{server.est_username}:{server.est_password}")
    assert run(*common, "--write-out", "%{http_code}", page).stdout == "401"
    assert run(*common, *user, "--write-out", "%{http_code}", page).stdout == "200"
    text = (router.folder / "page.html").read_bytes().decode("utf-16")
    found = re.search(r"challenge password is: <B> (\S+) </B>", text)
    assert found is not None
    enroll(server, router, "once", "--password", found[1])
    accept(server, router.certificate)


def test_the_ra_has_renewed_itself_and_the_old_one_still_serves(
    server: RunningServer, router: Router, tmp_path: Path
) -> None:
    out = ("--caout", tmp_path / "ca.pem", "--raout", tmp_path / "new-ra.pem", "--outform", "pem")
    pki("--scepca", "--url", f"{server.scep_url}/renewing", *out)
    new = x509.load_pem_x509_certificate((tmp_path / "new-ra.pem").read_bytes())
    old = x509.load_pem_x509_certificate(server.ra_pem.read_bytes())
    assert new.subject == old.subject
    assert new.serial_number != old.serial_number
    enroll(server, router, "renewing", *challenge(server), ra=tmp_path / "new-ra.pem")
    first = accept(server, router.certificate)
    router.make_key(2048)
    enroll(server, router, "renewing", *challenge(server))
    assert accept(server, router.certificate) != first


def test_micromdms_scepclient_enrolls_and_renews_where_single_des_is_accepted(
    server: RunningServer, tmp_path: Path
) -> None:
    program = require_program("scepclient", "apt-get install scep")
    key, certificate = tmp_path / "client.key", tmp_path / "client.pem"
    files = ("-private-key", key, "-certificate", certificate, "-server-url", f"{server.scep_url}/legacy")
    name = ("-cn", "mdm-1.example", "-organization", "Example", "-country", "US", "-ou", "MDM")
    run(program, *files, *name, "-challenge", server.scep_challenge, cwd=tmp_path)
    first = accept(server, certificate)
    run(program, *files, *name, "-challenge", server.scep_challenge, cwd=tmp_path)
    second = accept(server, certificate)
    assert first.subject == second.subject
    assert first.serial_number != second.serial_number


def test_micromdms_scepclient_enrolls_and_renews_over_tls(server: RunningServer, tmp_path: Path) -> None:
    trust = {"SSL_CERT_FILE": str(server.root_pem)}
    program = require_program("scepclient", "apt-get install scep")
    certificate = tmp_path / "client.pem"
    files = ("-private-key", tmp_path / "client.key", "-certificate", certificate)
    url = ("-server-url", f"{server.https_url}/scep/legacy", "-cn", "mdm-3.example")
    run(program, *files, *url, "-challenge", server.scep_challenge, cwd=tmp_path, environment=trust)
    first = accept(server, certificate)
    run(program, *files, *url, "-challenge", server.scep_challenge, cwd=tmp_path, environment=trust)
    assert accept(server, certificate).serial_number != first.serial_number


def test_only_endpoints_that_say_so_are_served_over_tls(server: RunningServer) -> None:
    """By GET and POST. It is curl that asks: strongSwan's `pki` trusts the system's roots for TLS and no others."""
    curl = require_program("curl")
    written = ("--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert", server.root_pem)
    for label in ENDPOINTS:
        url = f"{server.https_url}/scep/{label}?operation="
        asked = run(curl, *written, f"{url}GetCACaps").stdout
        sent = run(curl, *written, "--data-binary", "no message", f"{url}PKIOperation").stdout
        assert (asked, sent) == (("200", "400") if label == "legacy" else ("404", "404"))


def test_micromdms_scepclient_is_refused_with_a_wrong_challenge(server: RunningServer, tmp_path: Path) -> None:
    program = require_program("scepclient", "apt-get install scep")
    files = ("-private-key", tmp_path / "client.key", "-certificate", tmp_path / "client.pem")
    url = ("-server-url", f"{server.scep_url}/legacy", "-cn", "mdm-2.example")
    assert run(program, *files, *url, "-challenge", "guess", cwd=tmp_path, check=False).returncode != 0
    assert not (tmp_path / "client.pem").exists()


def test_a_router_gets_a_certificate_of_the_next_ca_before_the_change(
    server: RunningServer, router: Router, tmp_path: Path
) -> None:
    """GetNextCACert announces the next CA; what is enveloped for its RA is issued by it, a renewal too."""
    curl = require_program("curl")
    fetched, content = tmp_path / "next.p7m", tmp_path / "next.p7b"
    run(curl, "--silent", "--fail", "--output", fetched, f"{server.scep_url}/rolling?operation=GetNextCACert")
    openssl("cms", "-verify", "-noverify", "-inform", "DER", "-in", fetched, "-binary", "-out", content)
    announced = openssl("pkcs7", "-inform", "DER", "-in", content, "-print_certs")
    ra, ca = x509.load_pem_x509_certificates(announced.encode())
    next_ca, next_ra = server.folder / "ca" / "next.pem", server.folder / "ra" / "next.pem"
    assert ca == x509.load_pem_x509_certificate(next_ca.read_bytes())
    assert ra == x509.load_pem_x509_certificate(next_ra.read_bytes())

    enroll(server, router, "rolling", *challenge(server))
    present = accept(server, router.certificate)
    trust = ("--cacert-sig", next_ra, "--cacert", next_ca)
    where = ("--url", f"{server.scep_url}/rolling", "--outform", "pem", "--cacert-enc", next_ra, *trust)
    evidence = router.set_aside()
    names = ("--dn", f"CN={router.name}", "--san", router.name)
    done = pki("--scep", *where, "--in", router.key, *names, *evidence)
    following = x509.load_pem_x509_certificate(done.stdout.encode())
    following.verify_directly_issued_by(ca)
    assert following.subject == present.subject
    assert server.is_stored(following)


@pytest.mark.waits
def test_micromdms_scepclient_waits_for_a_person_and_asks_again(server: RunningServer, mac: Mac) -> None:
    """It does not poll: half a minute after PENDING it sends its request again."""
    assert mac.process.wait(120) == 0, mac.log()
    accept(server, mac.certificate)
