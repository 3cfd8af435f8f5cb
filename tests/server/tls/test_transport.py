"""The encrypting half, against a client end in memory."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from server.tls import ConnectionLimit, TlsConfigurationError, TlsConnection, TlsSettings, make_context
from tests.server.tls.conftest import make

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.tls.transport import TlsTransport
    from tests.server.tls.conftest import Holder


class _Tcp(asyncio.Transport):
    """A TCP transport whose other side the test holds."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.calls: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": "a unix socket", "sockname": ("127.0.0.1", 1), "socket": object()}.get(name, default)

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def get_write_buffer_size(self) -> int:
        return 5

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (1, 2)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.calls.append(f"limits {high} {low}")


class _App(asyncio.Protocol):
    transport: TlsTransport

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.calls: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # that is what is tested

    def data_received(self, data: bytes) -> None:
        self.received.append(data)
        if data == b"pause":
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        self.calls.append("pause writing")

    def resume_writing(self) -> None:
        self.calls.append("resume writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")


class _Ends:
    """A connection whose handshake is done, its application, and the client."""

    def __init__(self, holder: Holder, above: int = 0, handshake_seconds: float = 10) -> None:
        self.app, self.tcp = _App(), _Tcp()
        self.limit = ConnectionLimit("https", 1)
        context = make_context([holder.certificate] * (1 + above), holder.key)
        settings = TlsSettings(context, lambda: self.app, self.limit, handshake_seconds)
        self.settings = settings
        self.connection = TlsConnection(settings, asyncio.get_running_loop())
        self.client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
        self.client.set_connect_state()
        self.connection.connection_made(self.tcp)

    def shake(self) -> TlsTransport:
        for _ in range(2):
            with suppress(SSL.WantReadError):
                self.client.do_handshake()
            self.pump()
        return self.app.transport

    def pump(self) -> None:
        """Carry what is under way to the other side."""
        with suppress(SSL.WantReadError):
            self.connection.data_received(self.client.bio_read(1_000_000))
        if self.tcp.sent:
            self.client.bio_write(self.tcp.sent)
            self.tcp.sent = b""

    def send(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self.client.send(part)
        self.pump()

    def receive(self) -> bytes:
        """Return what the client can read."""
        self.pump()
        received = b""
        try:
            while True:
                received += self.client.recv(65536)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return received


async def test_a_long_chain_leaves_at_once(server_holder: Holder) -> None:
    ends = _Ends(server_holder, above=60)
    with suppress(SSL.WantReadError):
        ends.client.do_handshake()
    ends.connection.data_received(ends.client.bio_read(1_000_000))
    assert len(ends.tcp.sent) > 60 * len(server_holder.certificate.public_bytes(Encoding.DER))
    ends.shake().write(b"x")
    assert ends.receive() == b"x"
    ends.connection.connection_lost(None)


@pytest.mark.parametrize("size", [1, 16384, 16385, 300_000])
async def test_what_is_written_arrives_whatever_its_size(server_holder: Holder, size: int) -> None:
    ends = _Ends(server_holder)
    ends.shake().write(b"x" * size)
    assert ends.receive() == b"x" * size
    ends.app.transport.writelines([b"a", memoryview(b"b"), bytearray(b"c")])
    assert ends.receive() == b"abc"
    ends.connection.connection_lost(None)


async def test_records_wait_while_reading_pauses_and_arrive_when_it_goes_on(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    transport = ends.shake()
    ends.send([b"one", b"pause", b"two", b"three"])
    assert ends.app.received == [b"one", b"pause"]
    assert not transport.is_reading()
    transport.resume_reading()
    assert transport.is_reading()
    await asyncio.sleep(0)
    assert ends.app.received[2:] == [b"two", b"three"]
    assert ends.tcp.calls == ["pause", "resume"]
    ends.connection.connection_lost(None)


async def test_reading_that_was_not_paused_is_not_resumed(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    transport = ends.shake()
    transport.resume_reading()
    ends.send([b"one"])
    assert transport.is_reading()
    assert (ends.app.received, ends.tcp.calls) == ([b"one"], [])
    ends.connection.connection_lost(None)


async def test_flow_control_of_tcp_reaches_the_application(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    ends.connection.pause_writing()  # there is no application yet
    ends.connection.resume_writing()
    transport = ends.shake()
    ends.connection.pause_writing()
    ends.connection.resume_writing()
    assert ends.app.calls == ["pause writing", "resume writing"]
    assert transport.get_write_buffer_size() == 5
    assert transport.get_write_buffer_limits() == (1, 2)
    transport.set_write_buffer_limits(7, 3)
    assert ends.tcp.calls == ["limits 7 3"]
    assert not transport.can_write_eof()
    ends.connection.connection_lost(None)


async def test_closing_says_close_notify_once_and_writes_no_more(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    transport = ends.shake()
    transport.close()
    transport.close()
    transport.write(b"late")
    transport.resume_reading()
    ends.pump()
    with pytest.raises(SSL.ZeroReturnError):
        ends.client.recv(1)
    assert ends.tcp.calls == ["close"]
    assert transport.is_closing()
    ends.connection.connection_lost(None)
    assert ends.app.calls == ["lost"]


async def test_a_connection_that_is_closed_while_reading_pauses_is_not_read_any_more(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    transport = ends.shake()
    ends.send([b"pause", b"late"])
    transport.close()
    transport.resume_reading()
    await asyncio.sleep(0)
    assert (ends.app.received, ends.tcp.calls) == ([b"pause"], ["pause", "close"])
    ends.connection.connection_lost(None)


async def test_a_connection_that_can_say_nothing_any_more_is_closed_all_the_same(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    transport = ends.shake()
    transport._ssl.bio_write(b"\x17\x03\x03\x00\x20" + b"z" * 32)
    with suppress(SSL.Error):
        transport._ssl.recv(1)  # it is broken, and nobody has said so yet
    transport.close()
    assert ends.tcp.calls == ["close"]
    ends.connection.connection_lost(None)


async def test_a_connection_that_breaks_while_writing_is_aborted(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    transport = ends.shake()
    assert transport.get_extra_info("peername") == "a unix socket"
    transport._ssl.shutdown()  # OpenSSL refuses to write after it
    transport.write(b"x")
    transport.write(b"y")
    assert ends.tcp.calls == ["abort"]
    ends.connection.connection_lost(None)


async def test_who_has_shaken_hands_in_time_may_stay_and_who_has_not_is_cut_off(server_holder: Holder) -> None:
    quick, slow = (_Ends(server_holder, handshake_seconds=0.05) for _ in range(2))
    transport = quick.shake()
    assert slow.settings.connections == {slow.connection}
    await asyncio.sleep(0.1)
    assert (quick.tcp.calls, slow.tcp.calls) == ([], ["abort"])
    transport.write(b"still here")
    assert quick.receive() == b"still here"
    for ends in (quick, slow):
        ends.connection.connection_lost(None)
        assert (ends.settings.connections, ends.limit.count) == (set(), 0)


async def test_who_stops_the_listener_can_cut_a_connection_off(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    ends.shake()
    ends.connection.abort()
    assert ends.tcp.calls == ["abort"]
    ends.connection.connection_lost(None)


async def test_who_hangs_up_before_the_handshake_is_forgotten(server_holder: Holder) -> None:
    ends = _Ends(server_holder, handshake_seconds=0.02)
    ends.connection.connection_lost(None)
    await asyncio.sleep(0.05)
    assert (ends.tcp.calls, ends.settings.connections, ends.limit.count) == ([], set(), 0)


async def test_an_error_that_something_else_has_left_to_openssl_is_not_this_connection_s(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    ends.shake()
    lib = Binding().lib
    assert lib.SSL_CTX_use_certificate_chain_file(ends.settings.context._context, b"/there is no such file") != 1
    ends.send([b"one"])
    assert (ends.app.received, ends.tcp.calls) == ([b"one"], [])
    ends.connection.connection_lost(None)


async def test_a_broken_record_ends_the_connection_with_an_alert(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    transport = ends.shake()
    ends.connection.data_received(b"\x17\x03\x03\x00\x20" + b"z" * 32)
    assert ends.tcp.calls == ["close"]
    assert transport.is_closing()
    assert b"HTTP" not in ends.tcp.sent
    ends.client.bio_write(ends.tcp.sent)
    with pytest.raises(SSL.Error, match="bad record mac"):
        ends.client.recv(1)
    ends.connection.connection_lost(None)


async def test_only_what_the_application_may_touch_is_handed_out(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    transport = ends.shake()
    assert transport.get_extra_info("peer_identity").source == "tls"
    assert transport.get_extra_info("sockname") == ("127.0.0.1", 1)
    assert transport.get_extra_info("socket") is None
    assert transport.get_extra_info("nothing", 1) == 1
    ends.connection.connection_lost(None)


async def test_what_comes_after_the_end_is_ignored(server_holder: Holder) -> None:
    ends = _Ends(server_holder)
    assert ends.connection.eof_received() is False
    ends.shake().abort()
    assert ends.connection.eof_received() is True
    ends.connection.connection_lost(None)
    ends.connection.connection_lost(None)
    ends.connection.data_received(b"late")
    ends.connection.read()
    ends.connection.abort()
    ends.connection.resume_writing()
    assert ends.limit.count == 0
    assert ends.app.calls == ["lost"]


def test_a_key_of_another_certificate_is_refused(server_holder: Holder) -> None:
    with pytest.raises(TlsConfigurationError):
        make_context([server_holder.certificate], make("other").key)
    with pytest.raises(TlsConfigurationError):
        make_context([], server_holder.key)
