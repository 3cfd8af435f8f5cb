"""What a validation meets on this machine: http-01 answers and tls-alpn-01 certificates."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.clock import system_clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WELL_KNOWN = "/.well-known/acme-challenge/"
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


class Responder:
    """Answers http-01 on a port of 127.0.0.1.

    Attributes:
        pages: by path, what is answered: status, Location header or none, text. Everything else is not found.
        asked: Host headers and paths of the requests that came.
    """

    def __init__(self, port: int) -> None:
        self.pages: dict[str, tuple[int, str, str]] = {}
        self.asked: list[tuple[str, str]] = []
        responder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                responder.asked.append((self.headers["Host"], self.path))
                status, location, text = responder.pages.get(self.path, (404, "", ""))
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def publish(self, token: str, text: str) -> None:
        self.pages[WELL_KNOWN + token] = (200, "", text)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def alpn_certificate(name: str, key_authorization: str, *, names: tuple[str, ...] = ()) -> bytes:
    """Certificate and key in PEM, as RFC 8737 section 3 wants them for a name, or with other names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([]), system_clock()
    value = b"\x04\x20" + sha256(key_authorization.encode()).digest()
    general = [_general_name(each) for each in names or (name,)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(general), critical=True)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, value), critical=True)
        .sign(key, SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + secret


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


@contextmanager
def alpn_server(port: int, pem: bytes, folder: Path, protocol: str = "acme-tls/1") -> Iterator[list[str]]:
    """Serve a certificate to who speaks the protocol; yields the server names that were asked for."""
    file = folder / "alpn.pem"
    file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.set_alpn_protocols([protocol])
    asked: list[str] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name or "")
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        with suppress(OSError):  # the listener has been shut down
            while True:
                connection, _ = listener.accept()
                connection.settimeout(10)
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)  # until the client leaves

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
