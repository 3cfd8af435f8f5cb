"""ACME orders on the command line."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from server.acme.messages import (
    Account,
    AccountStatus,
    Attempt,
    Authorization,
    AuthorizationStatus,
    Identifier,
    OrderStatus,
    Owner,
)
from server.acme.messages import Order as AcmeOrder
from server.acme.records.accounts import insert_account
from server.acme.records.authorizations import change_authorization
from server.acme.records.limits import note_failure
from server.acme.records.orders import Placement, place
from server.acme.records.tables import orders
from server.clock import system_clock
from server.commands import order
from server.store import upgrade

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

NAME = Identifier("dns", "www.test")


@pytest.fixture
def place_(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment whose record has one order with an attempt."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "250")
    upgrade(f"sqlite+aiosqlite:///{folder / 'certwright.db'}")
    engine, now = sa.create_engine(f"sqlite:///{folder / 'certwright.db'}", poolclass=sa.pool.NullPool), system_clock()
    later = now + timedelta(days=1)
    account = Account("acc", AccountStatus.VALID, ("mailto:a@test",), terms_agreed=True, thumbprint="t", jwk="{}")
    one = AcmeOrder("ord", "acc", OrderStatus.PENDING, later, (NAME,), ("auth",), profile="tls-server")
    part = Authorization("auth", "acc", "ord", NAME, False, AuthorizationStatus.PENDING, later, ())  # noqa: FBT003 - a row
    attempt = Attempt(
        now, "http-01", 0.25, ("www.test: 10.0.0.1", "10.0.0.1 port 80: \x1b[31mrefused"), "connection", "no"
    )
    with engine.begin() as connection:
        insert_account(connection, "acme/default", account, now)
        place(connection, [Placement(Owner("acc", "t"), one, (part,), "acme/default", now, None, "192.0.2.1")])
        tried = Authorization("auth", "acc", "ord", NAME, False, part.status, later, (), history=(attempt,))  # noqa: FBT003 - a row
        assert change_authorization(connection, tried, (AuthorizationStatus.PENDING,))
        for _ in range(3):
            note_failure(connection, "acme/default", "acc", NAME, now, most=3)
    return folder


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(order.app, arguments)
    assert done.exit_code == code, done.output
    return done


@pytest.mark.usefixtures("place_")
def test_orders_are_listed() -> None:
    assert "www.test" in run("list").stdout
    assert [each["id"] for each in json.loads(run("list", "--status", "pending", "--json").stdout)] == ["ord"]
    assert json.loads(run("list", "--text", "192.0.2.2", "--json").stdout) == []
    assert json.loads(run("list", "--endpoint", "acme/other", "--json").stdout) == []


@pytest.mark.usefixtures("place_")
@pytest.mark.parametrize("name", ["ord", "https://ca.test/acme/order/ord", "https://ca.test/acme/order/ord/finalize"])
def test_an_order_is_shown_with_its_attempts(name: str) -> None:
    shown = run("show", name).stdout
    for text in ("acc", "192.0.2.1", "mailto:a@test", "http-01 failed", "10.0.0.1 port 80", "connection: no (0.250 s)"):
        assert text in shown
    assert "\x1b" not in shown
    assert [each["what"] for each in json.loads(run("show", name, "--json").stdout)["events"]] == [
        "ordered",
        "http-01 failed",
        "authorization pending",
    ]


def test_an_order_whose_time_has_run_out_is_shown_as_expired(place_: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{place_ / 'certwright.db'}", poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        over, earlier = system_clock() - timedelta(seconds=1), {"detail": "an earlier CSR was not good"}
        connection.execute(orders.update().values(expires=over, error=earlier))
    shown = json.loads(run("show", "ord", "--json").stdout)
    assert (shown["status"], shown["error"]) == ("invalid", "the order has expired")


@pytest.mark.usefixtures("place_")
def test_an_order_that_is_not_there_is_told() -> None:
    assert "there is no order x" in run("show", "x", code=1).stderr


@pytest.mark.usefixtures("place_")
def test_a_paused_account_is_listed_and_let_again() -> None:
    (one,) = json.loads(run("failing", "--paused", "--json").stdout)
    assert (one["account"], one["name"], one["failures"]) == ("acc", "dns:www.test", 3)
    assert "dns:www.test" in run("failing").stdout
    assert "account acc for other.test is not paused" in run("unpause", "acc", "--name", "other.test", code=1).stderr
    assert "may order 1 names again" in run("unpause", "https://ca.test/acme/account/acc", "--by", "eve").stdout
    assert json.loads(run("failing", "--json").stdout) == []
    assert "account acc is not paused" in run("unpause", "acc", code=1).stderr
