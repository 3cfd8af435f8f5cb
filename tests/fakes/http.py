"""A web server on a loopback socket that sends exactly the octets it was told to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable


@dataclass
class RawServer:
    """Answers each request with `answers[path]`, or that of ``*``; keeps request heads. None: never answers."""

    answers: dict[str, bytes | None] = field(default_factory=dict)
    heads: list[bytes] = field(default_factory=list)
    port: int = 0
    drip: float = 0.0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.create_task(self.handle(reader, writer)))

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            path = head.split(b" ")[1].decode()
            answer = self.answers.get(path, self.answers.get("*"))
            if answer is None:
                await reader.read()
            for start in range(0, len(answer or b""), 1 if self.drip else 65536):
                writer.write((answer or b"")[start : start + (1 if self.drip else 65536)])
                await writer.drain()
                await asyncio.sleep(self.drip)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def raw_server(
    answers: dict[str, bytes | None] | Callable[[int], dict[str, bytes | None]],
    context: ssl.SSLContext | None = None,
    drip: float = 0.0,
) -> AsyncIterator[RawServer]:
    server = RawServer(drip=drip)
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    server.answers = answers(server.port) if callable(answers) else answers
    try:
        yield server
    finally:
        listening.close()
        await asyncio.wait_for(asyncio.gather(*server.tasks), 5)
