from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from policies.request import EndpointName, Protocol
from server.audit import Action, AuditEvent
from server.scep.records import find_polled
from server.store.bulk import BulkInsert
from server.store.requests import list_transaction
from server.store.tables import Serial, UtcTime, audit_events, certificates, is_in, requests
from tests.fakes.issuer import NOW
from tests.fakes.query_plans import query_plans

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.store import Store

SQLITE, POSTGRESQL = sqlite.dialect(), postgresql.dialect()  # type: ignore[no-untyped-call]
TIMES = st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))  # noqa: DTZ001 - hypothesis adds the zone


@given(TIMES, TIMES)
def test_times_come_back_and_sort_as_text(one: datetime, other: datetime) -> None:
    first, second = (UtcTime().process_bind_param(time, SQLITE) for time in (one, other))
    assert UtcTime().process_result_value(first, SQLITE) == one
    assert (first < second) == (one < other)


def test_who_polls_reads_none_of_the_requests_that_others_made_under_the_same_transaction(url: str) -> None:
    polled = query_plans(url, lambda c: find_polled(c, EndpointName(Protocol.SCEP, "default"), "t-1", "00"))
    assert "ix_requests_transaction_id (transaction_id=? AND signer=?)" in polled
    assert "TEMP B-TREE" not in polled
    searched = query_plans(url, lambda c: list_transaction(c, "t-1"))
    assert "ix_requests_transaction_id (transaction_id=?)" in searched


def test_other_zones_are_brought_to_utc() -> None:
    here = NOW.astimezone(timezone(timedelta(hours=2)))
    assert UtcTime().process_bind_param(here, SQLITE) == "2026-11-21 12:00:00.000000+00:00"
    assert UtcTime().process_bind_param(here, POSTGRESQL) == NOW
    assert UtcTime().process_result_value(here, POSTGRESQL) is not None


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without zone"):
        UtcTime().process_bind_param(NOW.replace(tzinfo=None), SQLITE)


@pytest.mark.parametrize("kind", [UtcTime, Serial])
def test_nothing_stays_nothing(kind: Callable[[], UtcTime | Serial]) -> None:
    assert kind().process_bind_param(None, SQLITE) is None
    assert kind().process_result_value(None, SQLITE) is None


@given(st.integers(1, 2**159 - 1))
def test_serial_numbers_of_twenty_octets_come_back(serial: int) -> None:
    text = Serial().process_bind_param(serial, SQLITE)
    assert text is not None
    assert len(text) <= 40
    assert Serial().process_result_value(text, SQLITE) == serial


def test_the_tables_can_be_made_in_postgresql_too() -> None:
    made = str(sa.schema.CreateTable(certificates).compile(dialect=POSTGRESQL))
    assert "TIMESTAMP WITH TIME ZONE" in made


async def test_bulk_rows_are_inserted_and_what_is_there_is_left_out(store: Store) -> None:
    columns = ("number", "at", "action", "actor", "serial", "detail")
    insert = BulkInsert(audit_events, *columns, unless="number")
    rows = [AuditEvent(NOW, Action.ISSUED, "x", serial=2**150).row() | {"number": number} for number in (1, 2, 3)]
    assert await store.write(lambda c: insert(c, rows[:2])) == 2
    assert await store.write(lambda c: insert(c, rows)) == 1
    found = await store.read(lambda c: c.execute(sa.select(audit_events)).all())
    assert [(row.number, row.at, row.serial, row.request_id) for row in found] == [
        (n, NOW, 2**150, None) for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("state", ["pending", "intended", "refused", "failed"])
def test_requests_in_a_state_are_found_by_an_index_however_many_are_issued(url: str, state: str) -> None:
    statements: list[str] = []
    query = sa.select(sa.func.count()).select_from(requests).where(is_in(state), requests.c.profile == "p")
    engine = sa.create_engine(url.replace("+aiosqlite", ""))
    sa.event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    with engine.connect() as connection:
        connection.execute(query)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[0]}", ("p",)).all()
    engine.dispose()
    assert "USING INDEX ix_requests_state" in str(plan)
