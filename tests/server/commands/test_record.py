from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import typer
from cryptography import x509
from typer.testing import CliRunner

from server.commands import cert, db, request
from server.commands.record import person, print_fields, print_listed, print_table, text_of
from server.enrollment import RefusedAttempt
from server.outcome import Problem, Reason
from server.store import Store, head_revision, upgrade
from tests.fakes.door import HERE, Door, ask
from tests.fakes.record import asked, issued

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

app = typer.Typer()
for name, commands in (("cert", cert.app), ("request", request.app), ("db", db.app)):
    app.add_typer(commands, name=name)

CONFIG = """
version: 1
listeners:
  http: {address: 127.0.0.1, port: 8080}
issuers:
  issuing: {type: local, certificate: ca.pem, key: ca.key, passphrase_file: ca.passphrase, chain: chain.pem}
policies: policies
endpoints:
  scep/default:
    profiles: [network-device]
    ra: {certificate: ra.pem, key: ra.key, passphrase_file: ra.passphrase}
    challenge: {static: challenge}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "250")
    (tmp_path / "server.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    upgrade(url_of(tmp_path / "server.yaml"))
    return tmp_path / "server.yaml"


def url_of(config: Path) -> str:
    return f"sqlite+aiosqlite:///{config.parent / 'certwright.db'}"


@pytest.fixture
def filled(config: Path) -> dict[str, str]:
    """One request of each fate; returns their identifiers."""

    async def fill() -> dict[str, str]:
        store = await Store.open(url_of(config))
        door = Door(store)
        done = issued(await door.submit(ask("pump")))
        outcomes = {"denied": await door.submit(ask("denied")), "pending": await door.submit(ask("deferred"))}
        attempt = RefusedAttempt(HERE, Problem(Reason.MALFORMED, "no CSR", detail="\x1b[31mred"), "password:\x1b]0;x")
        outcomes["garbage"] = await door.refuse(attempt)
        (kept,) = [one for one in await asked(store) if one.serial]
        await store.close()
        found = {name: getattr(outcome, "request_id", "") for name, outcome in outcomes.items()}
        return found | {"issued": done.request_id, "serial": f"{kept.serial:x}"}

    return asyncio.run(fill())


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done


def as_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


AT = datetime(2026, 11, 22, 20, 2, 41, tzinfo=UTC)
ROWS = [("6fa8402bde4599307d8ace9bda6e296ffcf39023", "CN=" + "a" * 60, ""), ("78d0", "CN=b", "2027-02-20")]


def test_a_table_for_programs_has_a_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("serial", "subject", "not after"), ROWS)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["serial", *(row[0] for row in ROWS)]


@pytest.mark.parametrize("width", ["70", "130"])
def test_what_comes_first_is_whole_on_every_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(("serial", "subject", "not after"), ROWS)
    shown = capsys.readouterr().out
    assert all(row[0] in shown for row in ROWS)
    assert shown.count("subject") == (2 if width == "70" else 1)  # each row under the other where it is narrow


WIDE = (("id", "received at", "state", "made by", "why not"), [("1" * 22, AT, "refused", "admin:root", "x " * 40)])


@pytest.mark.parametrize("width", ["60", "80", "90", "120"])
def test_no_date_and_no_heading_is_broken_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(*WIDE)
    shown = capsys.readouterr().out
    assert "2026-11-22 20:02:41 UTC" in shown
    assert "received at" in shown
    assert shown.count("x") == 40
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_an_empty_list_is_said_on_a_terminal_and_programs_get_the_headings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_table(("id", "received at"), [])
    assert capsys.readouterr().out.split() == ["id", "received", "at"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(("id", "received at"), [])
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "there is nothing to list\n")


def test_what_is_listed_has_all_its_fields_as_json_and_those_that_are_named_in_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [{"id": "a", "last_seen": None, "names": ["x", "y"]}]
    print_listed(("id", "names", "last_seen"), found, as_json=False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["id", "names", "last", "seen"],
        ["a", "x", "y"],
    ]
    print_listed(("id",), found, as_json=True)
    assert json.loads(capsys.readouterr().out) == found


def test_certificates_are_listed(filled: dict[str, str]) -> None:
    line = run("cert", "list").stdout.splitlines()[1]
    assert filled["serial"] in line
    assert "CN=pump" in line
    (only,) = as_json("cert", "list", "--good", "--endpoint", "est/default", "--profile", "scripted")
    assert (only["serial"], only["requester"], only["names"]) == (filled["serial"], "password:pump", [])
    assert as_json("cert", "list", "--revoked") == as_json("cert", "list", "--text", "nobody") == []


@pytest.mark.parametrize(("within", "found"), [("100000", 1), ("100y", 1), ("1m", 0), ("0", 0)])
def test_certificates_that_end_soon_are_listed_for_a_duration_or_days(
    filled: dict[str, str], within: str, found: int
) -> None:
    assert [one["serial"] for one in as_json("cert", "list", "--expires-within", within)] == [filled["serial"]] * found


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("within", ["soon", "-7", "7 days", "999999y", "\N{SUPERSCRIPT TWO}"])
def test_what_is_no_duration_is_turned_away(within: str) -> None:
    assert "Traceback" not in run("cert", "list", f"--expires-within={within}", code=2).output


def test_a_certificate_is_shown_with_its_pem(filled: dict[str, str]) -> None:
    serial = filled["serial"]
    shown = run("cert", "show", serial.upper()).stdout
    assert "password:pump" in shown
    start = shown.index("-----BEGIN")
    assert f"{x509.load_pem_x509_certificate(shown[start:].encode()).serial_number:x}" == serial
    assert as_json("cert", "show", serial)["pem"] == shown[start:]


@pytest.mark.parametrize(
    ("serial", "message", "code"), [("12", "no certificate has", 1), ("xyz", "not a serial number", 2)]
)
def test_a_certificate_that_nobody_knows_is_said(config: Path, serial: str, message: str, code: int) -> None:
    assert message in run("cert", "show", serial, "--config", str(config), code=code).stderr
    assert message in run("cert", "revoke", serial, code=code).stderr


def test_a_certificate_is_revoked_once(filled: dict[str, str]) -> None:
    serial = filled["serial"]
    coloned = ":".join(serial.zfill(40)[place : place + 2] for place in range(0, 40, 2))
    assert "keyCompromise" in run("cert", "revoke", coloned, "--reason", "keyCompromise", "--by", "eve").stdout
    assert "was revoked before" in run("cert", "revoke", serial, code=1).stderr
    (only,) = as_json("cert", "list", "--revoked")
    assert only["revocation_reason"] == "keyCompromise"


def test_refusals_are_found_with_who_and_why(filled: dict[str, str]) -> None:
    refused = as_json("request", "list", "--refused")
    assert [one["id"] for one in refused] == [filled["garbage"], filled["denied"]]
    assert refused[1]["findings"][0]["where"] == "script.yaml:7:3"
    assert refused[1]["subject"] == "CN=denied"
    table = run("request", "list", "--refused", "--endpoint", "est/default").stdout
    assert "policy: this name is not allowed" in table
    assert "192.0.2.7" in table


def test_requests_are_listed_by_state(filled: dict[str, str]) -> None:
    assert len(as_json("request", "list")) == 4
    assert [one["id"] for one in as_json("request", "list", "--pending")] == [filled["pending"]]
    assert [one["id"] for one in as_json("request", "list", "--state", "issued", "--limit", "1")] == [filled["issued"]]
    assert as_json("request", "list", "--text", "no CSR")[0]["id"] == filled["garbage"]


def test_a_request_is_shown_with_findings_and_events(filled: dict[str, str]) -> None:
    shown = run("request", "show", filled["denied"]).stdout
    assert "subject.cn  script.yaml:7:3  this name is not allowed  denied" in shown
    assert "issued  password:pump" in run("request", "show", filled["issued"]).stdout
    assert [one["action"] for one in as_json("request", "show", filled["issued"])["events"]] == ["issued"]
    assert "nothing is known" in run("request", "show", "x", code=1).stderr


def test_what_came_from_outside_can_not_steer_the_terminal(filled: dict[str, str]) -> None:
    for arguments in (("list",), ("show", filled["garbage"])):
        shown = run("request", *arguments).stdout
        assert "\x1b" not in shown
        assert "\N{REPLACEMENT CHARACTER}]0;x" in shown
    assert text_of("a\x07b\nc") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"
    assert text_of(("a", "b\nc")) == "a\nb\N{REPLACEMENT CHARACTER}c"


def test_fields_for_programs_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"sha256": "ab" * 60, "names": ("a", "b"), "empty": (), "none": None})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["sha256", "ab" * 60],
        ["names", "a"],
        ["b"],
    ]


def test_a_list_that_is_cut_says_so(filled: dict[str, str]) -> None:
    assert "the newest 1; --limit 10 shows more" in run("request", "list", "--limit", "1").stderr
    assert run("request", "list").stderr == ""


def test_a_pending_request_is_approved_and_its_requester_gets_the_certificate(
    config: Path, filled: dict[str, str]
) -> None:
    assert "is approved" in run("request", "approve", filled["pending"], "--by", "eve").stdout
    assert "waits for approval" in run("request", "approve", filled["pending"], code=1).stderr
    assert as_json("request", "show", filled["pending"])["approved_by"] == "admin:eve"

    async def ask_again() -> str:
        store = await Store.open(url_of(config))
        outcome = issued(await Door(store).submit(ask("deferred")))
        await store.close()
        return outcome.request_id

    assert asyncio.run(ask_again()) == filled["pending"]


def test_a_pending_request_is_rejected(filled: dict[str, str]) -> None:
    run("request", "reject", filled["pending"], "--why", "stolen", "--by", "eve")
    rejected = as_json("request", "show", filled["pending"])
    assert (rejected["state"], rejected["detail"]) == ("refused", "admin:eve: stolen")
    assert rejected["events"][0]["by"] == "admin:eve"
    assert "waits for approval" in run("request", "reject", filled["pending"], "--why", "x", code=1).stderr


def test_a_request_that_can_not_be_read_is_shown_all_the_same(config: Path, filled: dict[str, str]) -> None:
    with closing(sqlite3.connect(config.parent / "certwright.db")) as database:
        database.execute("UPDATE requests SET csr = x'00'")
        database.commit()
    assert "can't be read" in as_json("request", "show", filled["denied"])["subject"]


def test_the_database_is_checked_and_upgraded(config: Path) -> None:
    assert "the database is sound" in run("db", "check").stdout
    assert f"is {head_revision()} already" in run("db", "upgrade").stdout
    (config.parent / "certwright.db").unlink()
    told = run("db", "check", code=2).stderr
    assert told.startswith(f"{config.parent / 'certwright.db'}: the database has no tables yet")
    assert "run certwright db upgrade" in told
    made = run("db", "upgrade")
    assert "it was empty" in made.stdout
    assert not made.stderr
    run("db", "check")


def test_an_upgrade_says_beforehand_that_it_may_take_long(config: Path) -> None:
    with closing(sqlite3.connect(config.parent / "certwright.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0029'")
        database.execute("CREATE TABLE _alembic_tmp_certificates (serial TEXT)")  # it fails, so that nothing follows
        database.commit()
    assert run("db", "upgrade", code=1).stderr.startswith(f"from schema 0029 to {head_revision()}; a million")


def test_a_database_of_a_newer_version_is_not_upgraded(config: Path) -> None:
    with closing(sqlite3.connect(config.parent / "certwright.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    assert "certwright.db: the database has schema 9999, this version needs" in run("db", "upgrade", code=2).stderr
    assert "has schema 9999" in run("db", "check", code=2).stderr


def test_a_database_with_loose_ends_is_not_sound(config: Path, filled: dict[str, str]) -> None:
    with closing(sqlite3.connect(config.parent / "certwright.db")) as database:
        database.execute("DELETE FROM requests WHERE id = ?", [filled["issued"]])
        database.commit()
    assert "refers to a requests that is not there" in run("db", "check", code=1).stderr


def test_a_file_that_is_no_database_is_said(config: Path) -> None:
    (config.parent / "certwright.db").write_text("Dear Sir or Madam, " * 100)
    assert "not a database" in run("db", "upgrade", code=1).stderr
    assert "not a database" in run("cert", "list", code=1).stderr


def test_without_a_configuration_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "server.yaml:1:1: can't be read" in run("cert", "list", code=2).stderr


def test_a_database_that_is_locked_is_named_with_the_way_out(config: Path, filled: dict[str, str]) -> None:
    with closing(sqlite3.connect(config.parent / "certwright.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        said = run("cert", "revoke", filled["serial"], code=1).stderr
    path = config.parent / "certwright.db"
    assert said == f"{path}: database is locked: another process writes to it; try again\n"


def test_who_has_a_number_only_is_named_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert person(None) == "admin:4000000000"
    assert person("eve") == "admin:eve"


def test_what_is_no_text_is_said(config: Path) -> None:
    said = run("request", "show", "\udcff", "--config", str(config), code=2).stderr  # an octet that is not UTF-8
    assert said == "an argument is not UTF-8 text\n"


def test_an_endpoint_that_is_none_is_said(config: Path) -> None:
    assert (
        "is written protocol/label" in run("cert", "list", "--config", str(config), "--endpoint", "est", code=2).stderr
    )
