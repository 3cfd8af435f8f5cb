"""Events: one line each on standard error, readable or JSON; what libraries log becomes events too."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TYPE_CHECKING, TextIO

import structlog
from typing_extensions import override

from server.clock import system_clock

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

    from server.config import Log

_is_plain = re.compile(r"[\w./:@+-]+", re.ASCII).fullmatch
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_LEVELS = {"exception": "error", "warn": "warning"}
_process: dict[str, object] = {}


def configure(log: Log, stream: TextIO | None = None) -> None:
    """Set up how events are written, for the whole process.

    Args:
        log: format and lowest level.
        stream: where to, standard error unless given.
    """
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[log.level.upper()]
    structlog.configure(
        processors=[
            _complete,
            _json if log.format == "json" else _readable(colours=stream.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[_ToEvents()], force=True)


def identify(worker: int) -> None:
    """Let every event of this process tell which worker it is."""
    _process["worker"] = worker


def _complete(logger: object, method: str, event: EventDict) -> EventDict:
    """Add process, level and time: what four processors of structlog do, in the time of one."""
    event.update(_process)
    event["level"] = _LEVELS.get(method, method)
    event["timestamp"] = system_clock().isoformat().replace("+00:00", "Z")
    return structlog.processors.format_exc_info(logger, method, event) if "exc_info" in event else event


def _json(_logger: object, _method: str, event: EventDict) -> str:
    return json.dumps(event, default=str)


def _readable(*, colours: bool) -> Processor:
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
