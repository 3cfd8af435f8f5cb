"""``certwright db backup`` and ``restore``: whole and private copies, made beside a running server, and back."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from server.__main__ import _app
from server.store import current_revision, head_revision

if TYPE_CHECKING:
    from collections.abc import Callable
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


def _restore(folder: Path, copy: Path, code: int = 0) -> Result:
    arguments = ["db", "restore", str(copy), "--config", str(folder / "server.yaml")]
    done = CliRunner().invoke(_app("db"), arguments)
    assert done.exit_code == code, done.output
    return done


def _probes(database: Path) -> list[tuple[int]]:
    with closing(sqlite3.connect(database)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return opened.execute("SELECT number FROM probe ORDER BY number").fetchall()


def _leave_as_killed(database: Path) -> None:
    """Write much into the log and leave it there, as a process does that is killed."""
    names = [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm")]
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        for number in range(2, 200):
            other.execute("INSERT INTO probe VALUES (?, zeroblob(3000))", (number,))
        for name in names:
            shutil.copyfile(name, f"{name}.killed")
    for name in names:
        name.with_name(f"{name.name}.killed").replace(name)


@pytest.fixture
def database(folder: Path) -> Path:
    """A database with one more row than tables of the product, written by way of a log."""
    database = folder / "certwright.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("CREATE TABLE probe (number INTEGER PRIMARY KEY, filling BLOB)")
        opened.execute("INSERT INTO probe VALUES (1, NULL)")
    return database


def test_a_copy_that_is_put_back_is_not_damaged_by_the_log_of_a_killed_server(
    folder: Path, copy: Path, database: Path
) -> None:
    told = _backup(folder, copy).stdout
    assert f"certwright db restore {copy}" in told.replace("\n", "")
    _leave_as_killed(database)
    told = _restore(folder, copy).stdout
    assert _probes(database) == [(1,)]
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    (aside,) = folder.glob("certwright.db.before-*[0-9]Z")
    assert aside.name in told
    assert len(_probes(aside)) == 199, "what was there is whole, with what its log has"
    assert not list(folder.glob("*.new*"))


def test_nothing_is_put_back_under_a_running_server(folder: Path, copy: Path, database: Path) -> None:
    _backup(folder, copy)
    holding = (
        "import sqlite3, sys; held = sqlite3.connect(sys.argv[1]); held.execute('SELECT * FROM probe').fetchall();"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        before = database.stat().st_ino
        assert "is in use: stop the server" in _restore(folder, copy, code=1).stderr
        assert database.stat().st_ino == before
        other.communicate("\n")
    _restore(folder, copy)
    assert database.stat().st_ino != before


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda copy: copy.write_bytes(b"not a database" * 100), "not a database"),
        (lambda copy: copy.write_bytes(b""), "no database of Certwright"),
    ],
)
def test_what_is_no_copy_replaces_nothing(
    folder: Path, copy: Path, database: Path, spoil: Callable[[Path], object], why: str
) -> None:
    _backup(folder, copy)
    spoil(copy)
    assert why in _restore(folder, copy, code=1).stderr
    assert _probes(database) == [(1,)]
    assert not [*folder.glob("*.new*"), *folder.glob("*.before-*")]


def test_a_copy_is_put_where_nothing_is_any_more_and_an_older_one_is_to_be_upgraded(
    folder: Path, copy: Path, database: Path
) -> None:
    _backup(folder, copy)
    _leave_as_killed(database)
    database.unlink()
    with closing(sqlite3.connect(copy)) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = '0028'")
    assert "its schema is 0028" in _restore(folder, copy).stdout
    assert _probes(database) == [(1,)]


def test_a_folder_is_told_and_stays(folder: Path, copy: Path, database: Path) -> None:
    _backup(folder, copy)
    for file in folder.glob(f"{database.name}*"):
        file.unlink()
    database.mkdir()
    assert "this is a folder" in _restore(folder, copy, code=1).stderr
    assert database.is_dir()
