"""Processes that serve: one, or several below a supervisor that restarts those that die."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import structlog
import uvloop

from ca.lint import load_rules
from policies.document import DocumentErrors
from server import events, outlet
from server.app.application import Application, shared_ledger
from server.config import UnavailableNow

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from server.app.material import Material
    from server.config import Config

OK = 0
FAILED = 1
MISCONFIGURED = 2

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHORT_LIFE_SECONDS = 5
_OBJECTS_BETWEEN_COLLECTIONS = 10_000
_LONGEST_DELAY_SECONDS = 30
_log = structlog.get_logger("server.workers")


@dataclass(frozen=True, slots=True)
class Supervised:
    """What a worker has from its supervisor.

    Attributes:
        lifeline: a pipe's reading end; when its other end closes, the supervisor is gone and serving ends.
        ledger: the file of redeemed nonces that the workers share, with those of other servers on the database.
    """

    lifeline: int
    ledger: Path


def serve_here(
    config: Config,
    material: Material,
    sockets: Mapping[str, socket.socket],
    *,
    ready: Callable[[], None] | None = None,
    supervised: Supervised | None = None,
) -> int:
    """Serve in this process until SIGINT or SIGTERM.

    Args:
        config: the configuration.
        material: what it names, loaded.
        sockets: a bound socket for each listener.
        ready: called when requests are answered.
        supervised: what a worker has from its supervisor; None for a process that serves alone.

    Returns:
        The exit status of the process. Errors are printed.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, material, sockets, ready, supervised))
    except DocumentErrors as errors:
        outlet.tell(str(errors), sys.stderr)
        return FAILED if isinstance(errors, UnavailableNow) else MISCONFIGURED
    return OK


