from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.bench.connection import Connection, Reply
from server.bench.load import EnrollmentFailed
from server.bench.process import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def echo() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.Response:
        text = f"{request.method} {request.headers.get('Authorization', '-')} {await request.text()}"
        peer = request.transport.get_extra_info("peername")[1] if request.transport else 0
        return web.Response(text=text, headers={"X-Peer": str(peer)})

    app = web.Application()
    app.router.add_route("*", "/", answer)
    running = TestServer(app)
    await running.start_server()
    yield running
    await running.close()


async def test_a_request_is_sent_and_its_response_read(echo: TestServer) -> None:
    connection = Connection()
    reply = await connection.request("POST", str(echo.make_url("/")), body=b"hello")
    assert reply.expect(HTTPStatus.OK).body == b"POST - hello"
    await connection.close()


async def test_a_password_goes_with_every_request(echo: TestServer) -> None:
    connection = Connection(authorization=("user", "word"))
    reply = await connection.request("GET", str(echo.make_url("/")))
    assert reply.body == b"GET Basic dXNlcjp3b3Jk "
    await connection.close()


@pytest.mark.parametrize(("keep_alive", "connections"), [(True, 1), (False, 3)])
async def test_connections_are_used_again_or_not(echo: TestServer, keep_alive: bool, connections: int) -> None:  # noqa: FBT001 - a parameter of the test
    connection = Connection(keep_alive=keep_alive)
    peers = {(await connection.request("GET", str(echo.make_url("/")))).headers["x-peer"] for _ in range(3)}
    assert len(peers) == connections
    await connection.close()


@asynccontextmanager
async def _speaking(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that closes each connection after its answer, whatever that says; with the URL, what it was sent."""
    asked, left = list[bytes](), list(answers)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_a_request_says_what_the_url_says_and_nothing_of_a_body_that_is_not_there() -> None:
    connection = Connection()
    async with _speaking(b"HTTP/1.1 204 No Content\r\n\r\n") as (url, asked):
        await connection.request("GET", f"{url}/a%2Fb?c=d%20e", headers={"Accept": "x"})
    host = url.removeprefix("http://")
    fields = f"Host: {host}\r\nAccept: x\r\nUser-Agent: certwright-bench"
    assert asked == [f"GET /a%2Fb?c=d%20e HTTP/1.1\r\n{fields}\r\n\r\n".encode()]


async def test_the_response_to_head_ends_with_its_header() -> None:
    connection = Connection()
    async with _speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nReplay-Nonce: n\r\n\r\n") as (url, _):
        reply = await connection.request("HEAD", url)
    assert (reply.headers["replay-nonce"], reply.body) == ("n", b"")


async def test_a_body_in_chunks_is_put_together() -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    connection = Connection()
    async with _speaking(chunks) as (url, _):
        assert (await connection.request("GET", url)).body == b"abc"


async def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    connection = Connection()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    async with _speaking(answer + b"1", answer + b"2") as (url, asked):
        assert (await connection.request("GET", url)).body == b"1"
        await asyncio.sleep(0.05)  # until the end of the connection has arrived
        assert (await connection.request("GET", url)).body == b"2"
    assert len(asked) == 2
    await connection.close()


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"SSH-2.0-x\r\n\r\n", "HttpParser"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "closed the connection"),
        (b"", "closed the connection"),
    ],
)
async def test_what_is_no_whole_response_is_a_failure_of_enrollment(answer: bytes, failure: str) -> None:
    connection = Connection()
    async with _speaking(answer) as (url, _):
        with pytest.raises(EnrollmentFailed, match=failure):
            await connection.request("GET", url)


async def test_no_server_is_a_failure_of_enrollment() -> None:
    connection = Connection()
    with pytest.raises(EnrollmentFailed, match="ConnectionRefusedError"):
        await connection.request("GET", f"http://127.0.0.1:{free_ports(1)[0]}/")
    await connection.close()


def test_an_unexpected_status_is_a_failure_with_the_servers_words() -> None:
    with pytest.raises(EnrollmentFailed, match="HTTP 403: not for you"):
        Reply(403, {}, b"not for you").expect(HTTPStatus.OK, HTTPStatus.CREATED)
