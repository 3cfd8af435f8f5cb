"""The TLS transport on real sockets, with openssl, curl and Python's own ssl as clients."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from OpenSSL import SSL

from server.config import Limits
from tests.wire.running import require_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.server.tls.conftest import Holder, Serve, Server

KINDS = ["good", "expired", "serverAuth only", "unknown CA", "self-signed"]
REQUEST = b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _client_context(server: Server, holder: tuple[str, str, str] | None = None, **versions: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=server.root_pem)
    if holder:
        context.load_cert_chain(holder[0], holder[1])
    for name, value in versions.items():
        setattr(context, name, value)
    return context


async def _connect(server: Server, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname="localhost")


async def _answer(reader: asyncio.StreamReader) -> Any:
    header = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in header.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return json.loads(await reader.readexactly(length))


async def _run(program: str, *arguments: str, stdin: bytes = b"") -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        require_program(program),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(stdin), 30)
    return process.returncode, output.decode(errors="replace")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", KINDS)
async def test_any_client_certificate_reaches_the_application(
    serve: Serve, tmp_path: Path, clients: Mapping[str, Holder], kind: str, version: str
) -> None:
    holder = clients[kind]
    certificate, key, _ = holder.write(tmp_path, "client")
    async with serve() as server:
        status, output = await _run(
            "curl", "--silent", "--show-error", "--cacert", server.root_pem, "--cert", certificate, "--key", key,
            f"--tlsv{version}", "--tls-max", version, f"https://localhost:{server.port}/who",
        )  # fmt: skip
    assert status == 0, output
    answer = json.loads(output)
    assert answer["leaf"] == holder.certificate.subject.rfc4514_string()
    assert answer["version"] == f"TLSv{version}"


async def test_a_client_without_certificate_is_served(serve: Serve) -> None:
    async with serve() as server:
        status, output = await _run(
            "curl", "--silent", "--cacert", server.root_pem, f"https://127.0.0.1:{server.port}/who"
        )
    assert status == 0
    assert json.loads(output)["names"] == []


async def test_the_presented_chain_is_kept_leaf_first(
    serve: Serve, tmp_path: Path, clients: Mapping[str, Holder]
) -> None:
    certificate, key, above = clients["good"].write(tmp_path, "client")
    async with serve() as server:
        _, output = await _run(
            "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", server.root_pem, "-cert",
            certificate, "-key", key, "-cert_chain", above, "-quiet", "-ign_eof", "-servername", "localhost",
            stdin=b"GET /who HTTP/1.0\r\n\r\n",
        )  # fmt: skip
    answer = json.loads(output[output.index("{") :].partition("}")[0] + "}")
    assert answer["names"] == ["CN=good", "CN=intermediate", "CN=root"]


async def test_the_server_sends_its_chain_without_the_root(serve: Serve) -> None:
    async with serve() as server:
        _, output = await _run(
            "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", server.root_pem, "-showcerts",
            "-verify_return_error", "-verify_hostname", "localhost", "-servername", "localhost",
        )  # fmt: skip
    assert "Verify return code: 0 (ok)" in output
    assert output.count("BEGIN CERTIFICATE") == 2


async def test_tls_1_1_is_refused_with_an_alert_and_an_event(serve: Serve) -> None:
    with structlog.testing.capture_logs() as events:
        async with serve() as server:
            _, output = await _run(
                "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_1", "-cipher",
                "DEFAULT@SECLEVEL=0", "-servername", "localhost",
            )  # fmt: skip
    assert "alert protocol version" in output
    failed = [event for event in events if event["event"] == "tls failed"]
    assert "TLS 1.1" in failed[0]["hint"]
    assert (failed[0]["listener"], failed[0]["peer"]) == ("https", "127.0.0.1")


async def test_a_client_that_does_not_trust_the_server_leaves_a_hint_in_the_event(
    serve: Serve, tmp_path: Path, clients: Mapping[str, Holder]
) -> None:
    stranger = clients["self-signed"].write(tmp_path, "stranger")[0]
    with structlog.testing.capture_logs() as events:
        async with serve() as server:
            status, _ = await _run("curl", "--silent", "--cacert", stranger, f"https://localhost:{server.port}/who")
    assert status == 60
    failed = [event for event in events if event["event"] == "tls failed"]
    assert "root certificate" in failed[0]["hint"]


async def test_plain_http_to_the_https_port_gets_a_readable_answer(serve: Serve) -> None:
    async with serve() as server:
        status, output = await _run("curl", "--silent", f"http://127.0.0.1:{server.port}/who")
    assert status == 0
    assert output == "this is an HTTPS port: use https://\n"


@pytest.mark.parametrize(
    ("version", "kind"), [(ssl.TLSVersion.TLSv1_2, "tls-unique"), (ssl.TLSVersion.TLSv1_3, "tls-exporter")]
)
async def test_the_channel_binding_is_the_one_that_the_client_computes(
    serve: Serve, version: ssl.TLSVersion, kind: str
) -> None:
    async with serve() as server:
        reader, writer = await _connect(server, _client_context(server, maximum_version=version))
        writer.write(REQUEST)
        answer = await _answer(reader)
        expected = writer.get_extra_info("ssl_object").get_channel_binding("tls-unique")
        writer.close()
    assert answer["binding_type"] == kind
    if kind == "tls-unique":
        assert answer["binding"] == expected.hex()
    else:
        assert len(answer["binding"]) == 64


async def test_sessions_are_not_resumed(serve: Serve) -> None:
    async with serve() as server:
        context = _client_context(server, maximum_version=ssl.TLSVersion.TLSv1_2)

        def twice() -> bool:
            session, reused = None, None
            for _ in range(2):
                sock = socket.create_connection(("127.0.0.1", server.port))
                with context.wrap_socket(sock, server_hostname="localhost", session=session) as tls:
                    session, reused = tls.session, tls.session_reused
            return bool(reused)

        assert not await asyncio.to_thread(twice)


async def test_renegotiation_is_refused(serve: Serve) -> None:
    async with serve() as server:

        def renegotiate() -> str:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                client = SSL.Connection(context, sock)
                client.set_connect_state()
                client.do_handshake()
                client.renegotiate()
                with pytest.raises(SSL.Error) as caught:
                    client.do_handshake()
                return str(caught.value)

        assert "no renegotiation" in await asyncio.to_thread(renegotiate)


async def test_a_handshake_that_does_not_come_is_ended(serve: Serve) -> None:
    with structlog.testing.capture_logs() as events:
        async with serve(Limits(handshake_seconds=0.1)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
    assert [event["reason"] for event in events if event["event"] == "tls failed"] == ["handshake timeout"]


async def test_bytes_that_are_no_tls_are_ended_with_an_event(serve: Serve) -> None:
    with structlog.testing.capture_logs() as events:
        async with serve() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(bytes(range(64, 128)))
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
    assert [event["event"] for event in events] == ["tls failed"]


async def test_connections_beyond_the_limit_are_refused_and_one_event_says_so(serve: Serve) -> None:
    with structlog.testing.capture_logs() as events:
        async with serve(Limits(connections=2)) as server:
            context = _client_context(server)
            held = [await _connect(server, context) for _ in range(2)]
            for _ in range(3):
                with pytest.raises((ConnectionError, ssl.SSLError)):
                    await _connect(server, context)
            held.pop()[1].close()
            await asyncio.sleep(0.1)
            reader, writer = await _connect(server, context)
            writer.write(REQUEST)
            assert (await _answer(reader))["body"] == 0
            for _, each in [*held, (reader, writer)]:
                each.close()
    assert [event["event"] for event in events if event["log_level"] == "warning"] == ["connection limit reached"]


async def test_a_slow_reader_gets_a_large_answer_whole(serve: Serve) -> None:
    async with serve() as server:
        reader, writer = await _connect(server, _client_context(server))
        writer.write(b"GET /large?size=6000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        received = 0
        while received < 6_000_000:
            received += len(await reader.read(300_000))
            await asyncio.sleep(0.005)
        writer.write(REQUEST)
        assert (await _answer(reader))["body"] == 0
        writer.close()
    assert received == 6_000_000


async def test_a_reader_that_takes_nothing_is_cut_off(serve: Serve) -> None:
    with structlog.testing.capture_logs() as events:
        async with serve(Limits(idle_seconds=0.2)) as server:
            reader, writer = await _connect(server, _client_context(server))
            writer.transport.pause_reading()  # type: ignore[attr-defined] # a stream over TLS has one
            writer.write(b"GET /large?size=30000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await _until(lambda: any(event["event"] == "the peer takes nothing" for event in events))
            writer.transport.abort()
            del reader


async def test_a_body_of_many_records_arrives_whole_while_reading_pauses(serve: Serve) -> None:
    async with serve(Limits(body_bytes=3_000_000)) as server:
        reader, writer = await _connect(server, _client_context(server))
        writer.write(b"POST /who HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2500000\r\n\r\n" + b"y" * 2_500_000)
        assert (await _answer(reader))["body"] == 2_500_000
        writer.close()


@pytest.mark.parametrize("close_notify", [True, False])
async def test_a_half_closed_client_gets_the_answer_to_what_it_asked_before(
    serve: Serve, *, close_notify: bool
) -> None:
    async with serve() as server:

        def ask() -> bytes:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                client = SSL.Connection(context, sock)
                client.set_connect_state()
                client.do_handshake()
                client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if close_notify:
                    client.shutdown()
                else:
                    sock.shutdown(socket.SHUT_WR)
                received = b""
                try:
                    while True:
                        received += client.recv(4096)
                except SSL.ZeroReturnError:
                    return received

        answer = await asyncio.to_thread(ask)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"done")


async def test_a_client_that_ends_in_the_middle_of_its_body_is_let_go(serve: Serve) -> None:
    async with serve() as server:
        reader, writer = await _connect(server, _client_context(server))
        writer.write(b"POST /who HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await _until(lambda: server.listener.connections == 0)
        del reader


async def test_stopping_finishes_requests_in_flight_and_closes_idle_connections(serve: Serve) -> None:
    async with serve() as server:
        idle_reader, idle_writer = await _connect(server, _client_context(server))
        idle_writer.write(REQUEST)
        await _answer(idle_reader)
        reader, writer = await _connect(server, _client_context(server))
        writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(server.listener.stop())
        answer = await asyncio.wait_for(reader.read(), 5)
        assert b"200 OK" in answer
        assert b"Connection: close" in answer
        assert await asyncio.wait_for(idle_reader.read(), 5) == b""
        await stopping
        assert server.finished == ["/slow"]
        with pytest.raises(OSError):
            await _connect(server, _client_context(server))
        writer.close()
        idle_writer.close()


async def test_an_accepted_bad_certificate_does_not_disturb_other_connections(
    serve: Serve, tmp_path: Path, clients: Mapping[str, Holder]
) -> None:
    async with serve() as server:
        good_reader, good_writer = await _connect(server, _client_context(server))
        for kind in KINDS:
            reader, writer = await _connect(server, _client_context(server, clients[kind].write(tmp_path, "client")))
            good_writer.write(REQUEST)
            writer.write(REQUEST)
            assert (await _answer(good_reader))["leaf"] is None
            assert (await _answer(reader))["leaf"] == clients[kind].certificate.subject.rfc4514_string()
            writer.close()
        good_writer.close()