async def _serve(
    config: Config,
    material: Material,
    sockets: Mapping[str, socket.socket],
    ready: Callable[[], None] | None,
    supervised: Supervised | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # until there is something to reload
    if supervised is not None:
        loop.add_reader(supervised.lifeline, stop.set)
    application = await Application.build(config, material, sockets, ledger=supervised.ledger if supervised else None)
    try:
        await application.start()
        loop.add_signal_handler(signal.SIGHUP, application.reload)
        _settle()
        if ready is not None:
            ready()
        await _load_rules()
        await stop.wait()
        if supervised is not None:
            loop.remove_reader(supervised.lifeline)
    finally:
        await application.stop()
        _log.info("stopped")


async def _load_rules() -> None:
    """Load beside the first requests what only signing needs: in a thread, for which too early a request waits."""
    await asyncio.to_thread(load_rules)
    _settle()


def _flush() -> None:
    """Have what was printed leave this process, if it can: a full disk is no reason to serve nobody."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: who started this has closed it
        with suppress(OSError):
            stream.flush()


def _settle() -> None:
    """Take what was loaded out of the garbage collector's sight, and let it look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 50)


@dataclass(slots=True)
class _Worker:
    """One worker's place: its sockets stay open in the supervisor, so that none of its connections is refused."""

    number: int
    sockets: Mapping[str, socket.socket]
    pid: int = 0
    started: float = 0.0
    delay: float = 0.0
    due: float = field(default=0.0)
    restarted: bool = False


class Supervisor:
    """Starts workers, restarts those that die, stops them all.

    Args:
        config: the configuration.
        material: what it names, loaded.
        sockets: for each listener as many sockets as there are to be workers.
    """

    def __init__(self, config: Config, material: Material, sockets: Mapping[str, list[socket.socket]]) -> None:
        self._config = config
        self._material = material
        count = len(next(iter(sockets.values())))
        self._workers = [
            _Worker(number, {name: each[number] for name, each in sockets.items()}) for number in range(count)
        ]
        lifeline, self._held = os.pipe()
        ledger, self._sharing = shared_ledger(config)
        self._supervised = Supervised(lifeline, ledger)

    def run(self, ready: Callable[[], None]) -> int:
        """Supervise until SIGINT or SIGTERM, or until a worker finds the configuration wrong when it first starts.

        What keeps a worker from starting again, such as a database that can't be opened now, does not end the others.
        Must run before anything starts a thread or an event loop. Returns the exit status of the process.
        """
        watched = {*_SIGNALS, signal.SIGCHLD, signal.SIGHUP}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        try:
            load_rules()  # once for all workers, which share its memory
            for worker in self._workers:
                self._start(worker)
            ready()
            status = self._watch(watched)
            return self._stop() or status
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for held in (self._supervised.lifeline, self._held, self._sharing):
                os.close(held)

    def _start(self, worker: _Worker) -> None:
        _flush()
        pid = os.fork()
        if pid == 0:
            os._exit(self._work(worker))
        worker.pid, worker.started, worker.due = pid, monotonic(), 0.0

    def _work(self, worker: _Worker) -> int:
        """Be a worker: what the supervisor holds open for others is closed, and signals mean what they say."""
        os.close(self._held)
        for other in self._workers:
            if other is not worker:
                for sock in other.sockets.values():
                    sock.close()
        events.identify(worker.number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the loop takes it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_SIGNALS, signal.SIGCHLD, signal.SIGHUP})
        try:
            return serve_here(self._config, self._material, worker.sockets, supervised=self._supervised)
        except BaseException:  # noqa: BLE001 - the last resort of a process
            _log.exception("the worker fails")
            return FAILED
        finally:
            outlet.finish()
            _flush()

    def _watch(self, watched: set[signal.Signals]) -> int:
        while True:
            due = [worker.due for worker in self._workers if worker.due]
            received = signal.sigtimedwait(watched, max(0.0, min(due) - monotonic()) if due else 3600)
            if received is not None and received.si_signo in _SIGNALS:
                return OK
            if received is not None and received.si_signo == signal.SIGHUP:
                self._signal(signal.SIGHUP)
            for worker, status in self._reap():
                if status == MISCONFIGURED and not worker.restarted:
                    return MISCONFIGURED
                self._schedule(worker, status)
            for worker in self._workers:
                if worker.due and worker.due <= monotonic():
                    self._restart(worker)

    def _restart(self, worker: _Worker) -> None:
        """Start a worker again, later when the system has no room for it now: that does not end the others."""
        try:
            self._start(worker)
        except OSError as error:
            self._put_off(worker, young=True)
            _log.error(
                "a worker can't be started", worker=worker.number, detail=str(error), restart_in_seconds=worker.delay
            )

    def _schedule(self, worker: _Worker, status: int) -> None:
        """Restart a dead worker at once, but ever later when it keeps dying young."""
        self._put_off(worker, young=monotonic() - worker.started < _SHORT_LIFE_SECONDS)
        _log.error("a worker died", worker=worker.number, status=status, restart_in_seconds=worker.delay)

    def _put_off(self, worker: _Worker, *, young: bool) -> None:
        worker.delay = min(_LONGEST_DELAY_SECONDS, max(0.5, worker.delay * 2)) if young else 0.0
        worker.due, worker.restarted = monotonic() + worker.delay, True

    def _reap(self) -> list[tuple[_Worker, int]]:
        dead = []
        for worker in self._workers:
            if worker.pid:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid:
                    worker.pid = 0
                    dead.append((worker, os.waitstatus_to_exitcode(status)))
        return dead

    def _stop(self) -> int:
        """Ask all workers to stop, then wait; who does not come to an end is killed.

        From now on connections are refused, not left waiting for nobody: clients and balancers turn elsewhere at once.
        """
        self._signal(signal.SIGTERM)
        for worker in self._workers:
            for sock in worker.sockets.values():
                sock.close()
        deadline = monotonic() + self._config.limits.shutdown_seconds + 5
        status = OK
        while any(worker.pid for worker in self._workers) and monotonic() < deadline:
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)
            # Who was only starting has no ears for the signal yet, and dies of it: it is stopped as well.
            status = max([status, *(abs(code) for _, code in self._reap() if code != -signal.SIGTERM)])
        self._signal(signal.SIGKILL)
        return status

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)
