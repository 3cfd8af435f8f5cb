"""What the doctor finds, and the way out that it shows."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ca.ceremony import make_root, make_tls_certificate
from ca.names import DistinguishedName, dns_name
from server.__main__ import _app
from server.app.material import load_material
from server.clock import system_clock
from server.commands.checks import (
    Diagnosis,
    Level,
    check_addresses,
    check_certificates,
    check_database,
    check_files,
)
from server.commands.doctor import examine
from server.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from server.clock import Clock


def _found(folder: Path, level: Level, clock: Clock = system_clock) -> list[Diagnosis]:
    return [each for each in examine(folder / "server.yaml", clock) if each.level is level]


def test_a_new_deployment_has_no_errors(folder: Path) -> None:
    assert _found(folder, Level.ERROR) == []
    assert "root.key" in _found(folder, Level.WARNING)[0].message


def test_every_warning_and_error_has_a_way_out(folder: Path) -> None:
    (folder / "secrets").chmod(0o755)
    for path in (folder / "secrets").iterdir():
        path.chmod(0o644)
    for diagnosis in _found(folder, Level.WARNING) + _found(folder, Level.ERROR):
        assert diagnosis.way_out


def test_secret_files_that_others_can_read_are_told(folder: Path) -> None:
    (folder / "ca").chmod(0o755)
    (folder / "ca" / "issuing.key").chmod(0o640)
    (diagnosis,) = _found(folder, Level.ERROR)
    assert "issuing.key can be read by other users" in diagnosis.message
    assert diagnosis.way_out.startswith("chmod 600 ")


def test_a_broken_configuration_is_told_with_file_and_line(folder: Path) -> None:
    path = folder / "server.yaml"
    path.write_text(path.read_text().replace("policies: policies", "polices: policies"))
    (first, *_) = _found(folder, Level.ERROR)
    assert "policies" in first.message
    assert f"{path}:" in first.way_out


def test_what_the_configuration_names_and_is_missing_is_told_and_the_rest_is_looked_at(folder: Path) -> None:
    (folder / "ra" / "ra.key").unlink()
    (diagnosis,) = _found(folder, Level.ERROR)
    assert "ra.key can't be read" in diagnosis.message
    assert any(each.subject == "database" for each in _found(folder, Level.OK))


@pytest.mark.parametrize(
    ("days", "level", "subjects"),
    [
        (380, Level.WARNING, {"TLS"}),
        (400, Level.ERROR, {"TLS"}),
        (1700, Level.WARNING, {"issuer issuing"}),
        (4000, Level.ERROR, {"TLS", "issuer issuing", "RA of scep/default"}),
        (-2, Level.ERROR, {"TLS", "issuer issuing", "RA of scep/default"}),
    ],
)
def test_certificates_that_end_soon_are_warned_of_and_those_that_do_not_hold_are_errors(
    folder: Path, days: int, level: Level, subjects: set[str]
) -> None:
    found = _found(folder, level, lambda: system_clock() + timedelta(days=days))
    assert {each.subject for each in found} - {"files", "user", "listeners", "policy"} >= subjects


def test_alternate_chains_are_looked_at_as_the_server_would(folder: Path) -> None:
    config, later = folder / "server.yaml", lambda: system_clock() + timedelta(days=5000)
    text = config.read_text().rstrip()

    def found(file: str, clock: Clock = system_clock) -> list[str]:
        config.write_text(f"{text}\n    alternate_chains: [{file}]\n")
        diagnoses = _found(folder, Level.ERROR, clock)
        return [each.message for each in diagnoses if each.subject == "alternate chains of acme/default"]

    (missing,), (strange,), late = found("nowhere.pem"), found("root.pem"), found("chain.pem", later)
    assert "nowhere.pem" in missing
    assert "same name, same key" in strange
    assert ["expired" in each for each in late] == [True, True]
    assert found("chain.pem") == []


def test_names_that_the_tls_certificate_lacks_are_told(folder: Path) -> None:
    path = folder / "server.yaml"
    path.write_text(path.read_text().replace("https://localhost:", "https://ca.example.com:"))
    (diagnosis,) = _found(folder, Level.ERROR)
    assert "not for ca.example.com" in diagnosis.message


def test_a_wildcard_covers_one_label_and_a_certificate_without_names_covers_nothing(folder: Path) -> None:
    path = folder / "server.yaml"
    path.write_text(path.read_text().replace("https://localhost:", "https://ca.example.com:"))
    config = load_config(path)
    material = load_material(config)
    ca = make_root(DistinguishedName.from_text("CN=other"), now=system_clock())
    wildcard = make_tls_certificate(ca, DistinguishedName(), [dns_name("*.example.com")], now=system_clock())
    found = _errors(check_certificates(config, replace(material, tls_chain=(wildcard.certificate,)), system_clock()))
    assert found == ["the certificate is not for 127.0.0.1, which external_urls names"]
    found = _errors(check_certificates(config, replace(material, tls_chain=(ca.certificate,)), system_clock()))
    assert found == ["the certificate has no subjectAltName"]


def _errors(diagnoses: Iterable[Diagnosis]) -> list[str]:
    return [each.message for each in diagnoses if each.level is Level.ERROR]


def test_the_database_is_looked_at(folder: Path) -> None:
    config = load_config(folder / "server.yaml")
    database = folder / "certwright.db"
    assert [each.level for each in check_database(config)] == [Level.OK]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
    (outdated,) = check_database(config)
    assert (outdated.level, outdated.way_out) == (Level.ERROR, "run certwright db upgrade")
    database.unlink()
    (absent,) = check_database(config)
    assert "the first start makes it" in absent.message
    database.write_bytes(b"not a database" * 100)
    (damaged,) = check_database(config)
    assert (damaged.level, damaged.way_out) == (Level.ERROR, "restore it from a copy")


def test_the_command_prints_a_line_for_each_and_its_status_says_whether_something_must_be_done(folder: Path) -> None:
    runner, arguments = CliRunner(), ["doctor", "--config", str(folder / "server.yaml")]
    good = runner.invoke(_app("doctor"), arguments)
    assert good.exit_code == 0, good.output
    assert "✓ configuration" in good.output
    (folder / "tls" / "server.key").unlink()
    bad = runner.invoke(_app("doctor"), arguments)
    assert bad.exit_code == 1
    assert "1 error, " in bad.output


def test_without_an_argument_the_configuration_is_looked_for_in_the_usual_places(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "certs-dev").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(_app("doctor"), ["doctor"])
    assert "certs-dev/server.yaml is well-formed" in found.stdout


@pytest.mark.parametrize(
    ("path", "message", "way_out"),
    [
        ("nowhere/x.db", "the folder {folder}/nowhere is not there", "make it, or correct the path"),
        ("secrets", "this is a folder", "name a file"),
    ],
)
def test_a_database_that_can_not_be_opened_is_told_with_its_cause(
    folder: Path, path: str, message: str, way_out: str
) -> None:
    yaml = folder / "server.yaml"
    yaml.write_text(yaml.read_text().replace("database: certwright.db", f"database: {path}"))
    (found,) = check_database(load_config(yaml))
    assert (found.level, found.way_out) == (Level.ERROR, way_out)
    assert message.format(folder=folder) in found.message


def test_the_key_of_any_root_beside_the_issuers_is_told(folder: Path) -> None:
    for suffix in (".key", ".pem"):
        source = folder / "ca" / "root.key" if suffix == ".key" else folder / "root.pem"
        shutil.copy(source, folder / "ca" / f"plant-root{suffix}")
    messages = [each.message for each in check_files(load_config(folder / "server.yaml"))]
    assert any(message.startswith(f"{folder}/ca/plant-root.key is on the server") for message in messages)
    assert not any("issuing.key is on the server" in message for message in messages)


def test_a_folder_where_renewals_can_not_be_written_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(folder / "server.yaml")
    (folder / "tls" / "renewed").mkdir(exist_ok=True)
    assert not [each for each in check_files(config) if "renewed" in each.message]
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and (path.name, mode) != ("renewed", 3))
    (found,) = [each for each in check_files(config) if "renewed" in each.message]
    assert (found.level, found.way_out) == (Level.ERROR, "give the folder to the server's user")


def test_a_server_for_others_whose_certificates_point_to_loopback_is_warned_of(folder: Path) -> None:
    yaml = folder / "server.yaml"
    assert list(check_addresses(load_config(yaml))) == []
    text = yaml.read_text()
    http_ = text.index("  http: ")
    yaml.write_text(text[:http_] + text[http_:].replace("address: 127.0.0.1", "address: 192.0.2.7", 1))
    (found,) = check_addresses(load_config(yaml))
    assert (found.level, found.subject) == (Level.WARNING, "issuer issuing")
    assert found.way_out.endswith(str(load_config(yaml).locate("issuers", "issuing", "status")))
    yaml.write_text(yaml.read_text().replace("url: http://127.0.0.1", "url: http://ca.example.com"))
    assert list(check_addresses(load_config(yaml))) == []
