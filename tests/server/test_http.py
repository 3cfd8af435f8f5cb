"""HTTP below the protocols, on real sockets over plain TCP."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from aiohttp import web

from server.config import Limits
from server.http import BodyTooLarge, address, create_app, note, peer, read_body
from server.listener import Listener, bind
from server.peer import NO_PEER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


async def _echo(request: web.Request) -> web.Response:
    try:
        body = await read_body(request)
    except BodyTooLarge:
        return web.Response(status=413, text="too large\n")
    note(request, outcome="echoed")
    return web.json_response(
        {"body": len(body), "address": address(request), "peer": peer(request) == NO_PEER, "raw": request.raw_path}
    )


async def _break(request: web.Request) -> web.Response:
    raise RuntimeError("secret internals")


async def _forbid(request: web.Request) -> web.Response:
    raise web.HTTPServiceUnavailable(text="later\n", headers={"Retry-After": "7", "X-Internal": "secret"})


async def _large(request: web.Request) -> web.Response:
    response = web.Response(body=b"x" * int(request.query["size"]))
    if "close" in request.query:
        response.force_close()
    return response


@asynccontextmanager
async def _serving(
    limits: Limits | None = None, *, configuration: Path | None = None, host: str = "127.0.0.1", **parts: str
) -> AsyncIterator[tuple[int, Listener]]:
    async def readiness() -> Mapping[str, str]:
        return parts

    limits = limits or Limits()
    app = create_app("http", limits, readiness, lambda: "id-1", configuration=configuration)
    app.router.add_route("*", "/echo", _echo)
    app.router.add_get("/break", _break)
    app.router.add_get("/forbid", _forbid)
    app.router.add_get("/large", _large)
    (sock,) = bind(host, 0)
    listener = Listener("http", app, limits, sock)
    await listener.start()
    try:
        yield sock.getsockname()[1], listener
    finally:
        await listener.stop()


async def _send(port: int, request: bytes, host: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    """Send bytes and read one answer."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            return await _answer(reader)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def _until_empty(listener: Listener) -> None:
    async with asyncio.timeout(5):
        while listener.connections:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def _post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /echo HTTP/1.1", "Host: x", *(headers or (f"Content-Length: {len(body)}",)), "", ""]
    return "\r\n".join(lines).encode() + body


async def test_each_request_is_one_event() -> None:
    with structlog.testing.capture_logs() as events:
        async with _serving() as (port, _):
            await _send(port, _post(b"abc"))
    (event,) = [event for event in events if event["event"] == "request"]
    assert event.pop("ms") >= 0
    assert event == {
        "event": "request", "log_level": "info", "listener": "http", "id": "id-1", "method": "POST", "path": "/echo",
        "status": 200, "peer": "127.0.0.1", "outcome": "echoed",
    }  # fmt: skip


async def test_a_plain_connection_has_no_peer_identity_and_the_path_stays_raw() -> None:
    async with _serving() as (port, _):
        _, _, body = await _send(port, b"GET /echo?message=a%2Fb+c HTTP/1.0\r\n\r\n")
    assert json.loads(body) == {"body": 0, "address": "127.0.0.1", "peer": True, "raw": "/echo?message=a%2Fb+c"}


async def test_ipv4_over_an_ipv6_socket_is_told_as_ipv4() -> None:
    async with _serving(host="::") as (port, _):
        _, _, body = await _send(port, b"GET /echo HTTP/1.0\r\n\r\n")
    assert json.loads(body)["address"] == "127.0.0.1"


async def test_the_server_header_tells_no_versions() -> None:
    async with _serving() as (port, _):
        for request in (b"GET /healthz HTTP/1.0\r\n\r\n", b"GET /nowhere HTTP/1.0\r\n\r\n", b"nonsense\r\n\r\n"):
            _, headers, _ = await _send(port, request)
            assert headers["server"] == "certwright"


