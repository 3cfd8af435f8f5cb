"""A `certwright serve` process: started, waited for, measured, stopped."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")


class ServerFailed(RuntimeError):
    """The server ended, or did not answer in time. The text holds the end of its output."""


def free_ports(count: int) -> tuple[int, ...]:
    """Return TCP ports that are free on 127.0.0.1 at this moment, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()


class ServerProcess:
    """One server with its workers, in a process group of its own.

    Attributes:
        log: the file that takes what the server prints.
        pid: the process that was started; workers are below it.
    """

    def __init__(
        self,
        config: Path,
        *,
        ready_port: int,
        workers: int = 1,
        log: Path | None = None,
        prepare: Callable[[], None] | None = None,
        command: Sequence[str] = (sys.executable, "-P", "-m", "server"),
    ) -> None:
        """Start it.

        Args:
            config: the deployment's ``server.yaml``.
            ready_port: a plain HTTP listener of that deployment on 127.0.0.1, asked for ``/readyz``.
            workers: the number of worker processes.
            log: where its output goes; ``server.log`` beside the configuration when None.
            prepare: called in the new process before the server; resource limits are set here.
            command: how ``certwright`` is called.
        """
        self.log = log or config.with_name("server.log")
        self._ready_port = ready_port
        arguments = [*command, "serve", "--config", str(config), "--workers", str(workers)]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=prepare,  # noqa: PLW1509 - only tests with one thread give it
            )
        self.pid = self._process.pid

    def wait_ready(self, seconds: float = 30) -> Self:
        """Return when the server answers that it is ready. Raises ServerFailed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerFailed(f"the server ended with {self._process.returncode}:\n{self.tail()}")
            if _answers(self._ready_port):
                return self
            time.sleep(0.05)
        raise ServerFailed(f"the server was not ready after {seconds} s:\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of what the server printed."""
        return self.log.read_text("utf-8", errors="replace")[-4000:]

    @property
    def running(self) -> bool:
        """Whether the started process is still there."""
        return self._process.poll() is None

    def stop(self, seconds: float = 20) -> int:
        """Ask it to stop, as a service manager does, and return its exit status. Raises ServerFailed."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ServerFailed(f"the server did not stop within {seconds} s:\n{self.tail()}") from error

    def kill(self) -> None:
        """End it and its workers at once, as a power cut would."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def cpu_seconds(self) -> float:
        """Return user plus system time of the process and its living workers, all threads, in seconds."""
        return sum(_cpu_seconds(pid) for pid in self.family())

    def peak_memory(self) -> int:
        """Return the sum of the peak resident sizes of the process and its living workers, in bytes."""
        return sum(_peak_memory(pid) for pid in self.family())

    def family(self) -> list[int]:
        """Return the process and all below it."""
        found = [self.pid]
        for each in found:
            for children in Path(f"/proc/{each}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text("ascii").split())
        return found


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _cpu_seconds(pid: int) -> float:
    # proc_pid_stat(5): fields 14 and 15, counted after the command name, which may itself hold blanks and brackets.
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak_memory(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
