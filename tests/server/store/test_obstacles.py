from __future__ import annotations

import os
from errno import EACCES
from typing import TYPE_CHECKING

from server.store.obstacles import obstacle

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_file_that_is_there_or_can_be_made_has_no_obstacle(tmp_path: Path) -> None:
    assert obstacle(tmp_path / "new.db") is None
    (tmp_path / "old.db").touch()
    assert obstacle(tmp_path / "old.db") is None


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert obstacle(tmp_path / "nowhere" / "x.db") == (
        f"the folder {tmp_path / 'nowhere'} is not there: make it, or correct the path"
    )
    (tmp_path / "file").touch()
    assert "is not there" in (obstacle(tmp_path / "file" / "folder" / "x.db") or "")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    assert obstacle(tmp_path) == "this is a folder: name a file"


def test_what_another_user_owns_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.db"
    file.touch()
    monkeypatch.setattr(os, "access", lambda path, _mode: path != file)
    assert obstacle(file) == "this user may not read and write it: run as its owner"
    monkeypatch.setattr(os, "access", lambda path, _mode: path == file)
    assert "may not write in the folder" in (obstacle(file) or "")


def test_a_folder_that_can_not_be_looked_into_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(_path: Path, **_options: bool) -> os.stat_result:
        raise PermissionError(EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr("pathlib.Path.stat", stat)
    assert obstacle(tmp_path / "x.db") == f"this user may not look for {tmp_path}: run as the owner of its folder"


def test_a_name_that_no_file_can_have_is_said_to_be_so(tmp_path: Path) -> None:
    assert obstacle(tmp_path / ("x" * 300)) == "there can be no such file: File name too long"
