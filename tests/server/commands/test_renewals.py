"""Moving renewal windows on the command line."""

from __future__ import annotations

import json
from contextlib import closing
from sqlite3 import connect
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from server.commands import renewals
from server.store import upgrade

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

_CERTIFICATE = (
    "INSERT INTO certificates (serial, issuer, der, fingerprint, endpoint, profile, requester, subject, names, "
    "not_before, not_after, issued_at, request_id) VALUES (?, ?, '', ?, ?, 'tls-server', '', '', ?, "
    "'2020-01-01 00:00:00.000000+00:00', ?, '2020-01-01 00:00:00.000000+00:00', ?)"
)


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "250")
    file = folder / "certwright.db"
    upgrade(f"sqlite+aiosqlite:///{file}")
    later, past = "2999-01-01 00:00:00.000000+00:00", "2020-02-01 00:00:00.000000+00:00"
    with closing(connect(file)) as connection:
        for serial, issuer, endpoint, name, end in (
            ("a1", "issuing", "acme/default", "dns:www.test", later),
            ("a2", "other", "acme/plant", "dns:mail.test", later),
            ("a3", "issuing", "acme/default", "dns:old.test", past),
            ("a4", "issuing", "est/default", "dns:pump.test", later),
        ):
            connection.execute(_CERTIFICATE, (serial, issuer, serial, endpoint, name, end, serial))
        connection.commit()
    return folder


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(renewals.app, arguments)
    assert done.exit_code == code, done.output
    return done


def moved() -> dict[str, dict[str, Any]]:
    return {each["serial"]: each for each in json.loads(run("list", "--json").stdout)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--all"], {"a1", "a2"}),
        (["--serial", "A1"], {"a1"}),
        (["--serial", "a3"], set()),
        (["--endpoint", "acme/plant"], {"a2"}),
        (["--profile", "tls-server"], {"a1", "a2"}),
        (["--issuer", "other"], {"a2"}),
        (["--older-than", "7d", "--name", "WWW"], {"a1"}),
    ],
)
@pytest.mark.usefixtures("place")
def test_windows_of_the_chosen_good_certificates_of_acme_are_moved(options: list[str], expected: set[str]) -> None:
    told = run("push", *options, "--by", "eve").stdout
    assert f"{len(expected)} renewal windows moved" in told
    assert told.endswith(" UTC\n")
    assert told.count("UTC") == 1
    assert moved().keys() == expected


def test_a_window_is_moved_withdrawn_and_audited(place: Path) -> None:
    run("push", "--all", "--in", "6h", "--within", "12h", "--why", "https://ca.test/why", "--by", "eve")
    assert (moved()["a1"]["why"], moved()["a1"]["moved by"]) == ("https://ca.test/why", "admin:eve")
    assert "https://ca.test/why" in run("list").stdout
    run("push", "--serial", "a1", "--within", "0s")
    now = moved()["a1"]
    assert now["begins"] < now["ends"] <= now["moved at"]
    run("withdraw", "--all", "--by", "eve")
    assert not moved()
    with closing(connect(place / "certwright.db")) as connection:
        events = connection.execute("SELECT action, actor, detail FROM audit_events ORDER BY number").fetchall()
    assert [event[0] for event in events] == ["renewals-moved"] * 3
    assert events[0][1] == "admin:eve"
    assert events[2][2] == "2 certificates to what is calculated"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "say which"),
        (["--all", "--profile", "x"], "say which"),
        (["--all", "--within", "soon"], "a duration is"),
        (["--all", "--why", "javascript:alert(1)"], "URL"),
        (["--serial", "xyz"], "not a serial number"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_makes_no_sense_moves_nothing(options: list[str], said: str) -> None:
    assert said in run("push", *options, code=2).stderr
    assert not moved()
