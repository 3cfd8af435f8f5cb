from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.bench.process import ServerFailed, ServerProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

# A stand-in for the server: one child, /readyz on the port it is told, and an end when asked.
PROGRAM = """
import http.server, os, signal, sys, time
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
own = os.getpid()
if os.fork() == 0:
    while os.getppid() == own:
        time.sleep(0.05)
    os._exit(0)
child = {stubborn}
signal.signal(signal.SIGTERM, signal.SIG_IGN if child else lambda *_: os._exit(7))
print("listening", sys.argv[1:], flush=True)
sum(range(3_000_000))
http.server.HTTPServer(("127.0.0.1", {port}), Ready).serve_forever()
"""


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def process(tmp_path: Path, port: int) -> Iterator[ServerProcess]:
    started = start(tmp_path, port, PROGRAM.format(port=port, stubborn=False))
    yield started
    started.kill()


def start(folder: Path, port: int, program: str) -> ServerProcess:
    return ServerProcess(folder / "server.yaml", ready_port=port, workers=3, command=(sys.executable, "-c", program))


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()  # dead, though its new parent may not have taken note
    except FileNotFoundError:
        return False


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(20))) == 20


def test_it_is_served_with_the_configuration_and_the_workers(process: ServerProcess, tmp_path: Path) -> None:
    process.wait_ready()
    assert f"['serve', '--config', '{tmp_path / 'server.yaml'}', '--workers', '3']" in process.tail()


def test_stopping_gives_the_exit_status(process: ServerProcess) -> None:
    assert process.wait_ready().stop() == 7
    assert not process.running


def test_stopping_twice_is_harmless(process: ServerProcess) -> None:
    process.wait_ready().stop()
    assert process.stop() == 7


def test_killing_takes_the_children_too(process: ServerProcess) -> None:
    own, child = process.wait_ready().family()
    process.kill()
    assert own == process.pid
    while is_running(child):
        time.sleep(0.01)


def test_cpu_and_memory_of_the_whole_family_are_counted(process: ServerProcess) -> None:
    process.wait_ready()
    assert 0 < process.cpu_seconds() < 60
    assert 2**20 < process.peak_memory() < 2**30


def test_a_server_that_ends_is_told_with_its_last_words(tmp_path: Path, port: int) -> None:
    with pytest.raises(ServerFailed, match=r"(?s)ended with 3.*goodbye"):
        start(tmp_path, port, "import sys; print('goodbye', flush=True); sys.exit(3)").wait_ready()


def test_a_server_that_never_answers_is_told(tmp_path: Path, port: int) -> None:
    silent = start(tmp_path, port, "import time; time.sleep(60)")
    with pytest.raises(ServerFailed, match="not ready"):
        silent.wait_ready(0.2)
    silent.kill()


def test_a_server_that_does_not_stop_is_killed(tmp_path: Path, port: int) -> None:
    stubborn = start(tmp_path, port, PROGRAM.format(port=port, stubborn=True)).wait_ready()
    with pytest.raises(ServerFailed, match="did not stop"):
        stubborn.stop(0.2)
    assert not stubborn.running
