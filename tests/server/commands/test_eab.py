"""Keys for external accounts, on the command line."""

from __future__ import annotations

import json
from contextlib import closing
from sqlite3 import connect
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from server.acme.codec.encodings import decode_base64url
from server.commands import eab
from server.credentials import Sealer

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

KEY = "ab" * 32
SETTINGS = "    profiles: [tls-server, short]\n    external_accounts: {sealing_key: {file: secrets/eab.key}}\n"


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = folder / "server.yaml"
    file.write_text(file.read_text().replace("    profiles: [tls-server]\n", SETTINGS))
    (folder / "secrets" / "eab.key").write_text(f"{KEY}\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "250")
    return folder


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(eab.app, arguments)
    assert done.exit_code == code, done.output
    return done


def made(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("new", *arguments, "--json").stdout)
    return found


def test_a_key_is_printed_once_and_kept_encrypted(place: Path) -> None:
    one = made("--uses", "2", "--expires", "12h", "--profile", "tls-server", "--name", "dns:**.test", "--by", "eve")
    key = decode_base64url(one["hmac_key"], "key")
    assert (one["uses_left"], one["names"], one["made_by"], len(key)) == (2, ["dns:**.test"], "admin:eve", 32)
    with closing(connect(place / "certwright.db")) as connection:
        ((sealed,),) = connection.execute("SELECT sealed FROM credentials").fetchall()
        events = connection.execute("SELECT action, actor FROM audit_events").fetchall()
    assert key not in sealed
    assert Sealer(bytes.fromhex(KEY)).open(sealed, one["kid"]) == key
    assert events == [("credential-made", "admin:eve")]
    assert one["hmac_key"] not in run("list").stdout + run("list", "--json").stdout


@pytest.mark.usefixtures("place")
def test_an_empty_list_has_all_headings() -> None:
    empty = run("list").stdout
    made()
    assert empty.split() == run("list").stdout.splitlines()[0].split()


@pytest.mark.usefixtures("place")
def test_a_key_is_for_several_profiles() -> None:
    one = made("--profile", "short", "--profile", "tls-server", "--profile", "short")
    assert (one["profiles"], one["names"]) == (["short", "tls-server"], [])
    assert "short tls-server" in run("list").stdout
    assert "short tls-server" in run("list").stdout
    assert "no profile nothing, never; it has tls-server, short" in " ".join(
        run("new", "--profile", "nothing", "--profile", "short", "--profile", "never", code=2).stderr.split()
    )


@pytest.mark.usefixtures("place")
def test_keys_are_listed_and_withdrawn() -> None:
    one, other = made("acme/default", "--uses", "0"), made("--expires", "never")
    assert one["uses_left"] is None
    assert "is withdrawn" in run("revoke", one["kid"]).stdout
    assert "0 accounts" in run("revoke", other["kid"], "--accounts").stdout
    states = {each["kid"]: each["state"] for each in json.loads(run("list", "--json").stdout)}
    assert states == {one["kid"]: "withdrawn", other["kid"]: "withdrawn"}
    assert "there is no key" in run("revoke", "nothing", code=1).stderr
    assert "there is no key" in run("revoke", one["kid"], code=1).stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["acme/plant"], "there is no endpoint"),
        (["est/default"], "there is no endpoint"),
        (["--profile", "x"], "has no profile"),
        (["--name", "pump.test"], "write dns:"),
        (["--expires", "soon"], "a duration is"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_makes_no_sense_is_said(options: list[str], said: str) -> None:
    assert said in run("new", *options, code=2).stderr


@pytest.mark.parametrize(("key", "said"), [("12", "64 hexadecimal digits"), (None, "can't be read")])
def test_a_key_file_that_is_none_is_said(place: Path, key: str | None, said: str) -> None:
    (place / "secrets" / "eab.key").unlink()
    if key:
        (place / "secrets" / "eab.key").write_text(key)
    assert said in run("new", code=2).stderr


@pytest.mark.usefixtures("folder")
def test_an_endpoint_without_external_accounts_takes_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert "external_accounts:" in run("new", code=2).stderr
