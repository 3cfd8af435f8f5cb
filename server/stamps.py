"""What tells that files have changed, without reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from pathlib import Path


def stamps(files: Iterable[Path]) -> Hashable:
    """Return what changes when one of the files, or the content of one of the folders, does, comes or goes.

    Raises nothing.
    """
    found = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        # Of the times that of the inode, too: who may read a file is a change.
        found.append((str(file), status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))
    return tuple(found)
