"""Writing without waiting for who reads."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
import tty
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from server import outlet
from server.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Iterator

Ends = tuple[int, TextIO]
"""What reads, and what is written to."""


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    return reader, writer


def _socket() -> tuple[int, int]:
    here, there = socket.socketpair()
    there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return here.detach(), there.detach()


def _terminal() -> tuple[int, int]:
    reader, writer = pty.openpty()
    tty.setraw(writer)
    return reader, writer


@pytest.fixture(params=[_pipe, _socket, _terminal])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    yield from _opened(request.param())


@pytest.fixture
def pipe() -> Iterator[Ends]:
    yield from _opened(_pipe())


def _opened(pair: tuple[int, int]) -> Iterator[Ends]:
    reader, writer = pair
    with open(writer, "w", encoding="utf-8", closefd=False) as stream:
        yield reader, stream
    for descriptor in pair:
        os.close(descriptor)


@pytest.fixture(params=["at once", "by the thread alone"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "at once":  # as for a pipe of another user
        monkeypatch.setattr(outlet, "_at_once", lambda _descriptor: None)
    return str(request.param)


def _read(reader: int, lines: int) -> list[str]:
    found = b""
    while found.count(b"\n") < lines:
        assert select.select([reader], [], [], 30)[0], found
        found += os.read(reader, 65536)
    return found.decode().splitlines()


def test_what_waits_for_nobody_needs_no_outlet(tmp_path: Path) -> None:
    assert outlet.outlet(io.StringIO()) is None
    with (tmp_path / "log").open("w") as file:
        assert outlet.outlet(file) is None
    assert outlet.outlet(file) is None  # it is closed
    with open("/dev/null", "w") as device:  # noqa: PTH123 - a device
        assert outlet.outlet(device) is None


@pytest.mark.usefixtures("way")
def test_what_is_written_arrives_in_the_characters_of_the_stream(ends: Ends) -> None:
    reader, stream = ends
    made = outlet.outlet(stream)
    assert made is not None
    made.write("ä\n")
    made.write("b\n")
    made.flush()
    assert _read(reader, 2) == ["ä", "b"]


@pytest.mark.usefixtures("way")
def test_a_reader_that_stops_keeps_nobody_waiting_and_later_gets_all_in_order(ends: Ends) -> None:
    reader, stream = ends
    made = Outlet(stream)
    wanted = [f"{number} {'x' * (number % 7) * 1000}" for number in range(200)]
    for line in wanted:
        made.write(f"{line}\n")
    assert made._held
    # The other processes that share the open file go on waiting for the reader.
    assert not fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
    assert _read(reader, len(wanted)) == wanted
    made.finish()
    made.write("and later\n")
    assert _read(reader, 1) == ["and later"]


def test_while_the_reader_keeps_up_there_is_no_thread(pipe: Ends) -> None:
    made = Outlet(pipe[1])
    for number in range(100):
        made.write(f"{number} {'x' * 100}\n")
        _read(pipe[0], 1)
    assert made._thread is None


@pytest.mark.usefixtures("way")
def test_only_so_much_is_held(pipe: Ends) -> None:
    made = Outlet(pipe[1], most=1000)
    made.write("x" * 5000 + "\n")  # never torn, however long it is
    with suppress(BlockingIOError):
        for taken in range(100):
            made.write(f"{taken} {'x' * 100}\n")
    assert taken < 99
    assert [line.split()[0] for line in _read(pipe[0], taken + 1)[1:]] == [str(number) for number in range(taken)]


@pytest.mark.parametrize("written", [1, 50])
def test_a_reader_that_is_gone_is_told_and_one_that_comes_back_gets_what_was_held(tmp_path: Path, written: int) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("w") as stream:
        fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        made = Outlet(stream)
        for number in range(written):
            made.write(f"{number} {'x' * 100}\n")
        os.close(reader)
        made.finish()
        with pytest.raises(BrokenPipeError):
            made.write("lost\n")
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        made.write("again\n")
        made.finish()
        found = _read(reader, written + 1 if written == 50 else 1)
    os.close(reader)
    assert found[-1] == "again"
    assert [line.split()[0] for line in found[:-1]] == [str(number) for number in range(len(found) - 1)]


def test_the_end_waits_for_a_reader_that_goes_on_and_not_for_one_that_has_stopped(pipe: Ends) -> None:
    made = Outlet(pipe[1])
    for number in range(100):
        made.write(f"{number} {'x' * 100}\n")
    begun = time.monotonic()
    made.finish()
    assert 1 < time.monotonic() - begun < 20
    assert made._held


def test_a_process_that_is_forked_does_not_write_what_its_parent_holds(pipe: Ends) -> None:
    reader, stream = pipe
    made = Outlet(stream)
    for number in range(60):
        made.write(f"{number} {'x' * 100}\n")
    child = os.fork()
    if child == 0:
        made.write("the child's\n")
        made.finish()
        os._exit(bool(made._held))
    found = _read(reader, 61)
    assert os.waitpid(child, 0)[1] == 0
    assert found.count("the child's") == 1
    found.remove("the child's")
    assert [line.split()[0] for line in found] == [str(number) for number in range(60)]


def test_the_thread_takes_no_signal_that_is_another_threads_business(pipe: Ends) -> None:
    made = Outlet(pipe[1])
    for number in range(60):
        made.write(f"{number} {'x' * 100}\n")
    assert made._thread is not None
    status = Path(f"/proc/self/task/{made._thread.native_id}/status").read_text()
    blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")), 16)
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        assert blocked >> (one - 1) & 1, one
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())  # here they arrive as before
    _read(pipe[0], 60)


def test_what_a_process_holds_is_written_at_its_end_also_when_it_fails(pipe: Ends) -> None:
    program = (
        "import sys; from server.outlet import Outlet; made = Outlet(sys.stderr)\n"
        "for number in range(100): made.write(f'{number} ' + 'x' * 100 + chr(10))\n"
        "raise SystemExit(3)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=pipe[1]) as process:
        assert len(_read(pipe[0], 100)) == 100
        assert process.wait(timeout=60) == 3
