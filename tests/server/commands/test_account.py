"""ACME accounts on the command line."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from sqlite3 import connect
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from server.acme.messages import Account, AccountStatus, Identifier, Order, OrderStatus, Owner
from server.acme.records.accounts import insert_account
from server.acme.records.orders import Placement, place
from server.clock import system_clock
from server.commands import account
from server.store import upgrade

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

KEY = '{"crv":"P-256","kty":"EC","x":"","y":""}'


@pytest.fixture
def place_(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment whose record has two accounts, one with an order."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "250")
    upgrade(f"sqlite+aiosqlite:///{folder / 'certwright.db'}")
    engine, now = sa.create_engine(f"sqlite:///{folder / 'certwright.db'}", poolclass=sa.pool.NullPool), system_clock()
    one = Account("acc", AccountStatus.VALID, ("mailto:ops@a.test",), terms_agreed=True, thumbprint="t", jwk=KEY)
    other = Account("old", AccountStatus.DEACTIVATED, (), terms_agreed=True, thumbprint="u", jwk='{"kty":"RSA"}')
    order = Order("ord", "acc", OrderStatus.PENDING, now + timedelta(days=1), (Identifier("dns", "a.test"),), ())
    with engine.begin() as connection:
        insert_account(connection, "acme/default", one, now, "192.0.2.1")
        insert_account(connection, "acme/second", other, now - timedelta(days=9))
        place(connection, [Placement(Owner("acc", "t"), order, (), "acme/default", now)])
    return folder


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(account.app, words)
    assert done.exit_code == code, done.output
    return done


@pytest.mark.usefixtures("place_")
def test_accounts_are_listed_the_newest_first() -> None:
    rows = json.loads(run("list", "--json").stdout)
    assert [(each["id"], each["status"], each["endpoint"], each["orders"]) for each in rows] == [
        ("acc", "valid", "acme/default", 1),
        ("old", "deactivated", "acme/second", 0),
    ]
    assert [each["last_order_at"] is None for each in rows] == [False, True]
    assert "mailto:ops@a.test" in run("list").stdout


@pytest.mark.usefixtures("place_")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--status", "deactivated"), ["old"]),
        (("--endpoint", "acme/default"), ["acc"]),
        (("--text", "OPS@"), ["acc"]),
        (("--text", "192.0.2"), ["acc"]),
        (("--text", "%"), []),
        (("--limit", "1"), ["acc"]),
    ],
)
def test_accounts_are_searched(words: tuple[str, ...], found: list[str]) -> None:
    assert [each["id"] for each in json.loads(run("list", "--json", *words).stdout)] == found


@pytest.mark.usefixtures("place_")
def test_one_account_is_shown_with_its_key_and_address() -> None:
    fields = json.loads(run("show", "https://ca.test/acme/account/acc", "--json").stdout)
    assert (fields["key"], fields["thumbprint"], fields["address"]) == ("EC P-256", "t", "192.0.2.1")
    assert "mailto:ops@a.test" in run("show", "acc").stdout
    assert "there is no account nobody" in run("show", "nobody", code=1).output


def test_a_revoked_account_is_ended_with_its_orders_and_who_did_it_is_on_record(place_: Path) -> None:
    run("revoke", "https://ca.test/acme/account/acc", "--by", "eve")
    with closing(connect(place_ / "certwright.db")) as connection:
        states = connection.execute("SELECT id, status FROM acme_accounts ORDER BY id").fetchall()
        orders = connection.execute("SELECT status FROM acme_orders").fetchall()
        events = connection.execute("SELECT action, actor, detail FROM audit_events").fetchall()
    assert states == [("acc", "revoked"), ("old", "deactivated")]
    assert orders == [("invalid",)]
    assert events == [("account-ended", "admin:eve", "account acc: revoked")]


@pytest.mark.usefixtures("place_")
def test_what_has_ended_or_is_not_there_can_not_be_revoked() -> None:
    assert "account old is deactivated already" in run("revoke", "old", code=1).output
    assert "there is no account nobody" in run("revoke", "nobody", code=1).output
