"""A way out through an HTTP proxy, for servers that may not connect to hosts themselves (RFC 9110 section 9.3.6)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

_HEAD_LIMIT = 16384
_OK = b"200"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        host: its name or address, which the operating system looks up: it is the operator's own.
        port: its port.
        resolves: whether it gets names; otherwise it gets addresses, looked up and judged here.
    """

    host: str
    port: int
    resolves: bool = False

    async def open(self) -> Streams:
        """Return a connection to the proxy itself. Raises OSError."""
        return await asyncio.open_connection(self.host, self.port, limit=_HEAD_LIMIT)

    async def tunnel(self, host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None) -> Streams:
        """Return a connection through the proxy. Raises OSError, ssl.SSLError among them."""
        reader, writer = await self.open()
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii"))
            _check(await reader.readuntil(b"\r\n\r\n"))
            if tls is not None:
                await writer.start_tls(tls, server_hostname=server_name)
        except BaseException as error:
            writer.transport.abort()
            if isinstance(error, EOFError | asyncio.LimitOverrunError):
                raise ConnectionAbortedError("the proxy does not speak HTTP") from None
            raise
        return reader, writer


def _check(head: bytes) -> None:
    if head.split(b" ", 2)[1:2] != [_OK]:
        raise ConnectionRefusedError("the proxy makes no connection")
