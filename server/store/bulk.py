"""Inserts of the hot path: compiled once, then given to the driver without SQLAlchemy's work for each row."""

from __future__ import annotations

import sqlite3
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.store.prepared import as_sqlalchemy, driver_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BulkInsert:
    """INSERT of many rows into the same columns.

    Attributes:
        table: where to.
        names: the columns that each row gives; the others get their default.
        unless: a unique column; a row whose value is there already is left out (the same words in SQLite and
            PostgreSQL).
    """

    def __init__(self, table: sa.Table, *names: str, unless: str | None = None) -> None:
        self._table = table
        self._suffix = "" if unless is None else f" ON CONFLICT ({unless}) DO NOTHING"
        self._columns = [column for column in table.columns if column.name in names]
        self._values = itemgetter(*(column.name for column in self._columns))
        self._compiled: dict[tuple[str, str], tuple[str, list[tuple[int, Any]]]] = {}

    def __call__(self, connection: sa.Connection, rows: Sequence[Mapping[str, object]]) -> int:
        """Insert the rows with one call of the driver.

        Returns how many were inserted, -1 where the driver can't tell. Raises the driver's errors in SQLAlchemy's
        classes.
        """
        statement, conversions = self._for(connection.dialect)
        lines = []
        for row in rows:
            line = list(self._values(row))
            for place, convert in conversions:
                line[place] = convert(line[place])
            lines.append(line)
        driver = driver_of(connection)
        try:
            return driver.executemany(statement, lines).rowcount
        except sqlite3.Error as error:
            raise as_sqlalchemy(error, statement) from error

    def _for(self, dialect: sa.Dialect) -> tuple[str, list[tuple[int, Any]]]:
        key = (dialect.name, dialect.driver)
        found = self._compiled.get(key)
        if found is None:
            names = [column.name for column in self._columns]
            statement = str(sa.insert(self._table).compile(dialect=dialect, column_keys=names)) + self._suffix
            processors = (column.type.dialect_impl(dialect).bind_processor(dialect) for column in self._columns)
            conversions = [(place, one) for place, one in enumerate(processors) if one is not None]
            found = self._compiled[key] = (statement, conversions)
        return found
