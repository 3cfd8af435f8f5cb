from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
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


def _take_steps_to(wanted: str, connection: sa.Connection) -> None:
    known = scripts()
    with EnvironmentContext(Config(), known, fn=lambda found, _: list(known._upgrade_revs(wanted, found))) as steps:
        steps.configure(connection=connection, transactional_ddl=True)
        steps.run_migrations()


def _everything(connection: sa.Connection) -> list[tuple[object, ...]]:
    query = "SELECT * FROM certificates JOIN requests ON requests.id = certificates.request_id"
    return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_certificates_stay_when_their_table_is_made_anew_for_version_0030(tmp_path: Path) -> None:
    url = f"sqlite+pysqlite:///{tmp_path / 'old.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        _take_steps_to("0029", connection)
        connection.exec_driver_sql(
            "INSERT INTO requests (id, state, endpoint, received_at) VALUES ('r1', 'issued', 'est/default', '2026')"
        )
        columns = (
            "serial, issuer, der, fingerprint, endpoint, profile, requester, subject, names, not_before, not_after"
        )
        values = "'5a', 'issuing', x'30', x'01', 'est/default', 'iot', 'user a', 'CN=Pump', 'dns:a', '2026', '2027'"
        connection.exec_driver_sql(
            f"INSERT INTO certificates ({columns}, issued_at, request_id) VALUES ({values}, '2026-11-21', 'r1')"  # noqa: S608 - constants
        )
        before = _everything(connection)
    upgrade(url)
    with engine.connect() as connection:
        assert _everything(connection) == before
        assert len(before) == 1
        found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE tbl_name = 'certificates'").scalars()
        names = set(found)
        assert {"ix_certificates_subject", "ix_certificates_requester", "ix_certificates_compromised"} <= names
        assert not [name for name in names if "tmp" in name]
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    engine.dispose()


def test_the_versions_form_one_line_which_ends_with_the_last_file() -> None:
    assert scripts().get_heads() == [head_revision()]
