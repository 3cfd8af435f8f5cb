"""``certwright db backup``: a copy that is whole, private, and made beside a running server."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from server.__main__ import _app
from server.store import current_revision, head_revision

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


def _backup(folder: Path, copy: Path, code: int = 0) -> Result:
    arguments = ["db", "backup", str(copy), "--config", str(folder / "server.yaml")]
    done = CliRunner().invoke(_app("db"), arguments)
    assert done.exit_code == code, done.output
    return done


def test_a_copy_has_what_was_committed_while_others_write(folder: Path, copy: Path) -> None:
    with closing(sqlite3.connect(folder / "certwright.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE probe (text TEXT)")
        other.execute("INSERT INTO probe VALUES ('committed, in the log only')")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO probe VALUES ('under way')")
        assert "is a copy of" in _backup(folder, copy).stdout
        other.execute("ROLLBACK")
    with closing(sqlite3.connect(copy)) as copied:
        assert copied.execute("SELECT text FROM probe").fetchall() == [("committed, in the log only",)]
    assert current_revision(f"sqlite:///{copy}") == head_revision()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_nothing_is_overwritten(folder: Path, copy: Path) -> None:
    copy.write_text("precious")
    assert "is there already" in _backup(folder, copy, code=1).stderr
    assert copy.read_text() == "precious"


def test_a_copy_that_fails_leaves_nothing_behind(folder: Path, copy: Path) -> None:
    (folder / "certwright.db").write_bytes(b"not a database" * 100)
    assert "was not copied" in _backup(folder, copy, code=1).stderr
    assert not copy.exists()


def test_a_damaged_database_gives_no_copy(folder: Path, copy: Path) -> None:
    own = folder / "certwright.db"
    pages = own.read_bytes()
    own.write_bytes(pages[: len(pages) // 2] + b"\xff" * 4096 + pages[len(pages) // 2 + 4096 :])
    assert "damaged" in _backup(folder, copy, code=1).stderr
    assert not copy.exists()


def test_without_a_database_or_a_place_for_the_copy_it_says_so(folder: Path, tmp_path: Path) -> None:
    assert "No such file or directory" in _backup(folder, tmp_path / "nowhere" / "copy.db", code=1).stderr
    (folder / "certwright.db").unlink()
    assert "nothing to copy" in _backup(folder, tmp_path / "copy.db", code=1).stderr


def test_a_database_that_can_not_be_is_one_message(folder: Path, tmp_path: Path) -> None:
    file = folder / "server.yaml"
    file.write_text(file.read_text().replace("\ndatabase: certwright.db", f"\ndatabase: {'x' * 300}"))
    assert "File name too long" in _backup(folder, tmp_path / "copy.db", code=1).stderr
