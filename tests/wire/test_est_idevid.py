"""A device that brings its manufacturer's certificate, with strongSwan's `pki`, which always sends simplereenroll."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from server.store.certificates import list_certificates
from tests.fakes.manufacturer import make
from tests.server.est.lab import lab
from tests.wire.running import require_strongswan, run

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.fakes.manufacturer import Made

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  reenroll_first: true
  authenticate:
    certificates: true
    manufacturers:
      acme: {anchors: trust/acme.pem, crls: [trust/acme.crl]}
"""
ROOT = make("Acme Root", ca=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "deployment"
    create(folder, ports=Ports(0, 0, 0, 5002), clock=system_clock)
    ROOT.write(folder / "trust" / "acme.pem")
    ROOT.crl(folder / "trust" / "acme.crl")
    return folder


def pki(*arguments: str | Path, check: bool = True) -> CompletedProcess[str]:
    return run(require_strongswan(), *arguments, check=check)


def enroll(folder: Path, port: int, device: Made, name: str) -> CompletedProcess[str]:
    """Ask for a certificate with the manufacturer's as the client certificate."""
    device.write(folder / "idevid.pem")
    octets = device.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (folder / "idevid.key").write_bytes(octets)
    (folder / "new.key").write_text(pki("--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem").stdout)
    request = pki("--req", "--type", "priv", "--in", folder / "new.key", "--dn", f"CN={name}", "--outform", "pem")
    (folder / "new.csr").write_text(request.stdout)
    shown = ("--cert", folder / "idevid.pem", "--key", folder / "idevid.key")
    where = ("--url", f"https://127.0.0.1:{port}", "--cacert", folder / "root.pem", "--cacert", folder / "chain.pem")
    return pki("--est", *where, "--in", folder / "new.csr", *shown, "--outform", "pem", check=False)


async def test_a_manufacturers_certificate_brings_the_first_one_of_ours_and_a_revoked_one_nothing(folder: Path) -> None:
    device = make("pump-17", ROOT)
    async with lab(folder, ENDPOINTS) as running:
        port = running.ports["https"]
        done = await asyncio.to_thread(enroll, folder, port, device, "pump-17")
        assert done.returncode == 0, done.stderr
        (stored,) = await running.application.services.store.read(list_certificates)
        assert x509.load_pem_x509_certificate(done.stdout.encode()).serial_number == stored.serial
        assert stored.requester.startswith("certificate:acme.")
        assert stored.requester.endswith(f".{device.certificate.serial_number:x}")

        ROOT.crl(folder / "trust" / "acme.crl", device.certificate)
        assert (await asyncio.to_thread(enroll, folder, port, device, "pump-17")).returncode
        assert len(await running.application.services.store.read(list_certificates)) == 1
