"""A listener: a bound socket, TLS or not, an application behind it, and a stop that finishes what is in flight."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from typing_extensions import override

from server.http import SERVER, STOPPING
from server.tls import ConnectionLimit, TlsConnection, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.web_request import BaseRequest
    from OpenSSL import SSL

    from server.config import Limits

BACKLOG = 1024
_NO_HOST = "Missing 'Host' header in request."
"""What aiohttp says of it; it has no exception of its own."""
_TARGET = re.compile(rb"([A-Z]+ )?(/|https?://)")
"""How a request line begins that is too long, with or without its method; header fields have other values."""
_log = structlog.get_logger("server.http")


def bind(address: str, port: int, sockets: int = 1) -> list[socket.socket]:
    """Bind one address for one or several processes; with several the kernel shares connections out among them.

    Args:
        address: an IP address.
        port: the port, 0 for any free one.
        sockets: how many sockets to bind to it.

    Raises:
        OSError: the address is in use, also by another server that would share it, or is not one of this machine.
    """
    first = _bound(address, port, shared=False)
    if sockets == 1:
        return [first]
    # It has shown that nobody else listens there, and keeps others from it until the shared ones do.
    shared: list[socket.socket] = []
    try:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = first.getsockname()[1]
        shared.extend(_bound(address, port, shared=True) for _ in range(sockets))
    except BaseException:
        for each in shared:
            each.close()
        raise
    finally:
        first.close()
    return shared


def _bound(address: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)  # noqa: FBT003 - that is its signature
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class HttpConnection(web.RequestHandler):
    """aiohttp's protocol with what it leaves open: half-closed peers, readers that take nothing, telling errors."""

    __slots__ = ("_connected", "_counted", "_idle_seconds", "_left", "_limit", "_stalled")

    def __init__(
        self, server: web.Server, *, limit: ConnectionLimit | None, idle_seconds: float, **options: Any
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=idle_seconds, **options)
        self._idle_seconds = idle_seconds
        self._limit = limit
        self._counted = False
        self._stalled: asyncio.TimerHandle | None = None
        self._connected: asyncio.Transport | None = None
        self._left = 0

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or waits for that."""
        waits = self._waiter is not None and not self._waiter.done()
        return bool(self._messages) or (self._request_count > 0 and not waits)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._limit is not None:
            peername = transport.get_extra_info("peername")
            if not self._limit.enter(peername[0] if isinstance(peername, tuple) else None):
                transport.close()
                return
            self._counted = True
        self._connected = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        if self._counted and self._limit is not None:
            self._limit.leave()
        self._connected = None
        self._patience_ends()
        super().connection_lost(exc)

    @override
    async def start(self) -> None:
        """Answer requests, then see to it that closing comes to an end: the peer may not take what is left for it."""
        try:
            await super().start()
        finally:
            if self._buffered():
                self._be_patient()

    @override
    def eof_received(self) -> bool:  # type: ignore[override] # asyncio reads the answer, aiohttp gives none
        """Finish what the peer asked for before it closed its half; what can't be complete any more is dropped."""
        bodies = [payload for _, payload in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        self._close = True
        return self.busy and all(body.is_eof() for body in bodies)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._be_patient()

    @override
    def resume_writing(self) -> None:
        if self._connected is None or not self._connected.is_closing():  # else something is left all the same
            self._patience_ends()
        super().resume_writing()

    def _be_patient(self) -> None:
        self._patience_ends()
        self._left = self._buffered()
        self._stalled = self._loop.call_later(self._idle_seconds, self._give_up)

    def _buffered(self) -> int:
        return 0 if self._connected is None else self._connected.get_write_buffer_size()

    def _patience_ends(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up(self) -> None:
        if self._buffered() < self._left:  # slowly, but it does take something
            self._be_patient()
        elif self._connected is not None:
            peername = self._connected.get_extra_info("peername")
            _log.info("the peer takes nothing", peer=peername[0] if isinstance(peername, tuple) else None)
            self._connected.abort()

    @override
    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what no handler saw, such as bytes that are not HTTP: a constant outside, the cause in the event."""
        del message
        text = "this is not HTTP, or its header is too large\n" if status == 400 else "internal server error\n"
        if isinstance(exc, LineTooLong) and _TARGET.match(bytes(exc.args[0])):
            status, text = 414, "the request line is longer than this server takes\n"
        elif isinstance(exc, BadHttpMessage) and exc.message == _NO_HOST:
            text = "a request of HTTP/1.1 needs the header Host (RFC 9112 section 3.2)\n"
        _log.info("request", status=status, peer=request.remote, reason="not HTTP", cause=repr(exc)[:300])
        response = web.Response(status=status, text=text, headers={"Server": SERVER})
        response.force_close()
        return response


class Listener:
    """One listener of one process.

    Args:
        name: ``https``, ``http`` or ``admin``, for events.
        app: what answers; see `server.http.create_app`.
        limits: what connections and requests may cost.
        sock: a bound, listening socket; closed by `stop`.
        context: gives the TLS settings of the moment, None for plain HTTP.
    """

    def __init__(
        self,
        name: str,
        app: web.Application,
        limits: Limits,
        sock: socket.socket,
        context: Callable[[], SSL.Context] | None = None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._sock = sock
        self._context = context
        self._limit = ConnectionLimit(name, limits.connections)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        self._server: asyncio.Server | None = None
        self._tls: set[TlsConnection] = set()

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return self._limit.count

    async def start(self) -> None:
        """Start to accept."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        protocol: Callable[[], asyncio.Protocol] = self._http
        if self._context is not None:
            protocol = self._encrypted(self._context, loop)
        self._server = await loop.create_server(protocol, sock=self._sock, backlog=BACKLOG)

    async def stop(self) -> None:
        """Accept no more, let requests in flight finish within the time limit, close all connections."""
        if self._server is not None:
            self._server.close()
        self._app[STOPPING].set()
        server = self._runner.server
        if server is not None:
            self._close_idle(server)
            try:
                async with asyncio.timeout(self._limits.shutdown_seconds):
                    while self._close_idle(server):  # noqa: ASYNC110 - connections come and go
                        await asyncio.sleep(0.02)
            except TimeoutError:
                _log.warning("requests were cut off at shutdown", seconds=self._limits.shutdown_seconds)
        await self._runner.cleanup()
        for connection in tuple(self._tls):
            connection.abort()

    def _encrypted(
        self, context: Callable[[], SSL.Context], loop: asyncio.AbstractEventLoop
    ) -> Callable[[], TlsConnection]:
        """Return what makes a connection with the TLS settings of the moment."""
        settings = TlsSettings(context(), self._http, self._limit, self._limits.handshake_seconds, self._tls)

        def connection() -> TlsConnection:
            nonlocal settings
            current = context()
            if current is not settings.context:
                settings = replace(settings, context=current)
            return TlsConnection(settings, loop)

        return connection

    def _http(self) -> HttpConnection:
        server = self._runner.server
        assert server is not None  # noqa: S101 - connections come only between start and stop
        limits = self._limits
        return HttpConnection(
            server,
            limit=self._limit if self._context is None else None,
            idle_seconds=limits.idle_seconds,
            max_line_size=limits.header_bytes,
            max_field_size=limits.header_bytes,
            lingering_time=5,
            auto_decompress=False,
            access_log=None,
        )

    @staticmethod
    def _close_idle(server: web.Server) -> int:
        """Close the connections that wait for a request. Returns how many are left."""
        busy = 0
        for connection in server.connections:
            if isinstance(connection, HttpConnection) and connection.busy:
                busy += 1
            else:
                connection.force_close()
        return busy
