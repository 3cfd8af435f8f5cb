from __future__ import annotations

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
    peers = {(await connection.request("GET", str(echo.make_url("/")))).headers["X-Peer"] for _ in range(3)}
    assert len(peers) == connections
    await connection.close()


async def test_no_server_is_a_failure_of_enrollment() -> None:
    connection = Connection()
    with pytest.raises(EnrollmentFailed, match="ClientConnectorError"):
        await connection.request("GET", f"http://127.0.0.1:{free_ports(1)[0]}/")
    await connection.close()


def test_an_unexpected_status_is_a_failure_with_the_servers_words() -> None:
    with pytest.raises(EnrollmentFailed, match="HTTP 403: not for you"):
        Reply(403, {}, b"not for you").expect(HTTPStatus.OK, HTTPStatus.CREATED)
