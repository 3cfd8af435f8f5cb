"""How the database would find what is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable


def query_plans(url: str, work: Callable[[sa.Connection], object]) -> str:
    """Return the plans of all queries that the work makes, in SQLite's words."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    engine = sa.create_engine(url.replace("+aiosqlite", ""))
    with engine.connect() as connection:
        sa.event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
        work(connection)
        found = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given).all() for text, given in list(asked)]
    engine.dispose()
    return str(found)
