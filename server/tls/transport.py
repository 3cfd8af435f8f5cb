"""What the application sees of a TLS connection: an asyncio transport that encrypts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from OpenSSL import SSL
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.peer import PeerIdentity

RECORD_BYTES = 16384
"""The most plain text in one record (RFC 8446 section 5.1)."""

_ROOM = 1024  # for the header and the tag of one record, and what TLS itself may have to say
_HIDDEN = frozenset({"socket", "sslcontext", "ssl_object"})  # it is ours to write to, and there is no `ssl` here


class Reader(Protocol):
    """The decrypting half."""

    def read(self) -> None:
        """Hand on what can be decrypted."""
        ...


class TlsTransport(asyncio.Transport):
    """Encrypts what is written; everything else is the TCP transport's.

    ``get_extra_info("peer_identity")`` gives the `PeerIdentity`.
    """

    __slots__ = ("_closing", "_identity", "_reader", "_ssl", "reading_paused", "tcp")

    def __init__(self, reader: Reader, ssl: SSL.Connection, tcp: asyncio.Transport, identity: PeerIdentity) -> None:
        super().__init__()
        self._reader = reader
        self._ssl = ssl
        self._identity = identity
        self._closing = False
        self.tcp = tcp
        self.reading_paused = False

    @override
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peer_identity":
            return self._identity
        return default if name in _HIDDEN else self.tcp.get_extra_info(name, default)

    @override
    def is_closing(self) -> bool:
        return self._closing

    def mark_closing(self) -> None:
        """Encrypt and decrypt no more: the TCP connection ends, or TLS failed."""
        self._closing = True

    @override
    def close(self) -> None:
        """Send what was written, then the close_notify alert, then close."""
        if self._closing:
            return
        self._closing = True
        try:
            self._ssl.shutdown()
            self.tcp.write(self._ssl.bio_read(_ROOM))
        except SSL.Error:  # nothing can be said any more
            pass
        self.tcp.close()

    @override
    def abort(self) -> None:
        self._closing = True
        self.tcp.abort()

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        size = len(data)
        try:
            if size <= RECORD_BYTES:
                self._ssl.send(data)
                encrypted = self._ssl.bio_read(size + _ROOM)
                self.tcp.write(encrypted)
                if len(encrypted) < size + _ROOM:
                    return
            else:
                self._ssl.sendall(data)
            self._drain(max(size, 65536))
        except SSL.Error:  # the connection is broken already; who reads is told
            self.abort()

    def _drain(self, size: int) -> None:
        try:
            while True:
                self.tcp.write(self._ssl.bio_read(size))
        except SSL.WantReadError:
            pass

    @override
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    @override
    def can_write_eof(self) -> bool:
        return False

    @override
    def pause_reading(self) -> None:
        self.reading_paused = True
        self.tcp.pause_reading()

    @override
    def resume_reading(self) -> None:
        if not self.reading_paused:  # aiohttp says so after each body that it has handed on
            return
        self.reading_paused = False
        if not self._closing:
            self.tcp.resume_reading()
            # not at once: the application may be in the middle of taking data
            asyncio.get_running_loop().call_soon(self._reader.read)

    @override
    def is_reading(self) -> bool:
        return not self.reading_paused and not self._closing

    @override
    def get_write_buffer_size(self) -> int:
        return self.tcp.get_write_buffer_size()

    @override
    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self.tcp.get_write_buffer_limits()

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.tcp.set_write_buffer_limits(high, low)
