"""A device as EST sees it: its key, what it asks for, and what it got, all made with OpenSSL's own program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509

from tests.wire.running import openssl_verify, require_program, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.wire.running import RunningServer


def openssl(*arguments: str | Path) -> str:
    """Run openssl and return what it printed."""
    return run(require_program("openssl"), *arguments).stdout


@dataclass(frozen=True, slots=True)
class Device:
    """A folder with ``device.key``, ``device.csr`` (PEM) and, once enrolled, ``device.pem``."""

    folder: Path
    name: str

    @property
    def key(self) -> Path:
        return self.folder / "device.key"

    @property
    def csr(self) -> Path:
        return self.folder / "device.csr"

    @property
    def certificate(self) -> Path:
        return self.folder / "device.pem"

    def ask(self, *names: str, key: tuple[str, ...] = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")) -> Device:
        """Make a new key and a request for it, for these DNS names or the device's own."""
        wanted = ",".join(f"DNS:{name}" for name in names or (self.name,))
        output = ("-keyout", self.key, "-out", self.csr, "-subj", f"/CN={self.name}", "-addext")
        openssl("req", "-new", "-newkey", *key, "-noenc", *output, f"subjectAltName={wanted}")
        return self


def device(folder: Path, name: str) -> Device:
    """Return a new device with a request for its own name."""
    folder.mkdir(parents=True)
    return Device(folder, name).ask()


def accept(server: RunningServer, path: Path) -> x509.Certificate:
    """Fail unless the PEM file holds exactly one certificate, of the server's root and in its store; return it."""
    (certificate,) = x509.load_pem_x509_certificates(path.read_bytes())
    openssl_verify(server, path, "sslclient")
    assert server.is_stored(certificate)
    return certificate


def dns_names(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


def ip_addresses(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(address) for address in names.get_values_for_type(x509.IPAddress)]


def refusals(server: RunningServer, text: str) -> list[dict[str, Any]]:
    """Return the refusals in which the command line finds a text."""
    found = json.loads(server.said("request", "list", "--refused", "--json"))
    return [refusal for refusal in found if text in json.dumps(refusal)]
