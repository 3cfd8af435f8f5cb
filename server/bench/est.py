"""EST simpleenroll (RFC 7030 section 4.2) with HTTP Basic."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from server.bench.connection import Connection
from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class EstJob:
    """A request ready to be sent: its key, and the base64 of the CSR."""

    key: ec.EllipticCurvePrivateKey
    body: bytes


class EstClient:
    """A client with a password.

    Args:
        url: up to and including ``/.well-known/est``, or the label behind it.
        root: PEM of the server's root.
        username, password: for HTTP Basic.
        new_connections: whether each enrollment makes a TLS connection of its own.
    """

    def __init__(self, url: str, root: Path, username: str, password: str, *, new_connections: bool = False) -> None:
        self._url = f"{url.rstrip('/')}/simpleenroll"
        self._root = root
        self._authorization = (username, password)
        self._keep_alive = not new_connections

    async def __aenter__(self) -> Self:
        """Open the pool of connections."""
        self._connection = Connection(self._root, keep_alive=self._keep_alive, authorization=self._authorization)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self._connection.close()

    def prepare(self) -> EstJob:
        """Make a P-256 key and a CSR with a name of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"bench-{secrets.token_hex(8)}"
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{name}.example")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return EstJob(key, base64.b64encode(csr.public_bytes(Encoding.DER)))

    async def send(self, job: EstJob) -> bytes:
        """Enroll; the reply is base64 of a certs-only CMS message."""
        headers = {"Content-Type": "application/pkcs10"}
        reply = await self._connection.request("POST", self._url, body=job.body, headers=headers)
        return reply.expect(HTTPStatus.OK).body

    def certificate(self, job: EstJob, reply: bytes) -> x509.Certificate:
        """Return the first certificate, which is the issued one (RFC 7030 section 4.2.3)."""
        try:
            certificate = pkcs7.load_der_pkcs7_certificates(base64.b64decode(reply))[0]
        except (ValueError, IndexError) as error:
            raise EnrollmentFailed("the reply holds no certificate") from error
        if certificate.public_key() != job.key.public_key():
            raise EnrollmentFailed("the certificate is for another key")
        return certificate
