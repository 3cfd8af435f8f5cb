"""How the database would find what is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.store.prepared import driver_of

if TYPE_CHECKING:
    from collections.abc import Callable


def query_plans(url: str, work: Callable[[sa.Connection], object]) -> str:
    """Return the plans of all queries that the work makes, prepared statements among them, in SQLite's words."""
    asked: list[str] = []
    engine = sa.create_engine(url.replace("+aiosqlite", ""))
    with engine.connect() as connection:
        driver = driver_of(connection)
        driver.set_trace_callback(asked.append)
        work(connection)
        driver.set_trace_callback(None)
        queries = [text for text in asked if text.startswith(("SELECT", "WITH", "UPDATE", "DELETE"))]
        found = [driver.execute(f"EXPLAIN QUERY PLAN {text}").fetchall() for text in queries]
    engine.dispose()
    return str(found)
