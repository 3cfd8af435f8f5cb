"""Looking people and devices up in an LDAP directory (RFC 4511): connect, bind, search for one entry, unbind.

What is looked up is a value in the request and never part of a filter's text, so nothing in it can change the question.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ca import der

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator

Values = tuple[tuple[str, str], ...]

_BIND, _BOUND, _UNBIND, _SEARCH, _ENTRY, _DONE, _REFERENCE = 0x60, 0x61, 0x42, 0x63, 0x64, 0x65, 0x73
_EXTENDED, _EXTENDED_DONE = 0x77, 0x78
_START_TLS = b"1.3.6.1.4.1.1466.20037"
_ENUMERATED = 0x0A
_SUBTREE, _NEVER_DEREFERENCE = 2, 0
_SUCCESS, _NO_SUCH_OBJECT = 0, 32
_ANSWER_LIMIT = 256 * 1024
_ENTRIES = 2
"""One more than there may be, to see that there are several."""


class DirectoryError(Exception):
    """The directory gives no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Where to ask, and for what.

    Attributes:
        url: ``ldaps://host[:port]``, or ``ldap://host[:port]``.
        base: the entry below which everything is searched.
        attribute: the attribute that has what is looked up.
        object_class: the class that an entry must have; None: any.
        fields: the attributes that are wanted.
        user, password: whom to bind as; empty for anonymous.
        tls: whom to trust; None for a connection in the clear.
        start_tls: whether an ``ldap:`` connection changes to TLS.
    """

    url: str
    base: str
    attribute: str
    fields: tuple[str, ...]
    object_class: str | None = None
    user: str = ""
    password: bytes = field(default=b"", repr=False)
    tls: ssl.SSLContext | None = None
    start_tls: bool = False

    async def find(self, key: str, patience: float) -> Values | None:
        """Return the wanted attributes of the one entry, None when there is none, within so many seconds.

        An attribute with several values has them one a line; one without is left out.

        Raises:
            DirectoryError: no answer in time, a refusal, several entries, or an answer that is not LDAP.
        """
        try:
            async with asyncio.timeout(patience), self._connected() as connection:
                return await self._ask(connection, key)
        except TimeoutError as error:
            raise DirectoryError("no answer in time") from error
        except (OSError, EOFError, IndexError, ValueError) as error:  # der.MalformedDer among the last
            raise DirectoryError(f"{self.url}: {error!r}") from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Connection]:
        parts = urlsplit(self.url)
        secure = parts.scheme == "ldaps"
        port = parts.port or (636 if secure else 389)
        context, host = (self.tls, parts.hostname) if secure else (None, None)
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, server_hostname=host)
        connection = _Connection(reader, writer)
        try:
            if self.start_tls and self.tls is not None:
                request = der.tlv(_EXTENDED, der.tlv(der.context(0, constructed=False), _START_TLS))
                _require((await connection.call(request, _EXTENDED_DONE))[-1], "start TLS")
                await writer.start_tls(self.tls, server_hostname=parts.hostname)
            yield connection
            connection.send(der.tlv(_UNBIND))
        finally:
            writer.transport.abort()  # what was to be said is sent, and nothing that could still come is waited for

    async def _ask(self, connection: _Connection, key: str) -> Values | None:
        simple = der.tlv(der.context(0, constructed=False), self.password)
        bind = der.tlv(_BIND, der.integer(3), der.octet_string(self.user.encode()), simple)
        _require((await connection.call(bind, _BOUND))[-1], "bind")
        *entries, done = await connection.call(self._question(key), _DONE)
        if _code(done) == _NO_SUCH_OBJECT:
            return None
        found = [entry for entry in entries if entry.tag == _ENTRY]
        if len(found) > 1:
            raise DirectoryError(f"several entries have {self.attribute} {key!r}")
        _require(done, "search")
        return tuple(_fields(found[0])) if found else None

    def _question(self, key: str) -> bytes:
        equal = _equals(self.attribute, key)
        if self.object_class is not None:
            equal = der.tlv(der.context(0), _equals("objectClass", self.object_class), equal)
        return der.tlv(
            _SEARCH,
            der.octet_string(self.base.encode()),
            der.tlv(_ENUMERATED, bytes([_SUBTREE])),
            der.tlv(_ENUMERATED, bytes([_NEVER_DEREFERENCE])),
            der.integer(_ENTRIES),
            der.integer(0),
            der.boolean(False),  # noqa: FBT003 - values too, not types only
            equal,
            der.sequence(*(der.octet_string(name.encode()) for name in self.fields)),
        )


class _Connection:
    """Messages with their numbers, one question at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0

    def send(self, operation: bytes) -> None:
        """Send a request."""
        self._number += 1
        self._writer.write(der.sequence(der.integer(self._number), operation))

    async def call(self, operation: bytes, last: int) -> list[der.Tlv]:
        """Send a request and return its answers, the last being of this kind."""
        self.send(operation)
        answers: list[der.Tlv] = []
        size = 0
        while not answers or answers[-1].tag != last:
            number, answer, *_ = der.children(await self._message(), ber=True)
            size += len(answer.raw)
            if der.read_integer(number) != self._number:
                raise DirectoryError("the directory ends the connection or answers something else")
            if size > _ANSWER_LIMIT:
                raise DirectoryError("the answer is too long")
            answers.append(answer)
        return answers

    async def _message(self) -> der.Tlv:
        head = await self._reader.readexactly(2)
        if head[0] != der.SEQUENCE:
            raise DirectoryError("the answer is not LDAP")
        length = head[1]
        if length > 0x7F:
            octets = await self._reader.readexactly(min(length & 0x7F, 8))
            head, length = head + octets, int.from_bytes(octets, "big")
        if length > _ANSWER_LIMIT:
            raise DirectoryError("the answer is too long")
        return der.read(head + await self._reader.readexactly(length), ber=True)


def _equals(attribute: str, value: str) -> bytes:
    return der.tlv(der.context(3), der.octet_string(attribute.encode()), der.octet_string(value.encode()))


def _code(result: der.Tlv) -> int:
    return int.from_bytes(der.expect(der.children(result, ber=True)[0], _ENUMERATED).content, "big")


def _require(result: der.Tlv, what: str) -> None:
    if _code(result) != _SUCCESS:
        text = der.children(result, ber=True)[2].content.decode("utf-8", "replace")
        raise DirectoryError(f"{what}: result code {_code(result)} {text}".rstrip())


def _fields(entry: der.Tlv) -> Iterator[tuple[str, str]]:
    for attribute in der.children(der.children(entry, ber=True)[1], ber=True):
        name, values = der.children(attribute, ber=True)
        texts = [value.content.decode("utf-8") for value in der.children(values, ber=True)]
        if texts:
            yield name.content.decode("ascii"), "\n".join(texts)
