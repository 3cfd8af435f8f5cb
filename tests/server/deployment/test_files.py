from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from server.deployment.files import all_or_nothing, write_public, write_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_secret_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    write_secret(tmp_path / "key", b"content")
    assert (tmp_path / "key").read_bytes() == b"content"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_the_rest_is_readable_by_everybody(tmp_path: Path) -> None:
    write_public(tmp_path / "root.pem", b"content")
    assert (tmp_path / "root.pem").stat().st_mode & 0o777 == 0o644


def test_of_a_file_that_finds_no_room_nothing_is_left_and_its_path_is_told(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_secret(tmp_path / "key", b"content that is longer")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "key")
    assert not (tmp_path / "key").exists()


def test_what_belongs_together_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_secret(tmp_path / "before", b"content")

    def write() -> None:
        with all_or_nothing():
            write_secret(tmp_path / "key", b"content")
            write_public(tmp_path / "before", b"content")

    with pytest.raises(FileExistsError):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["before"]
    with all_or_nothing():
        write_public(tmp_path / "after", b"content")
    write_public(tmp_path / "later", b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after", "before", "later"]


@pytest.mark.parametrize("write", [write_public, write_secret])
def test_nothing_is_overwritten(tmp_path: Path, write: object) -> None:
    (tmp_path / "there").write_bytes(b"before")
    with pytest.raises(FileExistsError):
        write(tmp_path / "there", b"after")  # type: ignore[operator]  # one of two functions
    assert (tmp_path / "there").read_bytes() == b"before"
