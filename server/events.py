"""Events: one line each on standard error, readable or JSON; what libraries log becomes events too."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TextIO

import structlog
from typing_extensions import override

from server.clock import system_clock
from server.outlet import outlet

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict

    from server.config import Log
    from server.outlet import Outlet

_is_plain = re.compile(r"[\w./:@+-]+", re.ASCII).fullmatch
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_LEVELS = {"exception": "error", "warn": "warning"}
_MISSING = "the log could not be written: lines are missing before this one"
_process: dict[str, object] = {}


def configure(log: Log, stream: TextIO | None = None) -> None:
    """Set up how events are written, for the whole process.

    Args:
        log: format and lowest level.
        stream: where to, standard error unless given.
    """
    stream = stream or sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - None: it was closed before the start
    level = logging.getLevelNamesMapping()[log.level.upper()]
    render = _json if log.format == "json" else _readable(colours=stream.isatty())
    sink = outlet(stream) or stream

    def missing(number: int) -> str:
        return render(None, "warning", _complete(None, "warning", {"event": _MISSING, "lines": number}))

    structlog.configure(
        processors=[_complete, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines(sink, missing),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[_ToEvents()], force=True)


def identify(worker: int) -> None:
    """Let every event of this process tell which worker it is."""
    _process["worker"] = worker


class _Lines:
    """Writes lines, and goes on when that fails: a full disk or a pipe that nobody reads keeps nobody from an answer.

    It is what structlog's loggers write to, and the factory that gives it to them.

    Args:
        stream: where to.
        missing: returns the line that says how many could not be written, as soon as one can be again.
    """

    def __init__(self, stream: TextIO | Outlet, missing: Callable[[int], str]) -> None:
        self._write = stream.write
        self._flush = stream.flush
        self._missing = missing
        self._lock = Lock()
        self._lost = 0

    def __call__(self, *_about: object) -> _Lines:
        """Be the logger that structlog asks its factory for."""
        return self

    def msg(self, line: str) -> None:
        """Write a line and have it leave this process."""
        with self._lock:
            try:
                if self._lost:
                    self._flush()  # what is held back goes first; where it can't, nothing is added to it
                    line = f"{self._missing(self._lost)}\n{line}"
                self._write(f"{line}\n")
                self._flush()
                self._lost = 0
            except (OSError, ValueError):  # ValueError: it is closed
                self._lost += 1

    debug = info = warn = warning = error = critical = exception = fatal = failure = err = log = msg


def _complete(logger: object, method: str, event: EventDict) -> EventDict:
    """Add process, level and time: what four processors of structlog do, in the time of one."""
    event.update(_process)
    event["level"] = _LEVELS.get(method, method)
    event["timestamp"] = system_clock().isoformat().replace("+00:00", "Z")
    return structlog.processors.format_exc_info(logger, method, event) if "exc_info" in event else event


def _json(_logger: object, _method: str, event: EventDict) -> str:
    return json.dumps(event, default=str)


def _readable(*, colours: bool) -> Callable[[object, str, EventDict], str]:
    """Return what writes an event for people; structlog's own takes ten times as long, for every request."""

    def render(_logger: object, _method: str, event: EventDict) -> str:
        stamp, level, text = event.pop("timestamp"), event.pop("level"), event.pop("event")
        exception = event.pop("exception", None)
        texts = [str(value) for value in event.values()]
        if not all(texts) or not _is_plain("".join(texts)):  # hardly ever; asked of each, it takes a sixth of an event
            texts = list(map(_shown, texts))
        fields = "".join([f" {name}={text}" for name, text in zip(event, texts, strict=True)])
        line = f"{stamp[:19]} {level:<7} {text}{fields}"
        if colours and level in _COLOURS:
            line = f"{_COLOURS[level]}{line}\x1b[0m"
        return f"{line}\n{exception}" if exception else line

    return render


def _shown(text: str) -> str:
    """Return a value so that it can't be taken for anything else: what comes from outside may hold line ends."""
    return text if _is_plain(text) else json.dumps(text)


class _ToEvents(logging.Handler):
    """Takes what libraries log by the standard module."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )
