"""Agreement to terms of service, on the command line."""

from __future__ import annotations

from contextlib import closing
from sqlite3 import connect
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from server.acme.messages import Account, AccountStatus
from server.acme.records.accounts import insert_account
from server.commands import order
from server.store import upgrade
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

TERMS = "https://ca.test/terms/2"


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = folder / "server.yaml"
    said = f"    profiles: [tls-server]\n    terms_of_service: {TERMS}\n"
    file.write_text(file.read_text().replace("    profiles: [tls-server]\n", said))
    monkeypatch.chdir(folder)
    url = f"sqlite:///{folder / 'certwright.db'}"
    upgrade(url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for name, endpoint in (("acc", "acme/default"), ("other", "acme/gone")):
            account = Account(name, AccountStatus.VALID, (), terms_agreed=False, thumbprint=name, jwk="{}")
            insert_account(connection, endpoint, account, NOW)
    engine.dispose()
    return folder


def agree(account: str, code: int = 0) -> Result:
    done = CliRunner().invoke(order.app, ("agree", account, "--by", "eve"))
    assert done.exit_code == code, done.output
    return done


def test_an_agreement_is_recorded(place: Path) -> None:
    assert TERMS in agree("https://ca.test/acme/account/acc").stdout
    with closing(connect(place / "certwright.db")) as connection:
        rows = connection.execute("SELECT terms, terms_agreed FROM acme_accounts WHERE id = 'acc'").fetchall()
        events = connection.execute("SELECT action, actor, detail FROM audit_events").fetchall()
    assert rows == [(TERMS, 1)]
    assert events == [("terms-agreed", "admin:eve", f"account acc: {TERMS}")]


@pytest.mark.usefixtures("place")
def test_what_can_not_be_agreed_to_is_said() -> None:
    assert "there is no account x" in agree("x", code=1).stderr
    assert "acme/gone has no terms of service" in agree("other", code=2).stderr
