"""The doctor looks whether the endpoints whose certificates are taken elsewhere are, or were."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from sqlite3 import connect
from typing import TYPE_CHECKING

import pytest

from server.commands.accepted import check_accepted
from server.commands.checks import Diagnosis, Level
from server.config import load_config
from server.store import upgrade

if TYPE_CHECKING:
    from pathlib import Path

ISSUED = (
    "INSERT INTO certificates (serial, issuer, der, fingerprint, endpoint, profile, requester, subject, names, "
    "not_before, not_after, issued_at, request_id) VALUES "
    "('1', 'CN=ca', x'00', x'01', ?, 'p', 'password:a', 'CN=a', '[]', '2020-01-01', '2030-01-01', '2020-01-01', 'r')"
)


def found(folder: Path, *others: str) -> list[Diagnosis]:
    file = folder / "server.yaml"
    listed = f"certificates_from: [{', '.join(others)}]"
    text = re.sub(r"( +)(authenticate:\n)", rf"\1\2\1  {listed}\n", (folder / "before.yaml").read_text())
    file.write_text(re.sub(r"(  scep/default:\n)", rf"\1    {listed}\n", text))
    return list(check_accepted(load_config(file)))


@pytest.fixture
def place(folder: Path) -> Path:
    shutil.copy(folder / "server.yaml", folder / "before.yaml")
    return folder


def test_what_is_configured_and_an_empty_list_are_nothing_to_tell(place: Path) -> None:
    assert found(place) == found(place, "est/default", "scep/default") == []


@pytest.mark.parametrize("is_there", [False, True], ids=["no database", "an empty one"])
def test_what_neither_is_nor_was_is_told_with_what_may_have_been_meant(place: Path, *, is_there: bool) -> None:
    if is_there:
        upgrade(load_config(place / "server.yaml").database_url)
    est, scep = found(place, "acme/defualt")
    assert (est.level, est.subject, scep.subject) == (Level.WARNING, "est/default", "scep/default")
    assert est.message.endswith('which is not configured and has issued nothing; did you mean "acme/default"?')
    assert re.search(r"server\.yaml:\d+:\d+", scep.way_out)


def test_what_was_is_no_slip(place: Path) -> None:
    url = load_config(place / "server.yaml").database_url
    upgrade(url)
    with closing(connect(place / "certwright.db")) as connection, connection:
        connection.execute(ISSUED, ("scep/old",))
    assert {(one.level, "it issued 1 certificates" in one.message) for one in found(place, "scep/old")} == {
        (Level.OK, True)
    }


def test_a_record_that_can_not_be_read_is_for_another_check(place: Path) -> None:
    (place / "certwright.db").write_bytes(b"no database" * 1000)
    assert {one.level for one in found(place, "scep/old")} == {Level.WARNING}
