"""Writing to a pipe, a socket or a terminal without ever waiting for who reads it."""

from __future__ import annotations

import atexit
import errno
import os
import select
import signal
import socket
import sys
from collections import deque
from contextlib import suppress
from functools import partial
from stat import S_ISFIFO, S_ISSOCK
from threading import Lock, Thread
from time import sleep
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 1024 * 1024
_PATIENCE_SECONDS = 2.0
_made: list[Outlet] = []


def outlet(stream: TextIO) -> Outlet | None:
    """Return what writes where a stream does, None where writing waits for nobody: in a file, or in memory."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
        waits = S_ISFIFO(mode) or S_ISSOCK(mode) or stream.isatty()
    except (OSError, ValueError):  # in memory, or closed
        return None
    return Outlet(stream) if waits else None


def tell(text: str, stream: TextIO | None) -> None:
    """Print a line without waiting for who reads it; nobody may, and the stream may have been closed at the start."""
    if stream is None:
        return
    sink = outlet(stream) or stream
    with suppress(OSError):
        sink.write(f"{text}\n")
        sink.flush()


def finish() -> None:
    """Write what outlets of this process hold, as long as their readers go on. Done at its end, but for `os._exit`.

    What the standard streams hold and a full disk does not take is dropped: it must not become the exit status.
    """
    for each in _made:
        each.finish()
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


atexit.register(finish)


class Outlet:
    """Text for a pipe, a socket or a terminal.

    While its reader keeps up, the caller writes, as it would without this class. What finds no room is held, and a
    thread writes it, in order, as the reader goes on. The standard streams are shared with other processes, which
    rely on writing to wait for the reader, so the open file is not made non-blocking: a pipe or terminal is opened
    once more, a socket is asked for each message.

    Args:
        stream: its descriptor, character set and error handling are used; it must stay open.
        most: how many octets are held.
    """

    def __init__(self, stream: TextIO, most: int = _MOST) -> None:
        self._descriptor = stream.fileno()
        self._encoding, self._errors = stream.encoding, stream.errors or "strict"
        self._at_once = _at_once(self._descriptor)
        self._most = most
        self._lock = Lock()
        self._held: deque[bytes] = deque()
        self._size = 0
        self._thread: Thread | None = None
        os.register_at_fork(after_in_child=self._begin_anew)
        _made.append(self)

    def write(self, text: str) -> None:
        """Write a text, or hold it until there is room.

        Raises:
            OSError: nobody reads any more, or too much is held (BlockingIOError). Of the text nothing was written.
        """
        octets = text.encode(self._encoding, self._errors)
        with self._lock:
            if self._held and self._thread is None:  # the reader was gone
                self._shorten(self._put(self._held[0]))
            if not self._held:
                done = self._put(octets)
                if done == len(octets):
                    return
                octets = octets[done:]
            elif self._size + len(octets) > self._most:
                self._awake()
                raise BlockingIOError(errno.EAGAIN, "the reader has stopped, and too much is held for it")
            self._held.append(octets)
            self._size += len(octets)
            self._awake()

    def flush(self) -> None:
        """Do nothing: what can leave this process has left it."""

    def finish(self) -> None:
        """Wait until what is held is written, or its reader has taken nothing for two seconds."""
        while (thread := self._thread) is not None:
            before = self._size
            thread.join(_PATIENCE_SECONDS)
            if thread.is_alive() and self._size >= before:
                return

    def _put(self, octets: bytes) -> int:
        """Write as much as there is room for now; returns how much. Raises OSError when nobody reads any more."""
        try:
            return self._at_once(octets) if self._at_once is not None else 0
        except BlockingIOError:
            return 0

    def _awake(self) -> None:
        """Have a thread write what is held. Under the lock."""
        if self._thread is None:
            self._thread = Thread(target=self._relieve, name="log", daemon=True)
            # It takes over what is blocked, and signals are the main thread's: a supervisor that waits for them has
            # blocked them there, and would be ended by one that this thread took.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends: who writes next tries again
                self._thread = None
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _relieve(self) -> None:
        """Write what is held, in order, as the reader makes room; end when nothing is held or nobody reads."""
        room = select.poll()
        room.register(self._descriptor, select.POLLOUT)
        while True:
            with self._lock:
                if not self._held:
                    self._thread = None
                    return
                octets = self._held[0]
            room.poll()
            try:
                done = self._put(octets) if self._at_once is not None else os.write(self._descriptor, octets)
            except OSError:
                with self._lock:
                    self._thread = None
                return
            if not done:
                sleep(0.01)  # another process took the room
            with self._lock:
                self._shorten(done)

    def _shorten(self, done: int) -> None:
        """Forget what was written of what is held. Under the lock."""
        self._size -= done
        if done == len(self._held[0]):
            self._held.popleft()
        else:
            self._held[0] = self._held[0][done:]

    def _begin_anew(self) -> None:
        """Be the outlet of a process that was just forked: what is held is its parent's, and so is the thread."""
        self._lock = Lock()
        self._held, self._size, self._thread = deque(), 0, None


def _at_once(descriptor: int) -> Callable[[bytes], int] | None:
    """Return what writes to a descriptor or raises BlockingIOError; None where the system has no way to do that."""
    if S_ISSOCK(os.fstat(descriptor).st_mode):
        duplicate = socket.socket(fileno=os.dup(descriptor))
        return lambda octets: duplicate.send(octets, socket.MSG_DONTWAIT)
    try:  # an open file of our own, so that the flag is nobody else's
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # somebody else's pipe, or no such folder on this system: the thread writes everything
        return None
    return partial(os.write, own)
