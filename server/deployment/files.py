"""Writing files of a deployment with the permissions that they keep."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_made: ContextVar[list[Path] | None] = ContextVar("made", default=None)


@contextmanager
def all_or_nothing() -> Iterator[None]:
    """Take away again what is written within, unless all of it is: the rest would be in the way of the next attempt."""
    made: list[Path] = []
    outer = _made.set(made)
    try:
        yield
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    finally:
        _made.reset(outer)


def write_public(path: Path, content: bytes) -> None:
    """Write a new file that everybody may read, whole or not at all. Raises OSError, with the path."""
    _write(path, content, 0o644)


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read, whole or not at all. Raises OSError, with the path."""
    _write(path, content, 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    # made with its final permissions: a secret is never readable, not even for a moment
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:  # such as a full disk: half a file is worse than none
        path.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
    made = _made.get()
    if made is not None:
        made.append(path)
