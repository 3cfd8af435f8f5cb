"""Secrets made on the command line: printed once, kept as hashes."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from sqlite3 import connect
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from server.commands import credential
from server.credentials import Sealer

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = folder / "server.yaml"
    text = file.read_text().replace("    authenticate:\n", "    authenticate:\n      one_time_passwords: true\n")
    file.write_text(text.replace("    challenge:\n", "    challenge:\n      one_time: true\n"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "250")
    return folder


def run(*arguments: str, code: int = 0, typed: str | None = None) -> Result:
    done = CliRunner().invoke(credential.app, arguments, input=typed)
    assert done.exit_code == code, done.output
    return done


def made(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("new", *arguments, "--json").stdout)
    return found


def rows(place: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(connect(place / "certwright.db")) as connection:
        return connection.execute(query).fetchall()


def test_a_password_is_printed_once_and_kept_as_a_hash(place: Path) -> None:
    one = made("est/default", "--device", "pump-17", "--uses", "2", "--expires", "12h", "--by", "eve")

    assert (one["user"], one["device"], one["uses_left"], one["made_by"]) == ("pump-17", "pump-17", 2, "admin:eve")
    assert rows(place, "SELECT digest FROM credentials") == [(hashlib.sha256(one["secret"].encode()).digest(),)]
    assert rows(place, "SELECT action, actor FROM audit_events") == [("credential-made", "admin:eve")]
    assert one["secret"] not in run("list").stdout + run("list", "--json").stdout
    assert one["secret"].encode() not in (place / "certwright.db").read_bytes()


@pytest.mark.parametrize("more", [(), ("--cmc", "--user", "pump")], ids=["password", "shared secret"])
def test_an_alias_stands_for_the_service_that_it_is_one_of(place: Path, more: tuple[str, ...]) -> None:
    file = place / "server.yaml"
    (place / "sealing.key").write_text("11" * 32)
    (place / "sealing.key").chmod(0o600)
    settings = "  est/default:\n    aliases: [est/renew]\n    fullcmc: {sealing_key: {file: sealing.key}}\n"
    file.write_text(file.read_text().replace("  est/default:\n", settings))

    assert made("est/renew", *more)["endpoint"] == "est/default"
    (listed,) = json.loads(run("list", "--endpoint", "est/renew", "--json").stdout)
    assert listed["endpoint"] == "est/default"
    assert "there are est/default" in run("new", "est/renwe", *more, code=2).stderr


def test_the_list_says_what_each_is_good_for_and_a_withdrawn_one_is_told_from_the_others(place: Path) -> None:
    one, other = made("est/default", "--user", "a"), made("scep/default", "--device", "b")
    assert run("revoke", one["id"]).stdout == f"{one['id']} is withdrawn\n"

    states = {each["id"]: each["state"] for each in json.loads(run("list", "--json").stdout)}
    assert states == {one["id"]: "withdrawn", other["id"]: "good"}
    assert [each["kind"] for each in json.loads(run("list", "--endpoint", "scep/default", "--json").stdout)] == [
        "scep-challenge"
    ]
    assert "withdrawn" in run("list").stdout
    assert "no credential" in run("revoke", one["id"], code=1).stderr


def test_a_device_without_a_user_name_gets_a_password_that_goes_with_any(place: Path) -> None:
    """RFC 7030 section 3.2.3: who has no user name sends an empty one."""
    one = made("est/default", "--device", "pump-17", "--user", "")
    assert (one["user"], one["device"]) == (None, "pump-17")
    assert made("est/default", "--device", "00:11:22", "--user", "pump")["device"] == "00:11:22"


def test_a_chosen_password_is_kept_as_argon2_and_not_printed(place: Path) -> None:
    shown = run("new", "est/default", "--user", "pump", "--choose", typed="letmein\nletmein\n").stdout
    assert "letmein" not in shown
    ((kept, digest),) = rows(place, "SELECT argon2, digest FROM credentials")
    assert kept.startswith("$argon2id$")
    assert digest is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("est/nowhere",), "there is no endpoint est/nowhere; there are est/default"),
        (("acme/default",), "takes no one-time passwords"),
        (("est/default", "--profile", "tls-server"), "has no profile tls-server; it has iot-device"),
        (("est/default", "--expires", "soon"), "a duration is"),
        (("est/default", "--choose"), "give --user or --device"),
        (("est/default", "--device", "00:11:22:33:44:55"), "no user names with a colon"),
        (("est/default", "--choose", "--device", "pump", "--user", ""), "only a password with a user name"),
        (("scep/default", "--choose", "--user", "x"), "only a password with a user name"),
    ],
)
def test_what_can_not_be_made_is_told_with_the_way_out(place: Path, arguments: tuple[str, ...], says: str) -> None:
    assert says in run("new", *arguments, code=2).stderr
    assert rows(place, "SELECT * FROM credentials") == []


@pytest.mark.parametrize(
    ("endpoint", "section", "way_out"),
    [
        ("est/default", "    authenticate:", "set one_time_passwords: true in its authenticate section"),
        ("scep/default", "    challenge:", "set one_time: true in its challenge section"),
    ],
)
def test_an_endpoint_must_take_what_is_made_and_is_told_with_its_place(
    folder: Path, endpoint: str, section: str, way_out: str
) -> None:
    file = folder / "server.yaml"
    line = file.read_text().splitlines().index(section) + 1
    found = run("new", endpoint, "--config", str(file), code=2).stderr
    assert found.startswith(f"{file}:{line}:5: {endpoint} takes no one-time ")
    assert way_out in found


def test_a_shared_secret_is_kept_encrypted_under_a_key_that_the_database_does_not_know(place: Path) -> None:
    (place / "secrets" / "sealing.key").write_text("11" * 32)
    file = place / "server.yaml"
    fullcmc = "  est/default:\n    fullcmc: {sealing_key: {file: secrets/sealing.key}}\n"
    file.write_text(file.read_text().replace("  est/default:\n", fullcmc, 1))

    one = made("est/default", "--cmc", "--device", "pump-17")

    assert (one["kind"], one["user"], one["device"], one["uses_left"]) == ("cmc-secret", "pump-17", "pump-17", 1)
    ((digest, argon2, sealed),) = rows(place, "SELECT digest, argon2, sealed FROM credentials")
    assert (digest, argon2) == (None, None)
    assert Sealer(b"\x11" * 32).open(sealed, one["id"]) == one["secret"].encode()
    assert one["secret"].encode() not in (place / "certwright.db").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["est/default", "--cmc", "--user", "pump"], "give it fullcmc"),
        (["est/default", "--cmc"], "--user or --device"),
        (["scep/default", "--cmc", "--user", "pump"], "there is no EST endpoint scep/default"),
        (["est/default", "--cmc", "--user", "pump", "--profile", "other"], "has no profile other"),
    ],
)
def test_a_shared_secret_that_could_not_be_used_is_not_made(place: Path, arguments: list[str], says: str) -> None:
    assert says in run("new", *arguments, code=2).stderr


def test_a_sealing_key_that_is_none_is_told(place: Path) -> None:
    file = place / "server.yaml"
    fullcmc = "  est/default:\n    fullcmc: {sealing_key: {file: secrets/none.key}}\n"
    file.write_text(file.read_text().replace("  est/default:\n", fullcmc, 1))
    assert "none.key" in run("new", "est/default", "--cmc", "--user", "pump", code=2).stderr
