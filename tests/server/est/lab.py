"""A device that speaks EST over a TLS connection of its own choosing, and an application to speak with."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from server.clock import system_clock
from server.config import load_config
from tests.fakes.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from server.app.application import Application
    from server.clock import Clock

BASE = "/.well-known/est/"
CHALLENGE_PASSWORD = x509.ObjectIdentifier("1.2.840.113549.1.9.7")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def certificate(self) -> x509.Certificate:
        assert self.status == 200, self
        (found,) = pkcs7.load_pem_pkcs7_certificates(b"-----BEGIN PKCS7-----\n" + self.body + b"-----END PKCS7-----\n")
        return found


@dataclass(slots=True)
class Holder:
    """A key, and the certificates that go with it, leaf first."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()


def csr(
    name: str | None,
    *,
    dns: tuple[str, ...] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
    attributes: Mapping[x509.ObjectIdentifier, str] | None = None,
    purposes: tuple[x509.ObjectIdentifier, ...] = (),
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name is not None else [])
    builder = x509.CertificateSigningRequestBuilder(subject)
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in dns]), critical=False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    for oid, value in (attributes or {}).items():
        builder = builder.add_attribute(oid, value.encode())
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


class Device:
    """One TLS connection, blocking; to be used in threads."""

    def __init__(
        self,
        port: int,
        holder: Holder | None = None,
        *,
        tls: int = SSL.TLS1_3_VERSION,
        ciphers: bytes | None = None,
        resumes: Device | None = None,
    ) -> None:
        self._context: SSL.Context = _context(holder, tls, ciphers) if resumes is None else resumes._context
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.settimeout(None)
        self.tls = SSL.Connection(self._context, self._socket)
        self.tls.set_connect_state()
        if resumes is not None:
            session = resumes.tls.get_session()
            assert session is not None
            self.tls.set_session(session)
        self.tls.do_handshake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def binding(self) -> str:
        """The channel binding as EST carries it."""
        if self.tls.get_protocol_version_name() == "TLSv1.3":
            return b64encode(self.tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")).decode()
        return b64encode(self.tls.get_finished() or b"").decode()

    def post(
        self,
        path: str,
        body: bytes,
        *,
        basic: tuple[str, str] | None = None,
        content_type: str = "application/pkcs10",
        fields: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        lines = [f"POST {BASE}{path} HTTP/1.1", "Host: localhost", "User-Agent: lab", f"Content-Type: {content_type}"]
        if basic is not None:
            lines.append(f"Authorization: Basic {b64encode(':'.join(basic).encode()).decode()}")
        body = b64encode(body)
        lines += [f"{name}: {value}" for name, value in fields] + [f"Content-Length: {len(body)}", "", ""]
        self.tls.sendall("\r\n".join(lines).encode() + body)
        return self.answer()

    def answer(self) -> Answer:
        """Read one reply."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.tls.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        status, *rest = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in rest)
        assert len(fields) == len(rest), f"a field stands there twice: {rest}"
        while len(body) < int(fields.get("Content-Length", "0")):
            body += self.tls.recv(65536)
        return Answer(int(status.split()[1]), fields, body)


def _context(holder: Holder | None, tls: int, ciphers: bytes | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    if ciphers is not None:
        context.set_cipher_list(ciphers)
    context.set_min_proto_version(tls)
    context.set_max_proto_version(tls)
    if holder is not None and holder.chain:
        context.use_certificate(holder.chain[0])
        context.use_privatekey(holder.key)
        for above in holder.chain[1:]:
            context.add_extra_chain_cert(above)
    return context


@dataclass(frozen=True, slots=True)
class Lab:
    """A running application."""

    application: Application
    ports: Mapping[str, int]

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        holder: Holder | None = None,
        basic: tuple[str, str] | None = None,
        tls: int = SSL.TLS1_3_VERSION,
        fields: tuple[tuple[str, str], ...] = (),
        port: int | None = None,
        content_type: str = "application/pkcs10",
    ) -> Answer:
        """Post on a new connection, to another port than the server's own where one is given."""

        def work() -> Answer:
            with Device(port or self.ports["https"], holder, tls=tls) as device:
                return device.post(path, body, basic=basic, fields=fields, content_type=content_type)

        return await asyncio.to_thread(work)


async def first_crl(running: Lab) -> bytes:
    """Return the first revocation list, which is made while the application serves already."""
    newest = running.application.services.newest_crl(None)
    for _ in range(6000):
        found = await newest()
        if found is not None:
            return found
        await asyncio.sleep(0.01)
    raise TimeoutError("there is no revocation list")


@asynccontextmanager
async def lab(
    folder: Path, endpoints: str, proxied: str | None = None, clock: Clock = system_clock
) -> AsyncIterator[Lab]:
    """Run the deployment of a folder with these EST endpoints, YAML without indentation.

    Args:
        folder: a deployment that `certwright init` made.
        endpoints: what stands under ``endpoints``.
        proxied: the listener for proxies, in braces; none when not given.
        clock: tells the time.
    """
    file = folder / "server.yaml"
    head, _, _ = file.read_text().partition("\nendpoints:")
    indented = "\n".join("  " + line for line in endpoints.strip("\n").splitlines())
    if proxied is not None:
        head = head.replace("\nlisteners:\n", f"\nlisteners:\n  proxied: {proxied}\n", 1)
    file.write_text(f"{head}\nendpoints:\n{indented}\n")
    async with running(load_config(file), clock) as (application, ports):
        yield Lab(application, ports)
