"""The doctor looks whether the keys for external accounts and the shared secrets of fullcmc can be opened."""

from __future__ import annotations

from contextlib import closing
from sqlite3 import connect
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from server.commands import credential, eab
from server.commands.checks import Diagnosis, Level, check_files
from server.commands.sealing_keys import check_sealing_keys
from server.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config

SETTINGS = "    profiles: [tls-server]\n    external_accounts: {sealing_key: {file: secrets/eab.key}}\n"


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = folder / "server.yaml"
    file.write_text(file.read_text().replace("    profiles: [tls-server]\n", SETTINGS))
    (folder / "secrets" / "eab.key").write_text("ab" * 32)
    monkeypatch.chdir(folder)
    return folder


def found(place: Path) -> Diagnosis:
    (one,) = check_sealing_keys(load_config(place / "server.yaml"))
    return one


def make_key() -> str:
    done = CliRunner().invoke(eab.app, ["new", "--json"])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_without_external_accounts_there_is_nothing_to_look_at(config: Config) -> None:
    assert list(check_sealing_keys(config)) == []


def test_a_good_sealing_key_opens_what_is_kept(place: Path) -> None:
    assert (found(place).level, "the 0 keys" in found(place).message) == (Level.OK, True)
    make_key()
    assert (found(place).level, "the 1 keys" in found(place).message) == (Level.OK, True)


def test_another_sealing_key_is_told_unless_no_key_is_left_to_be_used(place: Path) -> None:
    make_key()
    (place / "secrets" / "eab.key").write_text("cd" * 32)
    one = found(place)
    assert (one.level, "1 of 1 keys" in one.message, "put the old" in one.way_out) == (Level.ERROR, True, True)
    with closing(connect(place / "certwright.db")) as connection:
        connection.execute("UPDATE credentials SET uses_left = 0")
        connection.commit()
    assert found(place).level is Level.OK


@pytest.mark.parametrize("text", [None, "ab", "no key at all"])
def test_a_sealing_key_that_is_none_is_told(place: Path, text: str | None) -> None:
    file = place / "secrets" / "eab.key"
    file.unlink() if text is None else file.write_text(text)
    assert found(place).level is Level.ERROR


def test_a_damaged_database_is_told(place: Path) -> None:
    (place / "certwright.db").write_bytes(b"x" * 4096)
    assert found(place).level is Level.ERROR


def test_others_must_not_read_it(place: Path) -> None:
    (place / "secrets").chmod(0o755)
    (place / "secrets" / "eab.key").chmod(0o644)
    told = [each for each in check_files(load_config(place / "server.yaml")) if each.level is Level.ERROR]
    assert any("eab.key can be read by other users" in each.message for each in told)


# --- shared secrets of fullcmc -----------------------------------------------------------------------------------


@pytest.fixture
def with_cmc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = folder / "server.yaml"
    fullcmc = "  est/default:\n    fullcmc: {sealing_key: {file: secrets/cmc.key}}\n"
    file.write_text(file.read_text().replace("  est/default:\n", fullcmc, 1))
    (folder / "secrets" / "cmc.key").write_text("ab" * 32)
    monkeypatch.chdir(folder)
    return folder


def test_shared_secrets_that_another_key_has_sealed_are_told(with_cmc: Path) -> None:
    done = CliRunner().invoke(credential.app, ["new", "est/default", "--cmc", "--device", "pump", "--json"])
    assert done.exit_code == 0, done.output
    assert (found(with_cmc).level, "the 1 secrets" in found(with_cmc).message) == (Level.OK, True)
    (with_cmc / "secrets" / "cmc.key").write_text("cd" * 32)
    one = found(with_cmc)
    assert (one.level, "1 of 1 secrets" in one.message, "--cmc" in one.way_out) == (Level.ERROR, True, True)


def test_a_key_for_shared_secrets_that_others_can_read_is_told(with_cmc: Path) -> None:
    (with_cmc / "secrets").chmod(0o755)
    (with_cmc / "secrets" / "cmc.key").chmod(0o644)
    told = [one for one in check_files(load_config(with_cmc / "server.yaml")) if "cmc.key" in str(one)]
    assert told
