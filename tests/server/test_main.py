"""The command line as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher
from typer.testing import CliRunner

from server import __main__

if TYPE_CHECKING:
    from pathlib import Path


def _run(*arguments: str, modules: bool = False) -> subprocess.CompletedProcess[str]:
    options = ("-X", "importtime") if modules else ()
    return subprocess.run(
        [sys.executable, *options, "-P", "-m", "server", *arguments], capture_output=True, text=True, check=False
    )


def test_help_names_every_command_and_loads_none() -> None:
    done = _run("--help", modules=True)
    assert done.returncode == 0
    for name in __main__._COMMANDS:
        assert name in done.stdout
    for module in ("sqlalchemy", "aiohttp", "cryptography", "pkilint"):
        assert f" {module}" not in done.stderr


@pytest.mark.parametrize(
    ("name", "needed", "dear"),
    [
        (
            "serve",
            "server.workers",
            {"alembic", "cel_expr_python", "pkcs11", "pkilint", "sqlalchemy.dialects.postgresql"},
        ),
        ("request", "server.store", {"aiohttp", "alembic", "policies.engine", "sqlalchemy.dialects.postgresql"}),
        ("bench", "server.bench.acme", {"server.app.application"}),
    ],
)
def test_a_command_does_not_wait_for_what_it_may_never_need(name: str, needed: str, dear: set[str]) -> None:
    loaded = {line.rpartition("|")[2].strip() for line in _run(name, "--help", modules=True).stderr.splitlines()}
    assert needed in loaded
    assert loaded.isdisjoint(dear)


@pytest.mark.parametrize("charset", ["ascii", "latin-1"])
def test_what_the_character_set_lacks_is_spelled(charset: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "server", "doctor", "--config", str(tmp_path / "ab\N{CHECK MARK}sent.yaml")],
        capture_output=True,
        encoding=charset,
        env={**os.environ, "PYTHONIOENCODING": charset},
        check=False,
    )
    assert done.stdout.startswith("NO configuration: can't be read"), done.stderr
    assert "/abokse" in done.stdout.replace("\n", "")


def test_output_that_has_no_room_is_one_message() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-P", "-m", "server", "policy", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "what this command writes found no place: No space left on device\n"


@pytest.mark.parametrize("written", ["right\n", "right", "right\r\nright\r\n"])
def test_a_program_writes_the_secret_that_is_to_be_hashed(written: str) -> None:
    done = CliRunner().invoke(__main__._app("hash"), ["hash"], input=written)
    assert done.exit_code == 0, done.output
    assert PasswordHasher().verify(done.stdout.strip(), "right")


def test_no_secret_is_not_hashed() -> None:
    for arguments in (["hash"], ["hash", "--secret", ""]):
        done = CliRunner().invoke(__main__._app("hash"), arguments, input="\n")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "an empty secret is none" in done.stderr


def test_no_command_shows_the_help() -> None:
    assert "Commands" in CliRunner().invoke(__main__._app(""), []).output


@pytest.mark.parametrize("name", __main__._COMMANDS)
def test_every_command_can_be_loaded_and_has_a_help_text(name: str) -> None:
    result = CliRunner().invoke(__main__._app(name), [name, "--help"])
    assert result.exit_code == 0, result.output


def test_all_are_loaded_where_the_shell_completes() -> None:
    assert CliRunner().invoke(__main__._app(None), ["cert", "--help"]).exit_code == 0


def test_the_version_is_that_of_the_distribution() -> None:
    done = CliRunner().invoke(__main__._app(""), ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"certwright {version('certwright')}\n")


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(__main__._app("serv"), ["serv"])
    assert result.exit_code == 2


def test_main_runs_the_command_of_the_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["certwright", "hash", "--secret", "right"])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code in {0, None}
    assert PasswordHasher().verify(capsys.readouterr().out.strip(), "right")
