"""Writing files of a deployment with the permissions that they keep."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
