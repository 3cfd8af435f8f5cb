"""ACME's tables are those that the migrations leave behind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.acme.messages import Identifier
from server.acme.records.authorizations import authorized_names, held_authorizations
from server.acme.records.orders import issued_to
from server.acme.records.renewals import predecessor_names
from server.acme.records.tables import accounts, authorizations, chains, failures, limits, orders, windows
from server.store import upgrade
from server.store.tables import metadata
from tests.fakes.database import empty_database
from tests.fakes.issuer import NOW
from tests.fakes.query_plans import query_plans

if TYPE_CHECKING:
    from pathlib import Path


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    upgrade(f"sqlite+aiosqlite:///{tmp_path / 'migrated.db'}")
    migrated = sa.create_engine(f"sqlite:///{tmp_path / 'migrated.db'}", poolclass=sa.pool.NullPool)
    made = sa.create_engine(f"sqlite:///{tmp_path / 'made.db'}", poolclass=sa.pool.NullPool)
    metadata.create_all(made)
    for table in (accounts, authorizations, chains, failures, limits, orders, windows):
        for describe in ("get_indexes", "get_unique_constraints", "get_foreign_keys", "get_pk_constraint"):
            found, wanted = (_stable(getattr(sa.inspect(each), describe)(table.name)) for each in (migrated, made))
            assert found == wanted, (table.name, describe)
        columns, expected = (
            [(c["name"], str(c["type"]), c["nullable"]) for c in sa.inspect(each).get_columns(table.name)]
            for each in (migrated, made)
        )
        assert columns == expected


def test_an_account_that_has_ordered_much_waits_no_longer(tmp_path: Path) -> None:
    url = empty_database(tmp_path / "acme.db")
    by_request = query_plans(url, lambda c: (predecessor_names(c, "account", "request"), issued_to(c, "account", "r")))
    assert by_request.count("INDEX ix_acme_orders_request_id (request_id=?)") == 2
    names = (Identifier("dns", "a.test"),)
    by_name = query_plans(
        url,
        lambda c: (
            held_authorizations(c, "account", ["a.test", "test"], NOW),
            authorized_names(c, "account", names, NOW, lambda _: True),
        ),
    )
    assert by_name.count("ix_acme_authorizations_account_id (account_id=? AND value=?)") == 2


def _stable(described: list[object] | object) -> list[str]:
    """Drop the addresses of expression objects, and the order, which SQLite does not keep."""
    every = described if isinstance(described, list) else [described]
    return sorted(re.sub(r" at 0x[0-9a-f]+", "", str(each)) for each in every)
