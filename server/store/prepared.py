"""Statements of the hot path: written with SQLAlchemy, compiled once, then given to the driver.

What SQLAlchemy does round a single statement (its cache key, its context, its result) costs 60 to 80 us of CPU, the
statement itself 5. A prepared statement binds and reads values with the very processors of the columns' types, so that
nothing but the time differs.
"""

from __future__ import annotations

import json
import sqlite3
from collections import namedtuple
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy import exc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Processor = Callable[[Any], Any]

_write_json = json.JSONEncoder(check_circular=False).encode
_scan_json = json.JSONDecoder().raw_decode


def _read_json(text: str) -> Any:
    """Return what `_write_json`, or SQLAlchemy, has written: `json.loads` looks for white space round it, too."""
    return _scan_json(text)[0]


_DIALECT = sa.create_mock_engine(
    "sqlite+pysqlite://", lambda *_: None, json_serializer=_write_json, json_deserializer=_read_json
).dialect


class Prepared:
    """A SELECT, UPDATE or DELETE with named parameters (`sqlalchemy.bindparam`; none that expand).

    Attributes:
        statement: the statement; compiled when it is first used.
    """

    def __init__(self, statement: sa.Select[*tuple[Any, ...]] | sa.Update | sa.Delete) -> None:
        self._statement = statement
        self._sql = ""
        self._names: tuple[str, ...] = ()
        self._constants: dict[str, Any] = {}
        self._binds: tuple[tuple[str, Processor], ...] = ()
        self._columns: tuple[tuple[int, Processor], ...] = ()
        self._row: Any = None

    def first(self, connection: sa.Connection, **parameters: object) -> Any:
        """Return the first row, with the columns as attributes, or None. Raises the driver's errors as SQLAlchemy's."""
        found = self._execute(connection, parameters).fetchone()
        return None if found is None else self._read(found)

    def all(self, connection: sa.Connection, **parameters: object) -> list[Any]:
        """Return all rows, as `first` returns one."""
        return list(map(self._read, self._execute(connection, parameters).fetchall()))

    def change(self, connection: sa.Connection, **parameters: object) -> int:
        """Return how many rows were changed."""
        return self._execute(connection, parameters).rowcount

    def change_each(self, connection: sa.Connection, rows: Sequence[Mapping[str, object]]) -> int:
        """Run the statement once for each of these parameters. Returns how many rows were changed in all."""
        self._compile()
        lines = [self._line(dict(row)) for row in rows]
        driver = driver_of(connection)
        try:
            return driver.executemany(self._sql, lines).rowcount
        except sqlite3.Error as error:
            raise as_sqlalchemy(error, self._sql) from error

    def _execute(self, connection: sa.Connection, parameters: dict[str, object]) -> sqlite3.Cursor:
        if self._row is None:
            self._compile()
        driver = driver_of(connection)
        try:
            return driver.execute(self._sql, self._line(parameters))
        except sqlite3.Error as error:
            raise as_sqlalchemy(error, self._sql) from error

    def _line(self, parameters: dict[str, object]) -> tuple[Any, ...]:
        if self._constants:
            parameters = self._constants | parameters
        for name, bind in self._binds:
            parameters[name] = bind(parameters[name])
        return tuple(map(parameters.__getitem__, self._names))

    def _read(self, found: tuple[Any, ...]) -> Any:
        if not self._columns:
            return self._row._make(found)
        values = list(found)
        for place, read in self._columns:
            values[place] = read(values[place])
        return self._row._make(values)

    def _compile(self) -> None:
        if self._row is not None:
            return
        compiled = self._statement.compile(dialect=_DIALECT)
        required = [name for name, bind in compiled.binds.items() if bind.required]
        state = compiled.construct_expanded_state(dict.fromkeys(required))  # lists of constants take their places
        found = ((n, bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)) for n, bind in compiled.binds.items())
        processors = {name: one for name, one in found if one is not None}
        expanded = {one: name for name, each in state.parameter_expansion.items() for one in each}
        for name, value in state.parameters.items():
            if name not in required:
                process = processors.get(expanded.get(name, name))
                self._constants[name] = value if process is None else process(value)
        self._sql, self._names = state.statement, tuple(state.positiontup or ())
        self._binds = tuple((name, processors[name]) for name in required if name in processors)
        columns = list(self._statement.selected_columns) if isinstance(self._statement, sa.Select) else []
        readers = (column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None) for column in columns)
        self._columns = tuple((place, one) for place, one in enumerate(readers) if one is not None)
        self._row = namedtuple("Row", [column.key or "" for column in columns])  # type: ignore[misc]  # noqa: PYI024 - its fields are known at run time


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """Return the driver's own connection, inside the transaction that `server.store.lane` has begun."""
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)


def as_sqlalchemy(error: sqlite3.Error, statement: str) -> Exception:
    """Return an error of the driver in the class by which SQLAlchemy's users know it."""
    found: Exception = exc.DBAPIError.instance(statement, None, error, sqlite3.Error)
    return found
