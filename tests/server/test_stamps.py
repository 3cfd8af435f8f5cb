"""What tells that files have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.stamps import stamps

if TYPE_CHECKING:
    from pathlib import Path


def test_who_may_read_a_file_is_a_change_of_it(tmp_path: Path) -> None:
    """A file that could not be read, and whose mode is mended then, has the times and the size that it had."""
    file = tmp_path / "server.key"
    file.write_text("key")
    before = stamps([file])
    assert stamps([file]) == before
    file.chmod(0o400)
    assert stamps([file]) != before


def test_files_that_come_go_or_are_written_are_changes_and_one_that_is_absent_is_none(tmp_path: Path) -> None:
    file, absent = tmp_path / "a", tmp_path / "b"
    without = stamps([file, absent])
    file.write_text("one")
    first = stamps([file, absent])
    assert first != without
    assert stamps([file, absent]) == first
    file.write_text("three")
    assert stamps([file, absent]) not in {without, first}
    file.unlink()
    assert stamps([file, absent]) == without
