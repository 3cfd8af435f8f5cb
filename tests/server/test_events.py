"""How events are written."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import logging
import os
from typing import TYPE_CHECKING

import pytest
import structlog

from server import events
from server.config import Log
from server.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    events._process.clear()
    logging.root.handlers[:], logging.root.level = handlers, level


def _lines(log: Log, stream: io.StringIO) -> list[str]:
    events.configure(log, stream)
    logger = structlog.get_logger("test")
    logger.debug("unseen")
    logger.info("request", path="/a b\nX", status=200, ms=0.5, peer="127.0.0.1", nothing=None)
    logger.error("failed", exc_info=RuntimeError("cause"))
    return stream.getvalue().splitlines()


def test_a_readable_event_is_one_line_that_outside_bytes_can_not_break() -> None:
    lines = _lines(Log(), io.StringIO())
    assert lines[0][19:] == ' info    request path="/a b\\nX" status=200 ms=0.5 peer=127.0.0.1 nothing=None'
    assert lines[1][19:] == " error   failed"
    assert lines[2] == "RuntimeError: cause"


def test_warnings_and_errors_are_coloured_on_a_terminal() -> None:
    assert _lines(Log(), _Terminal())[1].startswith("\x1b[31m")


def test_a_json_event_is_one_object_a_line() -> None:
    stream = io.StringIO()
    events.configure(Log(format="json"), stream)
    events.identify(3)
    structlog.get_logger("test").info("request", path="/a\n", at=object)
    event = json.loads(stream.getvalue())
    assert (event["event"], event["path"], event["level"], event["worker"]) == ("request", "/a\n", "info", 3)
    assert event["timestamp"].endswith("Z")


def test_the_level_holds_back_what_is_below() -> None:
    assert len(_lines(Log(level="error", format="json"), io.StringIO())) == 1
    stream = io.StringIO()
    events.configure(Log(level="debug"), stream)
    structlog.get_logger("test").debug("seen")
    assert "debug   seen" in stream.getvalue()


class _FullDisk(io.StringIO):
    """Takes nothing while it is full; what was written before stays."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_who_logs_goes_on_when_the_log_cannot_be_written_and_the_log_says_later_what_is_missing() -> None:
    stream = _FullDisk()
    events.configure(Log(format="json"), stream)
    logger = structlog.get_logger("test")
    stream.full = True
    for _ in range(3):
        logger.info("request")
    stream.full = False
    logger.error("first")
    logger.error("second")
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in told] == [events._MISSING, "first", "second"]
    assert (told[0]["lines"], told[0]["level"]) == (3, "warning")


def test_who_logs_goes_on_when_nobody_reads_the_log_any_more(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:  # noqa: PTH123 - a pipe
        events.configure(Log(), stream)
        structlog.get_logger("test").info("written into a pipe")
    with (tmp_path / "log").open("w") as stream:
        events.configure(Log(), stream)
    structlog.get_logger("test").info("written into a file that is closed")


def test_who_logs_goes_on_when_the_reader_has_stopped_and_the_log_says_later_what_is_missing() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with open(writer, "w") as stream, open(reader) as read:  # noqa: PTH123 - a pipe
        lines = events._Lines(Outlet(stream, most=1000), lambda number: f"missing {number}")
        for number in range(100):
            lines.msg(f"{number} {'x' * 100}")
        told = [read.readline().split()[0] for _ in range(30)]  # so that there is room again
        while told[-1] != "later":
            lines.msg("later")
            told.append(read.readline().strip().partition(" x")[0])
    missing = next(line for line in told if line.startswith("missing"))
    kept = told.index(missing)
    assert told[:kept] == [str(number) for number in range(kept)]
    assert int(missing.split()[1]) >= 100 - kept


def test_what_libraries_log_becomes_an_event() -> None:
    stream = io.StringIO()
    events.configure(Log(format="json"), stream)
    logging.getLogger("asyncio").info("unseen")
    logging.getLogger("asyncio").error("Task %s", "failed")
    event = json.loads(stream.getvalue())
    assert (event["event"], event["logger"], event["level"]) == ("Task failed", "asyncio", "error")
