"""One TLS connection: bytes of the socket on one side, an asyncio protocol on the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import structlog
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL
from typing_extensions import override

from server.tls.identity import identity_of
from server.tls.transport import RECORD_BYTES, TlsTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.peer import PeerIdentity
    from server.tls.limit import ConnectionLimit

_lib: Any = Binding().lib
_log = structlog.get_logger("server.tls")

_HINTS = {
    "tlsv1 alert unknown ca": "the client does not trust this server's certificate: give it the root certificate",
    "ssl/tls alert bad certificate": "the client does not accept this server's certificate",
    "ssl/tls alert certificate expired": "the client says that this server's certificate is expired",
    "http request": "the client speaks plain HTTP to the HTTPS port",
    "unsupported protocol": "the client offers nothing newer than TLS 1.1",
    "no shared cipher": "the client offers no cipher with forward secrecy and authenticated encryption",
}
_PLAIN_HTTP_TEXT = b"this is an HTTPS port: use https://\n"
_PLAIN_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
    % (len(_PLAIN_HTTP_TEXT), _PLAIN_HTTP_TEXT)
)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What all connections of a listener share.

    Attributes:
        context: the server's certificate, key and rules.
        protocol: makes the protocol that gets the decrypted bytes.
        limit: how many connections there may be.
        handshake_seconds: from the TCP connection to the end of the handshake.
        connections: those that are open, for who stops the listener.
    """

    context: SSL.Context
    protocol: Callable[[], asyncio.Protocol]
    limit: ConnectionLimit
    handshake_seconds: float
    connections: set[TlsConnection] = field(default_factory=set)


class TlsConnection(asyncio.Protocol):
    """Does the handshake and decrypts; `TlsTransport` encrypts.

    The application's protocol is made when the handshake is finished, and its transport's
    ``get_extra_info("peer_identity")`` gives the `PeerIdentity`.
    """

    __slots__ = ("_app", "_loop", "_reading", "_settings", "_ssl", "_tcp", "_timer", "_transport")

    def __init__(self, settings: TlsSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._ssl: SSL.Connection | None = None
        self._tcp: asyncio.Transport | None = None
        self._app: asyncio.Protocol | None = None
        self._transport: TlsTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        settings, tcp = self._settings, cast("asyncio.Transport", transport)
        if not settings.limit.enter(_host(tcp)):
            tcp.abort()
            return
        self._tcp = tcp
        self._ssl = SSL.Connection(settings.context, None)
        self._ssl.set_accept_state()
        settings.connections.add(self)
        self._timer = self._loop.call_later(settings.handshake_seconds, self._give_up)

    @override
    def data_received(self, data: bytes) -> None:
        if self._ssl is None:
            return
        self._ssl.bio_write(data)
        if self._app is None:
            self._handshake()
        if self._app is not None:
            self.read()

    def _handshake(self) -> None:
        ssl, tcp = self._ssl, self._tcp
        assert ssl is not None and tcp is not None  # noqa: S101, PT018 - data comes only while connected
        try:
            ssl.do_handshake()
        except SSL.WantReadError:
            _flush(ssl, tcp)
            return
        except SSL.Error as error:
            _flush(ssl, tcp)
            self._refuse(error)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        identity = identity_of(ssl)
        if identity.tls_version != "TLSv1.3":  # there the client waits for nothing: what is left goes with the answer
            _flush(ssl, tcp)
        self._begin(ssl, tcp, identity)

    def _begin(self, ssl: SSL.Connection, tcp: asyncio.Transport, identity: PeerIdentity) -> None:
        self._transport = TlsTransport(self, ssl, tcp, identity)
        self._app = self._settings.protocol()
        self._app.connection_made(self._transport)

    def read(self) -> None:
        """Hand on what can be decrypted, as far as the application takes it; it may call this again from inside."""
        ssl, app, transport = self._ssl, self._app, self._transport
        if ssl is None or app is None or transport is None or self._reading:
            return
        self._reading, idle = True, True
        try:
            _lib.ERR_clear_error()  # what another connection left in this thread's queue is not this one's error
            while not transport.reading_paused and not transport.is_closing():
                data = ssl.recv(RECORD_BYTES)
                idle = False
                app.data_received(data)
        except SSL.WantReadError:
            if idle:
                _flush(ssl, transport.tcp)  # it was no data: TLS itself may have to answer
        except SSL.ZeroReturnError:
            self._end_of_input(app, transport)
        except SSL.Error as error:
            _flush(ssl, transport.tcp)
            self._refuse(error)
        finally:
            self._reading = False

    def _end_of_input(self, app: asyncio.Protocol, transport: TlsTransport) -> None:
        """The peer sends no more, but may still read (RFC 8446 section 6.1): the application says whether to go on."""
        if not app.eof_received():
            transport.close()

    @override
    def eof_received(self) -> bool:
        """Take the end of the TCP stream, which many clients send without a close_notify before it."""
        if self._app is None or self._transport is None:
            return False
        if not self._transport.is_closing():
            self._end_of_input(self._app, self._transport)
        return True

    def _refuse(self, error: SSL.Error) -> None:
        """Record why TLS failed; the alert is sent already."""
        tcp = self._tcp
        if tcp is None:
            return
        reasons = [entry[-1] for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
        if "http request" in reasons:
            tcp.write(_PLAIN_HTTP_ANSWER)
        hint = next((_HINTS[reason] for reason in reasons if reason in _HINTS), None)
        _log.info(
            "tls failed",
            listener=self._settings.limit.listener,
            peer=_host(tcp),
            reason="; ".join(reasons) or "closed by the client",
            **({"hint": hint} if hint else {}),
        )
        if self._transport is not None:
            self._transport.mark_closing()
        tcp.close()

    def abort(self) -> None:
        """Close the TCP connection at once."""
        if self._tcp is not None:
            self._tcp.abort()

    def _give_up(self) -> None:
        self._timer = None
        if self._tcp is not None:
            _log.info(
                "tls failed", listener=self._settings.limit.listener, peer=_host(self._tcp), reason="handshake timeout"
            )
            self._tcp.abort()

    @override
    def pause_writing(self) -> None:
        if self._app is not None:
            self._app.pause_writing()

    @override
    def resume_writing(self) -> None:
        if self._app is not None:
            self._app.resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._tcp is None:
            return
        self._settings.limit.leave()
        self._settings.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        app, transport = self._app, self._transport
        self._tcp = self._ssl = self._app = self._transport = self._timer = None
        if app is not None and transport is not None:
            transport.mark_closing()
            app.connection_lost(exc)


def _flush(ssl: SSL.Connection, tcp: asyncio.Transport) -> None:
    """Send what TLS itself has to say."""
    try:
        while True:
            encrypted = ssl.bio_read(RECORD_BYTES)
            tcp.write(encrypted)
            if len(encrypted) < RECORD_BYTES:
                return
    except SSL.WantReadError:
        pass


def _host(transport: asyncio.Transport) -> str | None:
    peername = transport.get_extra_info("peername")
    return peername[0] if isinstance(peername, tuple) else None
