"""``certwright serve`` as a process: how it starts, refuses to start, and stops."""

from __future__ import annotations

import fcntl
import http.client
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SERVE = (sys.executable, "-P", "-m", "server", "serve")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def port(folder: Path) -> int:
    """The port of the http listener."""
    port, path = _free_port(), folder / "server.yaml"
    text = path.read_text()
    http_ = text.index("  http: ")
    path.write_text(text[:http_] + text[http_:].replace("port: 0", f"port: {port}", 1))
    return port


_CROWDED = """
import errno, os, sys

fork, calls = os.fork, []

def crowded() -> int:
    calls.append(None)
    if len(calls) == 3:  # of two workers, the first one that is started again
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()

os.fork = crowded
from server.__main__ import main

sys.exit(main())
"""


@contextmanager
def _serving(
    folder: Path, *options: str, few_files: tuple[int, int] | None = None, command: Sequence[str] = SERVE
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*command, *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if few_files is not None:  # long before the server looks: Python itself takes longer to start
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, few_files)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _get(port: int, path: str = "/healthz") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def _until(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        return _get(port) == 200
    except (OSError, http.client.HTTPException):
        return False


def _refused(folder: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run([*SERVE, *options], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:  # noqa: PTH123 - procfs
        return [int(child) for child in children.read().split()]


def _has_opened(pid: int, file: Path) -> bool:
    return any(file == each.readlink() for each in Path(f"/proc/{pid}/fd").iterdir() if each.exists())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_says_where_it_listens_and_stops_cleanly_on_a_signal(
    folder: Path, port: int, number: signal.Signals, workers: str
) -> None:
    with _serving(folder, "--workers", workers) as process:
        _until(lambda: _answers(port))
        process.send_signal(number)
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    assert f"http   http://127.0.0.1:{port}" in output
    assert "one static challenge password admits every device" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_request_in_flight_is_finished_before_it_stops(folder: Path, port: int, workers: str) -> None:
    with _serving(folder, "--workers", workers) as process:
        _until(lambda: _answers(port))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
            time.sleep(0.5)
            process.terminate()
            _until(lambda: _refuses(port))
            assert process.poll() is None
            sock.sendall(b"cd")
            answer = sock.recv(4096)
        output, _ = process.communicate(timeout=90)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")), answer
    assert b"Connection: close" in answer
    assert process.returncode == 0, output


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_worker_that_dies_is_replaced(folder: Path, port: int) -> None:
    with _serving(folder, "--workers", "2") as process:
        _until(lambda: _answers(port))
        before = _children(process.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        _until(lambda: len(_children(process.pid)) == 2 and before[0] not in _children(process.pid))
        for _ in range(20):
            assert _get(port) == 200
        process.terminate()
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 0
    assert "a worker died" in output


def test_a_worker_that_can_not_start_again_now_does_not_end_the_others(folder: Path, port: int) -> None:
    database = folder / "certwright.db"
    with _serving(folder, "--workers", "2") as process:
        _until(lambda: _answers(port))
        before = _children(process.pid)
        _until(lambda: all(_has_opened(pid, database) for pid in before))
        database.rename(folder / "away.db")
        os.kill(before[0], signal.SIGKILL)
        time.sleep(2)
        (folder / "away.db").rename(database)
        _until(lambda: len(_children(process.pid)) == 2 and before[0] not in _children(process.pid))
        assert before[1] in _children(process.pid)
        assert _get(port) == 200
        process.terminate()
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output


@pytest.mark.parametrize(("hard", "possible"), [(None, 2 * 1000 + 256), (1500, 1500)])
def test_connections_have_as_many_file_descriptors_as_may_be(
    folder: Path, port: int, hard: int | None, possible: int
) -> None:
    most = hard or resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with _serving(folder, few_files=(256, most)) as process:
        _until(lambda: _answers(port))
        soft, _ = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        process.terminate()
        output, _ = process.communicate(timeout=90)
    assert soft >= possible
    assert ("not enough file descriptors" in output) == (hard is not None)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_answers_and_stops_when_there_is_no_room_for_what_it_says(folder: Path, port: int, workers: str) -> None:
    """The answer to a client must not hang on a log that can't be written, nor the end of the process."""
    buffering = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        process = subprocess.Popen([*SERVE, "--workers", workers], cwd=folder, stdout=full, stderr=full, env=buffering)
    try:
        _until(lambda: _answers(port))
        for path in ("/readyz", "/nothing", "/scep?operation=GetCACaps"):
            assert _get(port, path) in {200, 404}
        if workers == "2":
            before = _children(process.pid)
            os.kill(before[0], signal.SIGKILL)
            _until(lambda: len(_children(process.pid)) == 2 and before[0] not in _children(process.pid))
        process.terminate()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()


def test_a_worker_for_which_there_is_no_room_is_started_later_and_the_others_go_on(folder: Path, port: int) -> None:
    crowded = (sys.executable, "-P", "-c", _CROWDED, "serve")
    with _serving(folder, "--workers", "2", command=crowded) as process:
        _until(lambda: _answers(port))
        died, stays = _children(process.pid)
        os.kill(died, signal.SIGKILL)
        _until(lambda: len(_children(process.pid)) == 2 and died not in _children(process.pid))
        assert stays in _children(process.pid)
        process.terminate()
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "a worker can't be started" in output
    assert "Traceback" not in output


@contextmanager
def _unread(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Serve with a pipe for output that is full at once: gives the process, and what the pipe is read by."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"-" * 4095 + b"\n")
    process = subprocess.Popen([*SERVE, *options], cwd=folder, stdout=writer, stderr=writer)
    shared = fcntl.fcntl(writer, fcntl.F_GETFL)
    try:
        yield process, reader
        assert fcntl.fcntl(writer, fcntl.F_GETFL) == shared  # others who write there rely on it
    finally:
        process.kill()
        process.wait()
        os.close(writer)
        os.close(reader)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_answers_and_stops_when_the_reader_of_its_log_has_stopped(folder: Path, port: int, workers: str) -> None:
    with _unread(folder, "--workers", workers) as (process, _):
        _until(lambda: _answers(port))
        for number in range(100):
            assert _get(port, f"/nothing/{number}") == 404
        if workers == "2":
            before = _children(process.pid)
            os.kill(before[0], signal.SIGKILL)
            _until(lambda: len(_children(process.pid)) == 2 and before[0] not in _children(process.pid))
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reader_that_goes_on_gets_the_whole_log_in_order(folder: Path, port: int, workers: str) -> None:
    with _unread(folder, "--workers", workers) as (process, reader):
        _until(lambda: _answers(port))
        for number in range(200):
            assert _get(port, f"/nothing/{number}") == 404
        process.terminate()
        time.sleep(0.5)  # the end waits for the reader
        found = b""
        while b" stopped" not in found or found.count(b"/nothing/") < 200:
            found += os.read(reader, 65536)
        assert process.wait(timeout=60) == 0
    assert b"Certwright serves:" in found
    lines = [line for line in found.decode().splitlines() if "/nothing/" in line]
    for worker in range(int(workers)):
        own = [line for line in lines if workers == "1" or f"worker={worker} " in line]
        told = [int(line.partition("/nothing/")[2].split()[0]) for line in own]
        assert told == sorted(told)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_answers_and_stops_when_its_output_was_closed_before_it_started(
    folder: Path, port: int, workers: str
) -> None:
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *SERVE, "--workers", workers]
    with subprocess.Popen(closed, cwd=folder) as process:
        try:
            _until(lambda: _answers(port))
            process.terminate()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def test_what_is_wrong_is_told_without_waiting_for_a_reader(folder: Path) -> None:
    (folder / "ca/issuing.key").unlink()
    with _unread(folder) as (process, reader):
        assert process.wait(timeout=60) == 2
        assert os.read(reader, 4096).endswith(b"-\n")


def test_workers_stop_when_the_supervisor_is_gone(folder: Path, port: int) -> None:
    with _serving(folder, "--workers", "2") as process:
        _until(lambda: _answers(port))
        process.kill()
        process.wait()
        _until(lambda: not _answers(port))


def test_a_port_in_use_is_one_message_with_its_place(folder: Path, port: int) -> None:
    for workers in ("1", "2"):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
            status, output = _refused(folder, "--workers", workers)
        assert status == 1  # it may be free soon, so a service manager shall try again
        assert output.count("\n") == 1
        assert output.startswith("server.yaml:")
        assert f"port {port}: another program listens there" in output


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "server.yaml").unlink(), "server.yaml:1:1: can't be read"),
        (lambda folder: (folder / "ca/issuing.key").unlink(), "issuing.key"),
        (lambda folder: (folder / "ca/issuing.passphrase").write_text("wrong"), "passphrase"),
        (lambda folder: (folder / "certwright.db").write_bytes(b"garbage" * 100), "not a database"),
    ],
)
def test_what_prevents_serving_is_told_without_a_traceback(
    folder: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    status, output = _refused(folder)
    assert status == 2
    assert message in output
    assert "Traceback" not in output
    assert all(line.startswith("server.yaml:") for line in output.splitlines())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_database_that_is_locked_is_worth_another_try(folder: Path, workers: str) -> None:
    with closing(sqlite3.connect(folder / "certwright.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        status, output = _refused(folder, "--workers", workers)
    assert (status, output.count("\n")) == (1, 1)
    assert "can't be opened: database is locked" in output


def test_a_database_of_a_newer_version_is_not(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "certwright.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    status, output = _refused(folder)
    assert status == 2
    assert "run the newer version" in output


def test_a_new_database_is_made_at_start(folder: Path, port: int) -> None:
    for path in folder.glob("certwright.db*"):
        path.unlink()
    with _serving(folder) as process:
        _until(lambda: _answers(port))
        assert _get(port, "/readyz") == 200
        process.terminate()
        process.communicate(timeout=90)
    assert process.returncode == 0
