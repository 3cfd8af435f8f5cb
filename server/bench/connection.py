"""The HTTP side that the clients share: connections, trust, and one kind of failure.

No client library: one for every purpose takes a third of the CPU that the server takes, and on a machine that both
share it would be the client that is measured.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http import HTTPStatus
    from pathlib import Path

_PATIENCE = 60
"""Seconds that an answer may take."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, read to its end; the names of its header fields are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def expect(self, *statuses: HTTPStatus) -> Reply:
        """Return the reply itself. Raises EnrollmentFailed unless its status is one of these."""
        if self.status not in statuses:
            raise EnrollmentFailed(f"HTTP {self.status}: {self.body[:300].decode('utf-8', 'replace')}")
        return self


class _Target(NamedTuple):
    """What a URL says."""

    secure: bool
    host: str
    port: int
    authority: str
    path: str


@lru_cache(maxsize=1024)
def _target(url: str) -> _Target:
    """Return what an absolute URL says, whatever stands behind its port going to the server as it is."""
    parts = urlsplit(url)
    path = url.partition("://")[2].removeprefix(parts.netloc).partition("#")[0] or "/"
    secure = parts.scheme == "https"
    return _Target(secure, parts.hostname or "", parts.port or (443 if secure else 80), parts.netloc, path)


class _Wire(asyncio.Protocol):
    """One connection, on which one request is under way at a time; reads responses by the callbacks of httptools."""

    def __init__(self) -> None:
        self.is_open = False
        self._answer: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._fail(exc or ConnectionResetError("the server has closed the connection"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
            self.close()

    async def exchange(self, request: bytes, *, has_body: bool) -> Reply:
        """Send a request and return its response. Raises OSError or HttpParserError.

        Args:
            request: the octets to send.
            has_body: whether the response has one if it says so, which that to HEAD has not (RFC 9112 section 6.3).
        """
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._has_body = has_body
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self.is_open = False
        self._transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if not self._has_body:
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            if not self._parser.should_keep_alive():
                self.is_open = False
            self._answer.set_result(Reply(self._parser.get_status_code(), self._headers, b"".join(self._body)))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class Connection:
    """Connections to one server, as many as there are requests under way.

    Args:
        root: the PEM file that the server's TLS certificate must chain to; None for plain HTTP.
        keep_alive: whether connections are used again; if not, each request makes a full TLS handshake.
        authorization: HTTP Basic user name and password.
        identity: a PEM file with the key and the certificate to present, together with `root`; read at once.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        keep_alive: bool = True,
        authorization: tuple[str, str] | None = None,
        identity: Path | None = None,
    ) -> None:
        self._trust = ssl.create_default_context(cafile=root) if root else None
        if self._trust and identity:
            self._trust.load_cert_chain(identity)
        self._keep_alive = keep_alive
        self._fields = b"User-Agent: certwright-bench\r\n"  # ACME servers may refuse to talk without (RFC 8555, 6.1)
        if not keep_alive:
            self._fields += b"Connection: close\r\n"
        if authorization:
            self._fields += b"Authorization: Basic %b\r\n" % base64.b64encode(":".join(authorization).encode())
        self._idle: list[_Wire] = []

    async def request(
        self, method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and read the response. Raises EnrollmentFailed when there is none."""
        target = _target(url)
        fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        head = f"{method} {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n{length}{fields}".encode("latin-1")
        message = b"".join((head, self._fields, b"\r\n", body or b""))
        try:
            async with asyncio.timeout(_PATIENCE):
                wire = await self._connected(target)
                try:
                    reply = await wire.exchange(message, has_body=method != "HEAD")
                except BaseException:
                    wire.close()
                    raise
        except (OSError, httptools.HttpParserError) as error:
            raise EnrollmentFailed(f"{url}: {type(error).__name__}: {error}") from error
        if self._keep_alive and wire.is_open:
            self._idle.append(wire)
        else:
            wire.close()
        return reply

    async def _connected(self, target: _Target) -> _Wire:
        """Return a connection that nobody uses, a new one if there is none. Raises OSError."""
        while self._idle:
            wire = self._idle.pop()
            if wire.is_open:
                return wire
        loop, trust = asyncio.get_running_loop(), self._trust if target.secure else None
        return (await loop.create_connection(_Wire, target.host, target.port, ssl=trust))[1]

    async def close(self) -> None:
        """Close every connection."""
        while self._idle:
            self._idle.pop().close()
