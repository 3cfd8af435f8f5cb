"""An HTTP proxy on a loopback port that leads everything to one place and tells what it was asked for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class HttpProxy:
    """Tunnels and forwards, whatever the target, to a loopback port; with `refusal`, it answers with that instead.

    To requests that have `silent` in them it says nothing.
    """

    def __init__(self, port: int, refusal: bytes = b"", silent: str = "") -> None:
        self._silent = silent.encode()
        self.given_up = asyncio.Event()
        self.asked: list[str] = []
        self.port = 0
        self._to = port
        self._refusal = refusal

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b"\r\n")[0].decode())
        if self._silent and self._silent in head:
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.given_up.set()
            return
        if self._refusal:
            writer.write(self._refusal)
            writer.close()
            return
        inner, outward = await asyncio.open_connection("127.0.0.1", self._to)
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            method, url, rest = head.split(b" ", 2)
            outward.write(b" ".join((method, b"/" + url.split(b"/", 3)[3], rest)))
        await asyncio.gather(_pump(reader, outward), _pump(inner, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while octets := await source.read(4096):
            sink.write(octets)
            await sink.drain()
    except ConnectionError:
        pass
    sink.close()


@asynccontextmanager
async def http_proxy(port: int, refusal: bytes = b"", silent: str = "") -> AsyncIterator[HttpProxy]:
    """A running proxy."""
    proxy = HttpProxy(port, refusal, silent)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
