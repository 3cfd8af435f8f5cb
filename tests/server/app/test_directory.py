"""What a directory may answer besides what it should."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ca import der
from server.app.directory import Directory, DirectoryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK = der.tlv(0x0A, b"\x00"), der.octet_string(b""), der.octet_string(b"")
BOUND = der.sequence(der.integer(1), der.tlv(0x61, *OK))
NOTHING = der.sequence(der.integer(2), der.tlv(0x65, *OK))


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[Directory]:
    """A directory that says these things, whatever it is asked, and then nothing more."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(4096)
            writer.write(answer)
        await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Directory(f"ldap://127.0.0.1:{port}", "dc=x", "uid", ("mail",))
    finally:
        done.set()
        server.close()
        await server.wait_closed()


def entry(*attributes: bytes) -> bytes:
    return der.sequence(der.integer(2), der.tlv(0x64, der.octet_string(b"uid=a"), der.sequence(*attributes)))


MAIL = der.sequence(der.octet_string(b"mail"), der.set_of(der.octet_string(b"a@x.example")))


def at_length(message: bytes) -> bytes:
    """Return a message with a length of four octets, as Active Directory writes it."""
    content = der.read(message).content
    return b"\x30\x84" + len(content).to_bytes(4, "big") + content


async def test_lengths_may_be_longer_than_they_need_be() -> None:
    async with answering(at_length(BOUND), at_length(entry(MAIL)) + at_length(NOTHING)) as directory:
        assert await directory.find("a", 60) == (("mail", "a@x.example"),)


async def test_references_to_other_directories_are_passed_over() -> None:
    reference = der.sequence(der.integer(2), der.tlv(0x73, der.octet_string(b"ldap://other")))
    async with answering(BOUND, reference + entry(MAIL) + NOTHING) as directory:
        assert await directory.find("a", 60) == (("mail", "a@x.example"),)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"\x30\x03\x02\x01\x02", "IndexError|ValueError"),
        (b"HTTP/1.1 400 Bad Request\r\n", "is not LDAP"),
        (b"\x30\x84\x7f\xff\xff\xff", "too long"),
        (NOTHING.replace(b"\x02\x01\x02", b"\x02\x01\x09"), "answers something else"),
        (entry(MAIL) * 9000, "too long"),
        (der.sequence(der.integer(2), der.tlv(0x65, der.tlv(0x0A, b"\x35"), *OK[1:])), "search: result code 53"),
        (entry(der.sequence(der.octet_string(b"mail"), der.set_of(der.octet_string(b"\xff")))) + NOTHING, "Unicode"),
        (entry(der.sequence(der.octet_string(b"mail"))) + NOTHING, "ValueError"),
    ],
)
async def test_what_is_not_an_answer_is_an_error(answer: bytes, message: str) -> None:
    async with answering(BOUND, answer) as directory:
        with pytest.raises(DirectoryError, match=message):
            await directory.find("a", 60)


async def test_silence_is_an_error_in_time() -> None:
    async with answering() as directory:
        with pytest.raises(DirectoryError, match="no answer in time"):
            await directory.find("a", 0.05)