async def test_an_error_that_nobody_foresaw_is_a_constant_500_with_the_cause_in_the_event() -> None:
    with structlog.testing.capture_logs() as events:
        async with _serving() as (port, _):
            status, _, body = await _send(port, b"GET /break HTTP/1.0\r\n\r\n")
    assert (status, body) == (500, b"internal server error\n")
    assert [event["event"] for event in events] == ["request failed", "request"]


async def test_an_http_exception_keeps_its_text_and_known_headers_only() -> None:
    async with _serving() as (port, _):
        status, headers, body = await _send(port, b"GET /forbid HTTP/1.0\r\n\r\n")
        assert (status, headers["retry-after"], body) == (503, "7", b"later\n")
        assert "x-internal" not in headers
        status, headers, _ = await _send(port, b"DELETE /healthz HTTP/1.0\r\n\r\n")
        assert (status, headers["allow"]) == (405, "GET,HEAD")


async def test_bytes_that_are_not_http_get_a_constant_400_and_an_event() -> None:
    with structlog.testing.capture_logs() as events:
        async with _serving() as (port, _):
            status, _, body = await _send(port, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    assert (status, body) == (400, b"this is not HTTP, or its header is too large\n")
    assert events[0]["reason"] == "not HTTP"


async def test_a_request_without_host_is_told_what_it_lacks() -> None:
    async with _serving() as (port, _):
        for version, expected in ((b"1.1", 400), (b"1.0", 200)):
            status, _, body = await _send(port, b"GET /echo HTTP/%b\r\nConnection: close\r\n\r\n" % version)
            assert (status, b"needs the header Host" in body) == (expected, expected == 400)


async def test_a_request_line_of_60_kilobytes_is_read_and_one_of_70_is_refused() -> None:
    async with _serving() as (port, _):
        assert (await _send(port, b"GET /echo?" + b"a" * 60_000 + b" HTTP/1.0\r\n\r\n"))[0] == 200
        assert (await _send(port, b"GET /echo?" + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n"))[0] == 414
        absolute = b"GET http://x/echo?" + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n"
        assert (await _send(port, absolute))[0] == 414
        assert (await _send(port, b"GET /echo HTTP/1.0\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"))[0] == 400


@pytest.mark.parametrize(("size", "status"), [(100, 200), (101, 413)])
@pytest.mark.parametrize("chunked", [True, False])
async def test_the_limit_of_the_body_holds_with_and_without_a_declared_length(
    size: int, status: int, *, chunked: bool
) -> None:
    body = b"x" * size
    request = _post(b"%x\r\n%b\r\n0\r\n\r\n" % (size, body), "Transfer-Encoding: chunked") if chunked else _post(body)
    async with _serving(Limits(body_bytes=100)) as (port, _):
        assert (await _send(port, request))[0] == status


async def test_a_body_is_not_decompressed() -> None:
    async with _serving() as (port, _):
        status, _, body = await _send(port, _post(b"\x1f\x8b zip", "Content-Length: 6", "Content-Encoding: gzip"))
    assert (status, json.loads(body)["body"]) == (200, 6)


async def test_a_body_that_does_not_come_in_time_is_408() -> None:
    async with _serving(Limits(request_seconds=0.1)) as (port, _):
        assert (await _send(port, _post(b"ab", "Content-Length: 10")))[0] == 408


async def test_a_client_that_goes_in_the_middle_of_its_body_leaves_an_event() -> None:
    with structlog.testing.capture_logs() as events:
        async with _serving() as (port, listener):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_post(b"abc", "Content-Length: 10"))
            await asyncio.sleep(0.05)
            writer.close()
            await _until_empty(listener)
    assert [event["status"] for event in events if event["event"] == "request"] == [400]


async def test_broken_chunks_end_with_the_time_for_the_body() -> None:
    async with _serving(Limits(request_seconds=0.2)) as (port, _):
        assert (await _send(port, _post(b"nonsense\r\n", "Transfer-Encoding: chunked")))[0] in {400, 408}


async def test_a_client_that_sends_no_request_is_let_go() -> None:
    async with _serving(Limits(idle_seconds=0.1)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /echo HT")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.parametrize("option", ["", "&close"])
async def test_a_client_that_takes_not_even_the_rest_of_an_answer_is_let_go(option: str) -> None:
    clients = []
    async with _serving(Limits(idle_seconds=0.2)) as (port, listener):
        # What the kernel keeps is not ours: of so many sizes some leave a rest that is too small to wait for.
        for size in range(2_000_000, 4_400_000, 30_000):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(f"GET /large?size={size}{option} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            clients.append(client)
            await asyncio.sleep(0.005)
        await _until_empty(listener)
    for client in clients:
        client.close()


async def test_a_client_that_takes_a_large_answer_slowly_gets_it_whole() -> None:
    async with _serving(Limits(idle_seconds=1)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /large?size=50000000&close HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        received = 0
        while chunk := await reader.read(300_000):
            received += len(chunk)
            await asyncio.sleep(0.01)
        writer.close()
    assert received == 50_000_000


async def test_connections_beyond_the_limit_are_closed_and_counted_back() -> None:
    with structlog.testing.capture_logs() as events:
        async with _serving(Limits(connections=1)) as (port, listener):
            _, first = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)
            reader, second = await asyncio.open_connection("127.0.0.1", port)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            second.close()
            first.close()
            await _until_empty(listener)
            assert (await _send(port, b"GET /healthz HTTP/1.0\r\n\r\n"))[0] == 200
    assert [event["event"] for event in events if event["log_level"] == "warning"] == ["connection limit reached"]


async def test_health_says_that_the_process_answers_and_readiness_why_not() -> None:
    async with _serving(store="the database does not answer") as (port, _):
        assert (await _send(port, b"GET /healthz HTTP/1.0\r\n\r\n"))[::2] == (200, b"ok\n")
        assert (await _send(port, b"GET /readyz HTTP/1.0\r\n\r\n"))[::2] == (503, b"not ready\n")
    async with _serving(configuration=Path("/srv/server.yaml"), store="the database does not answer") as (port, _):
        status, _, body = await _send(port, b"GET /readyz HTTP/1.0\r\n\r\n")
    assert status == 503
    parts = {"store": "the database does not answer"}
    assert json.loads(body) == {"ready": False, "parts": parts, "configuration": "/srv/server.yaml"}
    async with _serving(store="ok") as (port, _):
        assert (await _send(port, b"GET /readyz HTTP/1.0\r\n\r\n"))[::2] == (200, b"ok\n")


def test_of_servers_that_start_at_the_same_time_at_most_one_gets_the_address() -> None:
    """No moment is left in which both find it free and then share it (SO_REUSEPORT)."""
    (free,) = bind("127.0.0.1", 0)
    port = free.getsockname()[1]
    free.close()
    for _ in range(100):
        begin = threading.Barrier(3)

        def start(begin: threading.Barrier = begin) -> list[socket.socket]:
            begin.wait()
            try:
                return bind("127.0.0.1", port, 2)
            except OSError:
                return []

        with ThreadPoolExecutor(3) as threads:
            found = [each.result() for each in [threads.submit(start) for _ in range(3)]]
        for sock in chain(*found):
            sock.close()
        assert sorted(map(len, found))[:2] == [0, 0]


def test_an_address_in_use_is_refused_also_to_processes_that_would_share_it() -> None:
    shared = bind("127.0.0.1", 0, 2)
    port = shared[0].getsockname()[1]
    try:
        assert shared[1].getsockname()[1] == port
        for count in (1, 2):
            with pytest.raises(OSError, match="in use"):
                bind("127.0.0.1", port, count)
    finally:
        for sock in shared:
            sock.close()
