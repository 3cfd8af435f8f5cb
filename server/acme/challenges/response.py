"""HTTP/1.x responses of strangers, read within limits by httptools (RFC 9112), which is as strict as by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    import asyncio

BODY_LIMIT = 256
"""Octets of a body: a key authorization has about 90, and white space may follow."""

HEADER_LIMIT = 16384
"""Octets of a status line with its header; the limit of the reader that `read_response` gets."""

_CODED_LIMIT = 16384
"""Octets of a body with what chunked coding puts around them."""

_INTERIM_LIMIT = 5
_VERSIONS = (b"HTTP/1.1 ", b"HTTP/1.0 ")


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: the status, the Location header (empty for none), at most `BODY_LIMIT` octets and one more."""

    status: int
    location: str
    body: bytes


class NotHttp(Exception):
    """The peer does not speak HTTP/1.x, or not within limits; says how, without a word of the peer's."""


async def read_response(reader: asyncio.StreamReader) -> Response:
    """Return the response on a connection, after interim ones; of its body no more than can count is read.

    Args:
        reader: the connection, its limit being `HEADER_LIMIT`.

    Raises NotHttp, OSError, EOFError or asyncio.LimitOverrunError.
    """
    for _ in range(_INTERIM_LIMIT):
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(_VERSIONS):  # httptools knows older and newer ones, and skips empty lines
            raise NotHttp("no response of HTTP/1.0 or HTTP/1.1")
        message = _Message()
        parser = httptools.HttpResponseParser(message)
        message.feed(parser, head)
        status = parser.get_status_code()
        if status >= 200:
            location = message.location  # now, for a trailer has none (RFC 9110 section 6.5.1)
            await _read_body(reader, parser, message)
            return Response(status, location.decode("latin-1"), message.body[: BODY_LIMIT + 1])
    raise NotHttp("interim responses without end")


async def _read_body(reader: asyncio.StreamReader, parser: httptools.HttpResponseParser, message: _Message) -> None:
    left = _CODED_LIMIT
    while not message.ended and len(message.body) <= BODY_LIMIT:
        octets = await reader.read(left)
        if octets:
            left -= len(octets)
            message.feed(parser, octets)
        elif message.has_end or not left:
            raise NotHttp("a body that ended before its length" if left else "a body of chunks without end")
        else:
            return  # without a length the end of the connection is the end (RFC 9112 section 6.3)


class _Message:
    """What the parser tells of one message."""

    __slots__ = ("body", "ended", "has_end", "location")

    def __init__(self) -> None:
        self.location = b""
        self.body = b""
        self.has_end = self.ended = False

    def feed(self, parser: httptools.HttpResponseParser, octets: bytes) -> None:
        """Let the parser read. Raises NotHttp."""
        try:
            parser.feed_data(octets)
        except httptools.HttpParserUpgrade:
            raise NotHttp("an upgrade that nobody asked for") from None
        except httptools.HttpParserError:
            if not self.ended:  # what comes after the message is no part of it
                raise NotHttp("header lines, a length or chunks that RFC 9112 does not allow") from None

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower()):
            self.has_end = True
        elif name == b"location" and not self.location:
            self.location = value.strip()

    def on_body(self, octets: bytes) -> None:
        if not self.ended:
            self.body += octets

    def on_message_complete(self) -> None:
        self.ended = True
