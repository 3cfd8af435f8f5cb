from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

import server.acme.records.tables
import server.est.records
import server.scep.exchanges
import server.status.records
import server.store.notices  # noqa: F401 - their tables are part of the metadata
from server.store import current_revision, head_revision, upgrade
from server.store.migrations.steps import scripts
from server.store.tables import metadata

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.filterwarnings("ignore:.*expression-based index")  # no reflection knows them; see the next test
def test_the_migrations_leave_what_the_program_works_with(url: str) -> None:
    engine = sa.create_engine(url.replace("+aiosqlite", ""))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
        found = {
            table: {c["name"] for c in sa.inspect(connection).get_unique_constraints(table)}
            for table in metadata.tables
        }
    engine.dispose()
    for name, table in metadata.tables.items():
        declared = {c.name for c in table.constraints if isinstance(c, sa.UniqueConstraint)}
        assert found[name] >= declared, name


def test_certificates_are_found_by_their_subjects_by_an_index(url: str) -> None:
    engine = sa.create_engine(url.replace("+aiosqlite", ""))
    with engine.connect() as connection:
        query = "EXPLAIN QUERY PLAN SELECT serial FROM certificates WHERE lower(subject) = lower('CN=Pump')"
        assert "USING INDEX ix_certificates_subject" in str(connection.exec_driver_sql(query).all())
    engine.dispose()


def test_an_absent_database_has_no_revision_and_is_made(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'new.db'}"
    assert current_revision(url) is None
    upgrade(url)
    assert current_revision(url) == head_revision()


def test_an_empty_file_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert current_revision(f"sqlite:///{tmp_path / 'empty.db'}") is None


def test_processes_that_upgrade_at_once_take_turns(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'new.db'}"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upgrade, [url] * 4))
    assert current_revision(url) == head_revision()


def test_the_versions_form_one_line_which_ends_with_the_last_file() -> None:
    assert scripts().get_heads() == [head_revision()]
