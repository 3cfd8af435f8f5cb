"""Events: one line each on standard error, readable or JSON; what libraries log becomes events too."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TextIO

import structlog
from typing_extensions import override

if TYPE_CHECKING:
    from structlog.typing import Processor

    from server.config import Log


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
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_rendering(log, stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[_ToEvents()], force=True)


def _rendering(log: Log, stream: TextIO) -> list[Processor]:
    if log.format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    ]


class _ToEvents(logging.Handler):
    """Takes what libraries log by the standard module."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )
