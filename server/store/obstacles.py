"""Why a database file can't be opened: SQLite itself says no more than that."""

from __future__ import annotations

import os
from stat import S_ISDIR
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def obstacle(file: Path) -> str | None:
    """Return what keeps this user from opening a database file, with the way out; None when nothing is seen."""
    try:
        return _seen(file, file.parent)
    except PermissionError as error:
        return f"this user may not look for {error.filename}: run as the owner of its folder"
    except OSError as error:
        return f"there can be no such file: {error.strerror}"


def _seen(file: Path, folder: Path) -> str | None:
    if not S_ISDIR(_mode(folder)):
        return f"the folder {folder} is not there: make it, or correct the path"
    mode = _mode(file)
    if S_ISDIR(mode):
        return "this is a folder: name a file"
    if mode and not os.access(file, os.R_OK | os.W_OK):
        return "this user may not read and write it: run as its owner"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"this user may not write in the folder {folder}, where SQLite keeps its log: run as its owner"
    return None


def _mode(path: Path) -> int:
    """Return what is there, 0 for nothing. Raises OSError; `Path.exists` takes it for a no, of late."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
