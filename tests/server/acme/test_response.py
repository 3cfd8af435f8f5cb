"""What counts as an HTTP response to a validation, octet by octet (RFC 9112)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.acme.challenges.response import BODY_LIMIT, HEADER_LIMIT, NotHttp, Response, read_response

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(octets: bytes) -> Response:
    async def reading() -> Response:
        reader = asyncio.StreamReader(limit=HEADER_LIMIT)
        reader.feed_data(octets)
        reader.feed_eof()
        return await read_response(reader)

    return asyncio.run(reading())


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", Response(200, "", b"abc")),
        (OK + b"Content-Length: 3\r\n\r\nabcdef", Response(200, "", b"abc")),
        (OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 404 No\r\n", Response(200, "", b"abc")),
        (OK + b"Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", Response(200, "", b"abc")),
        (OK + b"\r\nabc", Response(200, "", b"abc")),
        (OK + b"\r\n" + b"x" * 9999, Response(200, "", b"x" * (BODY_LIMIT + 1))),
        (OK + b"Transfer-Encoding: identity\r\n\r\nabc", Response(200, "", b"abc")),
        (OK + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", Response(200, "", b"abc")),
        (OK + b"X: \xe4\xff\r\nContent-Length: 3\r\n\r\nabc", Response(200, "", b"abc")),
        (b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", Response(200, "", b"abc")),
        (b"HTTP/1.1 204 Nothing\r\n\r\nabc", Response(204, "", b"")),
        (b"HTTP/1.1 103 Hints\r\nLocation: /a\r\n\r\n" + OK + b"\r\n", Response(200, "", b"")),
        (CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n", Response(200, "", b"abc")),
        (CHUNKED + b"0\r\nLocation: /trailer\r\n\r\n", Response(200, "", b"")),
        (
            b"HTTP/1.1 302 Found\r\nlocation:\t /a \r\nLOCATION: /b\r\nContent-Length: 0\r\n\r\n",
            Response(302, "/a", b""),
        ),
    ],
)
def test_a_response_is_read_to_its_end_and_no_further(octets: bytes, expected: Response) -> None:
    assert read(octets) == expected


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
        b"\r\n" + OK + b"\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"ICE/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + OK + b"\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"Location : /a\r\n\r\n",
        OK + b"Location: /a\r\n /b\r\n\r\n",
        OK + b"X: a\0b\r\n\r\n",
        OK + b"X: a\nY: b\r\n\r\n",
        OK + b"Content-Length: +3\r\n\r\nabc",
        OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        OK + b"Content-Length: 4\r\n\r\nabc",
        OK + b"X: " + b"y" * HEADER_LIMIT + b"\r\n\r\n",
        CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"1;" + b"x" * HEADER_LIMIT + b"\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5 + OK + b"\r\n",
    ],
)
def test_what_is_no_response_or_too_much_of_one_is_refused(octets: bytes) -> None:
    with pytest.raises((NotHttp, EOFError, asyncio.LimitOverrunError)):
        read(octets)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(OK.__add__) | st.binary(max_size=100).map(CHUNKED.__add__))
def test_any_octets_are_a_response_within_limits_or_refused(octets: bytes) -> None:
    try:
        found = read(octets)
    except (NotHttp, EOFError, asyncio.LimitOverrunError):
        return
    assert len(found.body) <= BODY_LIMIT + 1
