"""A network to prove control of names in: a server with several ACME directories, a DNS server, a web server."""

from __future__ import annotations

import re
import socket
import sqlite3
import ssl
import tempfile
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import ceremony
from ca.names import DistinguishedName
from server.bench.process import free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.fakes.attestation import Maker
from tests.fakes.dns_server import DnsServer
from tests.wire.running import openssl_verify, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.deployment.folder import Deployment
    from tests.wire.running import RunningServer

SETTINGS = """\
    profiles: [tls-server, short]
    terms_of_service: https://ca.example/terms
    alternate_chains: [ca/issuing-by-old-root.pem]
    challenges: [http-01, dns-01, tls-alpn-01]
    dns01: {resolver: 127.0.0.1, port: DNS}
    tls_alpn01: {port: TLS, networks: [127.0.0.0/8], loopback_names: true}
"""
OLD_ROOT = "Old Root"
"""Who has certified the issuing CA, too: every certificate is offered with that chain beside the other."""
BOUND = "    external_accounts: {required: true, sealing_key: {file: secrets/eab.key}}\n"
MORE = """\
  acme/wide:
    profiles: [tls-server, short]
    challenges: [dns-01, dns-account-01, dns-persist-01]
    dns01: {resolver: 127.0.0.1, port: DNS}
    dns_persist01: {identities: [ca.example], resolver: 127.0.0.1, port: DNS}
    pre_authorization: true
    subdomains: true
    alternate_chains: [ca/issuing-by-old-root.pem]
  acme/devices:
    profiles: [managed-device]
    challenges: [device-attest-01]
    device_attest: {identifiers: ["permanent-identifier:C02*"], tpm: ca/tpm-maker.pem}
"""
DEVICE_PROFILE = """\
version: 1
profiles:
  managed-device:
    description: Devices with a TPM
    endpoints: [acme/devices]
    issuer: issuing
    evidence: {all: [account, device]}
    key: {allowed: ["ec:P-256", "rsa:2048-4096"]}
    subject: {allowed: {CN: {like: ["C02*"]}}}
    names: {other: {allowed: ["permanentIdentifier:C02*"]}}
    key_usage: {forced: [digitalSignature]}
    extended_key_usage: {forced: [clientAuth]}
    validity: {default: 90d, max: 91d, issuer_end: shorten}
"""
HOOK = """\
#!/bin/sh
# HOOK NAME TEXT: the text stands at _acme-challenge of the name from now on.
echo "_acme-challenge.${1#\\*.}. $2" >> RECORDS
"""
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class AcmeSite:
    """A server whose endpoint ``acme/default`` offers all three challenges and two profiles, and what they look at.

    Attributes:
        server: its ``acme_directory`` is open to everybody.
        tls_port: where tls-alpn-01 looks.
        records: a file with a TXT record a line, which the DNS server answers from.
        dns_hook: a program that adds one: it takes a name and a text.
        maker: whose TPMs ``acme/devices`` believes.
    """

    server: RunningServer
    tls_port: int
    records: Path
    dns_hook: Path
    maker: Maker

    @property
    def bound(self) -> RunningServer:
        """The same server with the directory in which accounts need a binding."""
        return replace(self.server, acme_label="bound")

    @property
    def wide(self) -> RunningServer:
        """The same server with the directory that has newAuthz, subdomains, and all challenges of DNS."""
        return replace(self.server, acme_label="wide")

    @property
    def devices(self) -> RunningServer:
        """The same server with the directory for devices."""
        return replace(self.server, acme_label="devices")

    def name(self, client: str) -> str:
        """Return a name under ``.localhost`` that nobody has a certificate for."""
        return f"{client}-{next(_numbers)}.localhost"

    def accepted(self, path: Path) -> x509.Certificate:
        """Return the certificate with which a file begins, alone or with its issuer: good, and in the store."""
        openssl_verify(self.server, path, "sslserver")
        leaf, *above = x509.load_pem_x509_certificates(path.read_bytes())
        for issuing in above:
            leaf.verify_directly_issued_by(issuing)
        assert len(above) <= 1
        assert self.server.is_stored(leaf)
        return leaf

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Whether the store says so, read past the server's own code."""
        with closing(sqlite3.connect(f"file:{self.server.deployment.database}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT der FROM certificates WHERE revoked_at IS NOT NULL")
            return certificate in [x509.load_der_x509_certificate(der) for (der,) in rows]

    def served(self, name: str) -> x509.Certificate | None:
        """Return what a TLS client sees at `tls_port` that trusts the root and asks for this name; None if it fails."""
        context = ssl.create_default_context(cafile=self.server.root_pem)
        try:
            with (
                socket.create_connection(("127.0.0.1", self.tls_port), 10) as plain,
                context.wrap_socket(plain, server_hostname=name) as connection,
            ):
                der = connection.getpeercert(binary_form=True)
        except OSError:
            return None
        assert der is not None
        certificate = x509.load_der_x509_certificate(der)
        assert self.server.is_stored(certificate)
        return certificate

    @contextmanager
    def web(self, folder: Path) -> Iterator[Path]:
        """Serve a folder where http-01 looks; yield the folder below it that tokens belong in."""
        tokens = folder / ".well-known" / "acme-challenge"
        tokens.mkdir(parents=True)
        httpd = ThreadingHTTPServer(("127.0.0.1", self.server.http01_port), partial(_Quiet, directory=str(folder)))
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield tokens
        finally:
            httpd.shutdown()
            thread.join()
            httpd.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def acme_site(folder: Path) -> Iterator[AcmeSite]:
    """Serve a new deployment in `folder` with a second directory and a profile for a week beside the other."""
    with tempfile.TemporaryDirectory(prefix="certwright-dns-") as shared:
        # hooks of every user write here
        Path(shared).chmod(0o755)
        records, hook = Path(shared) / "records", Path(shared) / "hook"
        records.touch()
        records.chmod(0o666)
        hook.write_text(HOOK.replace("RECORDS", str(records)))
        hook.chmod(0o755)

        def look(name: str) -> list[str] | int:
            lines = (line.split(maxsplit=1) for line in records.read_text().splitlines())
            return [f'"{text}"' for owner, text in lines if owner.lower() == name] or 3

        dns = DnsServer(look)
        tls = free_ports(1)[0]
        deployment, maker = _deployment(folder / "deployment", dns_port=dns.port, tls_port=tls), Maker(system_clock())
        (deployment.folder / "ca" / "tpm-maker.pem").write_bytes(maker.root.public_bytes(Encoding.PEM))
        server = serve(deployment)
        try:
            yield AcmeSite(server, tls, records, hook, maker)
            assert server.process.stop() == 0, server.process.tail()
        finally:
            server.process.kill()
            dns.close()


def _deployment(folder: Path, *, dns_port: int, tls_port: int) -> Deployment:
    https, http, admin, http01 = free_ports(4)
    deployment = create(folder, ports=Ports(https, http, admin, http01), clock=system_clock)
    settings, more = (each.replace("DNS", str(dns_port)).replace("TLS", str(tls_port)) for each in (SETTINGS, MORE))
    text = deployment.config.read_text().replace("    profiles: [tls-server]\n", settings)
    _, _, endpoint = text.partition("\n  acme/default:\n")
    deployment.config.write_text(f"{text.rstrip()}\n  acme/bound:\n{BOUND}{endpoint.rstrip()}\n{more}")
    (folder / "secrets" / "eab.key").write_text("0f" * 32)
    old = ceremony.make_root(DistinguishedName.from_text(f"CN={OLD_ROOT}"), now=system_clock())
    issuing = x509.load_pem_x509_certificates(deployment.chain_pem.read_bytes())[0]
    crossed = ceremony.make_cross_certificate(issuing, old, now=system_clock())
    chain = crossed.public_bytes(Encoding.PEM) + old.certificate_pem()
    (folder / "ca" / "issuing-by-old-root.pem").write_bytes(chain)
    profile = folder / "policies" / "tls-server.yaml"
    policy = profile.read_text().partition("\ntests:")[0].replace("wildcards: forbidden", "wildcards: allowed")
    profile.write_text(policy)
    short = re.sub(r"validity:.*", "validity: {default: 7d, max: 8d, issuer_end: shorten}", policy)
    profile.with_name("short.yaml").write_text(short.replace("  tls-server:", "  short:"))
    profile.with_name("managed-device.yaml").write_text(DEVICE_PROFILE)
    return deployment
