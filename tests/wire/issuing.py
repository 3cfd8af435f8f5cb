"""Deployments with several issuing CAs, each behind an EST endpoint of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store

from ca import ceremony
from ca.names import DistinguishedName
from server.bench.process import free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.wire.devices import openssl
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ca.ceremony import Credential
    from ca.tbs import SigningKey
    from server.deployment.folder import Deployment
    from tests.wire.devices import Device
    from tests.wire.running import RunningServer

PASSPHRASE = "correct horse"


def make_deployment(folder: Path) -> Deployment:
    """Make a deployment on free ports whose endpoints name their issuer."""
    https, http, admin, http01 = free_ports(4)
    deployment = create(folder, ports=Ports(https, http, admin, http01), clock=system_clock)
    text = deployment.config.read_text()
    deployment.config.write_text(re.sub(r"(?m)^  (est|scep|acme)/default:$", r"\g<0>\n    issuer: issuing", text))
    return deployment


def add_issuer(deployment: Deployment, name: str, settings: str) -> None:
    """Add an issuer, the endpoint ``est/NAME`` that hands out its chain, and a profile of 90 days that it signs."""
    text = deployment.config.read_text()
    deployment.config.write_text(text.replace("\nissuers:\n", f"\nissuers:\n  {name}: {settings}\n"))
    add_endpoint(deployment, name, name)


def add_endpoint(deployment: Deployment, name: str, issuer: str, *, manual: bool = False) -> None:
    """Add the endpoint ``est/NAME`` and a profile of 90 days, which a person must approve when it is `manual`."""
    text = deployment.config.read_text()
    endpoint = f"{{profiles: [{name}], issuer: {issuer}, authenticate: {{passwords: secrets/est-passwords.yaml}}}}"
    deployment.config.write_text(text.replace("\nendpoints:\n", f"\nendpoints:\n  est/{name}: {endpoint}\n"))
    profile, _, _ = (deployment.folder / "policies" / "iot-device.yaml").read_text().partition("\ntests:")
    profile = profile.replace("  iot-device:\n", f"  {name}:\n").replace("issuer: issuing", f"issuer: {issuer}")
    if manual:
        profile = profile.replace(f"    issuer: {issuer}\n", f"    issuer: {issuer}\n    approval: manual\n")
    (deployment.folder / "policies" / f"{name}.yaml").write_text(profile.replace("365d, max: 366d", "90d, max: 91d"))


def make_ca(folder: Path, name: str, key: SigningKey) -> Credential:
    """Make a self-standing CA; its certificate is ``NAME.pem`` and its encrypted key ``NAME.key``."""
    ca = ceremony.make_root(DistinguishedName.from_text(f"CN={name} CA"), now=system_clock(), key=key)
    (folder / f"{name}.pem").write_bytes(ca.certificate_pem())
    (folder / f"{name}.key").write_bytes(ca.key_pem(PASSPHRASE.encode()))
    return ca


def enroll(server: RunningServer, pump: Device, label: str) -> tuple[int, str]:
    """Enroll at an endpoint with curl; return status and body, with the certificate in the device's file on 200."""
    curl = require_program("curl")
    reply = pump.folder / "reply"
    done = run(
        *(curl, "--silent", "--show-error", "--cacert", server.root_pem, "--output", reply),
        *("--user", f"{server.est_username}:{server.est_password}", "-H", "Content-Type: application/pkcs10"),
        *("--data-binary", f"@{pump.csr}", "--write-out", "%{http_code}", f"{server.est_url}/{label}/simpleenroll"),
    )
    if done.stdout == "200":
        openssl("base64", "-d", "-in", reply, "-out", reply.with_suffix(".der"))
        certificates = openssl("pkcs7", "-inform", "DER", "-in", reply.with_suffix(".der"), "-print_certs")
        pump.certificate.write_text(certificates)
    return int(done.stdout), reply.read_text()


def validate(pump: Device, root: Path, *between: Path, webpki: bool = True) -> None:
    """Fail unless OpenSSL, GnuTLS and `cryptography` find a path from a device's certificate to the root.

    Args:
        pump: the device.
        root: PEM of what is trusted.
        between: PEM of the CAs between; the root may be among them.
        webpki: whether the algorithms of all keys are those of the Web PKI, which `cryptography` alone takes.
    """
    leaf = pump.certificate.read_text()
    middle = [pem for path in between for pem in x509.load_pem_x509_certificates(path.read_bytes())]
    trusted = x509.load_pem_x509_certificates(root.read_bytes())
    untrusted = pump.folder / "between.pem"
    pems = [each.public_bytes(Encoding.PEM) for each in middle if each not in trusted]
    untrusted.write_bytes(b"".join(pems))
    given = ("-untrusted", untrusted) if pems else ()
    openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", root, *given, pump.certificate)
    chain = pump.folder / "chain.pem"
    chain.write_text(leaf + untrusted.read_text())
    certtool = require_program("certtool", "apt-get install gnutls-bin")
    said = run(certtool, "--verify", "--load-ca-certificate", root, "--infile", chain).stdout
    assert "Chain verification output: Verified. The certificate is trusted." in said, said
    if webpki:
        verifier = PolicyBuilder().store(Store(trusted)).build_client_verifier()
        verifier.verify(x509.load_pem_x509_certificate(leaf.encode()), middle)


def add_ca_with_ra(
    deployment: Deployment, name: str, key: SigningKey, endpoints: Mapping[str, str], *settings: str
) -> None:
    """Add a CA with this key, an RA under it, and SCEP endpoints with their settings, by label."""
    ca, ra = deployment.folder / "ca", deployment.folder / "ra"
    (ca / "pass").write_text(f"{PASSPHRASE}\n")
    issuer = make_ca(ca, name, key)
    subject = DistinguishedName.from_text(f"CN={name.capitalize()} RA")
    made = ceremony.make_ra_certificate(issuer, subject, now=system_clock())
    (ra / f"{name}.pem").write_bytes(made.certificate_pem())
    (ra / f"{name}.key").write_bytes(made.key_pem(PASSPHRASE.encode()))
    files = f"certificate: ca/{name}.pem, chain: ca/{name}.pem, key: ca/{name}.key, passphrase: {{file: ca/pass}}"
    lines = "".join(f"  scep/{label}: {each}\n" for label, each in endpoints.items())
    text = deployment.config.read_text()
    text = text.replace("\nissuers:\n", f"\nissuers:\n  {name}: {{{', '.join(('type: local', files, *settings))}}}\n")
    deployment.config.write_text(text.replace("\nendpoints:\n", f"\nendpoints:\n{lines}"))
