"""The command line as a whole."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import typer
from argon2 import PasswordHasher
from typer.testing import CliRunner

from server import __main__

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        assert (done.exit_code, done.stdout) == (2, "")
        assert "an empty secret is none" in done.stderr


@pytest.mark.parametrize(("octets", "arguments"), [(b"\xff\n", []), (b"", ["--secret", b"\xff"])])
def test_a_secret_that_is_no_text_is_refused(octets: bytes, arguments: list[str | bytes]) -> None:
    program: list[str | bytes] = [sys.executable, "-P", "-m", "server", "hash", *arguments]
    done = subprocess.run(program, input=octets, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"a secret is UTF-8 text here; this is none\n"


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


HSM = "--module FOLDER/server.yaml --token t --pin-file FOLDER/server.yaml"  # which is no library
STATUSES: dict[str, tuple[str, str | None]] = {
    # Each command with what ends it with 2 (beside an unusable configuration), and with 1; None: nothing quick does.
    "init": ("--hostname *.example DIR", "FOLDER"),
    "serve": ("--workers 0", None),
    "doctor": ("more", "--config FOLDER/nothing.yaml"),
    "hash": ("--secret=", None),
    "policy import": ("vault FOLDER/nothing.json", None),
    "policy diff": ("FOLDER/policies --replay soon", None),
    "policy audit": ("more", None),
    "policy check": ("FOLDER/nothing.yaml", None),
    "policy schema": ("more", None),
    "policy test": ("FOLDER/nothing.yaml", "--junit FOLDER/server.yaml/x"),
    "policy explain": ("FOLDER/server.yaml --endpoint est/default", "nobody"),
    "cert list": ("--endpoint est", None),
    "cert show": ("none", "5"),
    "cert key": ("none", "5"),
    "cert revoke": ("5 --invalid-since 2999-01-01", "5"),
    "cert release": ("none", "5"),
    "request list": ("--endpoint est", None),
    "request show": ("x more", "none"),
    "request approve": ("x more", "none"),
    "request reject": ("x", "none --why no"),
    "request explain": ("x more", "none"),
    "credential new": ("est/none", None),
    "credential list": ("--endpoint est", None),
    "credential revoke": ("x more", "none"),
    "eab new": ("acme/default", None),
    "eab list": ("--endpoint acme", None),
    "eab revoke": ("x more", "none"),
    "account list": ("--endpoint acme", None),
    "account show": ("x more", "none"),
    "account revoke": ("x more", "none"),
    "order list": ("--endpoint acme", None),
    "order show": ("x more", "none"),
    "order failing": ("more", None),
    "order unpause": ("x more", "none"),
    "order agree": ("x more", "none"),
    "renewals push": ("--all --why because", None),
    "renewals withdraw": ("", None),
    "renewals list": ("more", None),
    "ca show": ("more", None),
    "ca init": ("new --subject CN=", "issuing --subject CN=x --folder FOLDER/ca"),
    "ca import": ("new FOLDER/server.yaml --folder FOLDER/ca", "new FOLDER/root.pem --folder FOLDER/ca"),
    "ca sign": ("new FOLDER/server.yaml --under root --folder FOLDER/ca", None),
    "ca rollover": ("root --to ../x --folder FOLDER/ca", "none --to new --folder FOLDER/ca"),
    "ca hsm list": ("--module FOLDER/nothing", HSM),
    "ca hsm generate": (f"{HSM} --label x --kind ed25519", f"{HSM} --label x"),
    "ca hsm csr": (f"{HSM} --label x --subject CN=", f"{HSM} --label x --subject CN=x"),
    "db upgrade": ("more", None),
    "db check": ("more", None),
    "db backup": ("x more", "FOLDER/server.yaml"),
    "db restore": ("FOLDER/nothing", "FOLDER/server.yaml"),
    "bench est": ("--url https://localhost", None),
    "bench scep": ("--url http://localhost", None),
    "bench acme": ("--url https://localhost", None),
    "bench policy": ("--count 0", None),
    "bench sign": ("--kind dsa", f"--kind P-256 --count 1 {HSM} --key x"),
}


def _commands(group: Any, *names: str) -> Iterator[tuple[str, set[str]]]:
    """Yield every command with its options."""
    if not hasattr(group, "commands"):
        yield " ".join(names), {option for parameter in group.params for option in parameter.opts}
        return
    for name, command in group.commands.items():
        yield from _commands(command, *names, name)


COMMANDS = dict(_commands(typer.main.get_command(__main__._app(None))))


def _status(folder: Path, name: str, arguments: str) -> int:
    words = [*name.split(), *arguments.replace("FOLDER", str(folder)).split()]
    if "--config" in COMMANDS[name] and "--config" not in words:
        words += ["--config", str(folder / "server.yaml")]
    done = CliRunner().invoke(__main__._app(words[0]), words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert not done.exit_code or done.stderr or name == "doctor", done.output
    return done.exit_code


def test_the_statuses_of_all_commands_are_known_here() -> None:
    assert set(STATUSES) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_wrong_in_the_command_line_ends_each_command_with_2(name: str, folder: Path) -> None:
    assert _status(folder, name, "--no-such-option") == 2
    assert _status(folder, name, STATUSES[name][0]) == 2


@pytest.mark.parametrize("name", [name for name, (_, no) in STATUSES.items() if no])
def test_no_for_an_answer_and_work_that_fails_end_each_command_with_1(name: str, folder: Path) -> None:
    assert _status(folder, name, STATUSES[name][1] or "") == 1


NEEDED = {  # to come as far as the configuration
    "credential new": "est/default",
    "doctor": "",
    "eab new": "acme/default",
    "policy diff": "FOLDER/policies",
    "policy test": "",
    "renewals push": "--all",
    "renewals withdraw": "--all",
    "db backup": "FOLDER/copy",
    "db restore": "FOLDER/certwright.db",
}
CONFIGURED = sorted(name for name, options in COMMANDS.items() if "--config" in options)
ON_TABLES = [name for name in CONFIGURED if name.partition(" ")[0] not in {"policy", "db", "doctor", "serve"}]


@pytest.mark.parametrize("name", CONFIGURED)
@pytest.mark.parametrize("damage", ["missing", "misspelt"])
def test_an_unusable_configuration_ends_each_command_with_2(name: str, folder: Path, damage: str) -> None:
    path = folder / "server.yaml"
    if damage == "missing":
        path.unlink()
    else:
        path.write_text(path.read_text().replace("listeners:", "listners:"))
    expected = 1 if name == "doctor" else 2  # whose answer it is
    assert _status(folder, name, NEEDED.get(name, STATUSES[name][1] or "")) == expected


@pytest.mark.parametrize("name", [*ON_TABLES, "policy audit", "policy diff", "db check", "db upgrade"])
def test_the_tables_of_a_newer_version_end_each_command_with_2(name: str, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "certwright.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert _status(folder, name, NEEDED.get(name, STATUSES[name][1] or "")) == 2


def test_main_runs_the_command_of_the_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["certwright", "hash", "--secret", "right"])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code in {0, None}
    assert PasswordHasher().verify(capsys.readouterr().out.strip(), "right")
