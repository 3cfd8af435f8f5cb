"""EST simplereenroll (RFC 7030 section 4.2.2) with TLS client certificates: devices that renew theirs."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from http import HTTPStatus
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.bench.connection import Connection
from server.bench.est import EstClient, EstJob

if TYPE_CHECKING:
    from types import TracebackType

DEVICES = 32
"""How many devices there are, each with a certificate and connections of its own."""


@dataclass(frozen=True, slots=True)
class _Device:
    """A device: the request for its names and key, and the connections that present its certificate."""

    certificate: x509.Certificate
    connection: Connection

    def request(self) -> EstJob:
        """Make a request for its names and a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(self.certificate.subject)
            .add_extension(names.value, names.critical)
            .sign(key, hashes.SHA256())
        )
        return EstJob(key, base64.b64encode(csr.public_bytes(Encoding.DER)))


@dataclass(frozen=True, slots=True)
class RenewalJob:
    """A request ready to be sent, and who sends it."""

    device: _Device
    request: EstJob


class EstRenewalClient:
    """Devices that got their certificates with a password and renew them, each with the one it got first.

    Args:
        url: up to and including ``/.well-known/est``, or the label behind it.
        root: PEM of the server's root.
        username, password: for the first certificates.
        new_connections: whether each renewal makes a TLS connection of its own.
    """

    def __init__(self, url: str, root: Path, username: str, password: str, *, new_connections: bool = False) -> None:
        self._first = EstClient(url, root, username, password)
        self._url = f"{url.rstrip('/')}/simplereenroll"
        self._root = root
        self._keep_alive = not new_connections
        self._devices: list[_Device] = []

    async def __aenter__(self) -> Self:
        """Enroll the devices."""
        async with self._first as first:
            with tempfile.TemporaryDirectory(prefix="certwright-bench-") as folder:
                self._devices = [await self._enroll(first, Path(folder) / "device.pem") for _ in range(DEVICES)]
        self._turns = cycle(self._devices)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        for device in self._devices:
            await device.connection.close()

    async def _enroll(self, first: EstClient, file: Path) -> _Device:
        """Return a new device; the file, which Python's TLS wants, may go afterwards."""
        job = first.prepare()
        certificate = first.certificate(job, await first.send(job))
        _write(file, job, certificate)
        return _Device(certificate, Connection(self._root, keep_alive=self._keep_alive, identity=file))

    def prepare(self) -> RenewalJob:
        """Make a request of the device whose turn it is, with a new key."""
        device = next(self._turns)
        return RenewalJob(device, device.request())

    async def send(self, job: RenewalJob) -> bytes:
        """Renew; the reply is base64 of a certs-only CMS message."""
        headers = {"Content-Type": "application/pkcs10"}
        reply = await job.device.connection.request("POST", self._url, body=job.request.body, headers=headers)
        return reply.expect(HTTPStatus.OK).body

    def certificate(self, job: RenewalJob, reply: bytes) -> x509.Certificate:
        """Return the issued certificate."""
        return self._first.certificate(job.request, reply)


def _write(file: Path, job: EstJob, certificate: x509.Certificate) -> None:
    key = job.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(key + certificate.public_bytes(Encoding.PEM))
