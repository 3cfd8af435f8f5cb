"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
from argon2 import PasswordHasher
from typer.testing import CliRunner

from server import __main__


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
