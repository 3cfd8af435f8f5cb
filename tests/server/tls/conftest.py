"""A TLS listener on a loopback port, and certificates of every kind that a client may present to it."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.config import Limits
from server.http import create_app, note, peer, read_body
from server.listener import Listener, bind
from server.tls import make_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    Serve = Callable[..., AbstractAsyncContextManager["Server"]]

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Holder:
    """A key with its certificate and those above it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    def write(self, folder: Path, name: str) -> tuple[str, str, str]:
        """Write certificate, key and the certificates above as PEM; return the paths."""
        paths = [folder / f"{name}.{kind}" for kind in ("pem", "key", "chain")]
        paths[0].write_bytes(self.certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        paths[2].write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in self.above))
        return str(paths[0]), str(paths[1]), str(paths[2])


def make(
    name: str,
    issuer: Holder | None = None,
    *,
    ca: bool = False,
    ends: datetime = NOW + timedelta(days=3650),
    purposes: tuple[x509.ObjectIdentifier, ...] = (),
) -> Holder:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1000))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        # What Python's own clients ask of a chain from 3.13 on.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer.key if issuer else key).public_key()),
            critical=False,
        )
    )
    if ca:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=True)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Holder(certificate, key, (issuer.certificate, *issuer.above) if issuer else ())


@pytest.fixture(scope="session")
def root() -> Holder:
    return make("root", ca=True)


@pytest.fixture(scope="session")
def intermediate(root: Holder) -> Holder:
    return make("intermediate", root, ca=True)


@pytest.fixture(scope="session")
def server_holder(intermediate: Holder) -> Holder:
    return make("server", intermediate)


@pytest.fixture(scope="session")
def clients(intermediate: Holder) -> Mapping[str, Holder]:
    """Client certificates of which Python's ``ssl`` would take the first only."""
    return {
        "good": make("good", intermediate, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        "expired": make("expired", intermediate, ends=NOW - timedelta(days=1)),
        "serverAuth only": make("wrong purpose", intermediate, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "unknown CA": make("unknown", make("other root", ca=True)),
        "self-signed": make("self-signed"),
    }


@dataclass(slots=True)
class Server:
    """A running listener."""

    port: int
    root_pem: str
    listener: Listener
    finished: list[str]


@pytest.fixture
def serve(tmp_path: Path, root: Holder, server_holder: Holder) -> Serve:
    """Return what runs a TLS listener: ``async with serve(Limits(...)) as server``."""

    @asynccontextmanager
    async def serving(limits: Limits | None = None, **routes: Callable[[web.Request], object]) -> AsyncIterator[Server]:
        limits = limits or Limits()
        finished: list[str] = []

        async def ready() -> Mapping[str, str]:
            return {}

        async def who(request: web.Request) -> web.Response:
            identity = peer(request)
            body = await read_body(request)
            note(request, outcome="answered")
            return web.json_response(
                {
                    "names": [each.subject.rfc4514_string() for each in identity.presented],
                    "leaf": identity.leaf.subject.rfc4514_string() if identity.leaf else None,
                    "version": identity.tls_version,
                    "binding": identity.binding.hex() if identity.binding else None,
                    "binding_type": identity.binding_type,
                    "body": len(body),
                }
            )

        async def large(request: web.Request) -> web.Response:
            return web.Response(body=b"x" * int(request.query["size"]))

        async def slow(request: web.Request) -> web.Response:
            await read_body(request)
            await asyncio.sleep(0.4)
            finished.append(request.path)
            return web.Response(text="done")

        app = create_app("https", limits, ready, lambda: "id")
        app.router.add_route("*", "/who", who)
        app.router.add_get("/large", large)
        app.router.add_route("*", "/slow", slow)
        (sock,) = bind("127.0.0.1", 0)
        context = make_context((server_holder.certificate, *server_holder.above[:-1]), server_holder.key)
        listener = Listener("https", app, limits, sock, lambda: context)
        await listener.start()
        try:
            yield Server(sock.getsockname()[1], root.write(tmp_path, "root")[0], listener, finished)
        finally:
            await listener.stop()

    return serving
