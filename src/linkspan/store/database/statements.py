"""Statements that are built and compiled once and then run as text: SQLAlchemy writes the SQL, the driver runs it.

A statement is compiled once per dialect, and after that costs only a dictionary of parameters: so it is written once
for both databases, at nearly the price of the bare driver.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import BindParameter, ColumnElement, Dialect, Table, bindparam, cast, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from linkspan.store.database.connections import DriverConnection

Parameters = dict[str, Any]


class Statement:
    """One statement with named parameters; `names` are the columns of an INSERT or the SET part of an UPDATE."""

    def __init__(self, source: Executable, names: Iterable[str] | None = None) -> None:
        self._source = source
        self._names = None if names is None else list(names)
        self._compiled: dict[str, tuple[str, tuple[str, ...] | None, Parameters]] = {}

    def _compile(self, dialect: Dialect) -> tuple[str, tuple[str, ...] | None, Parameters]:
        compiled = self._source.compile(dialect=dialect, column_keys=self._names)  # type: ignore[attr-defined]
        if not isinstance(compiled, SQLCompiler):
            raise TypeError("only statements with rows and parameters can be compiled")
        order = tuple(compiled.positiontup) if compiled.positiontup is not None else None
        result = (compiled.string, order, dict(compiled.params))
        self._compiled[dialect.name] = result
        return result

    def _parameters(self, dialect: Dialect, values: Parameters) -> tuple[str, Any]:
        text, order, defaults = self._compiled.get(dialect.name) or self._compile(dialect)
        if order is None:
            return text, defaults | values
        return text, tuple([values[name] if name in values else defaults[name] for name in order])

    def rows(self, connection: DriverConnection, values: Parameters) -> Sequence[Any]:
        """Runs it; the rows as tuples. Raises the driver's own errors (`store.Store` translates them)."""
        rows: Sequence[Any] = self._execute(connection, values).fetchall()
        return rows

    def iterate(self, connection: DriverConnection, values: Parameters) -> Iterator[Any]:
        """Runs it; the rows as tuples, read while they are taken."""
        return iter(self._execute(connection, values))

    def parts(self, connection: DriverConnection, size: int) -> Iterator[list[Any]]:
        """Runs it without parameters; `size` of its rows at a time, for results of any length."""
        text, parameters = self._parameters(connection.dialect, {})
        cursor = connection.stream("parts")
        try:
            cursor.execute(text, parameters)
            while rows := cursor.fetchmany(size):
                yield rows
        finally:
            cursor.close()

    def run(self, connection: DriverConnection, values: Parameters) -> int:
        """Runs it; how many rows it changed."""
        changed: int = self._execute(connection, values).rowcount
        return changed

    def _execute(self, connection: DriverConnection, values: Parameters) -> Any:
        text, parameters = self._parameters(connection.dialect, values)
        cursor = connection.cursor()
        cursor.execute(text, parameters)
        return cursor

    def many(self, connection: DriverConnection, values: Sequence[Parameters]) -> None:
        """Runs it once for each of these."""
        if values:
            bound = [self._parameters(connection.dialect, parameters) for parameters in values]
            connection.driver.cursor().executemany(bound[0][0], [parameters for _, parameters in bound])


def struct_columns(struct: type[msgspec.Struct], **columns: ColumnElement[Any]) -> tuple[ColumnElement[Any], ...]:
    """The columns of a SELECT whose rows become this struct: `struct(*row)`. One column for each field, by name."""
    if columns.keys() != set(struct.__struct_fields__):
        raise TypeError(f"the columns of {struct.__name__} are {sorted(struct.__struct_fields__)}")
    return tuple(columns[name] for name in struct.__struct_fields__)


def statement(build: Any) -> Any:
    """Makes a function that builds a statement build it once per arguments."""
    return functools.lru_cache(maxsize=512)(build)


def slots(name: str, count: int) -> list[BindParameter[Any]]:
    """`count` parameters name_0, name_1, … for an IN list."""
    return [bindparam(f"{name}_{index}") for index in range(count)]


def in_slots(column: ColumnElement[Any], name: str, count: int) -> ColumnElement[bool]:
    """`column IN (name_0, …)`; a list of one is a comparison."""
    if count == 1:
        return column == slots(name, 1)[0]
    return column.in_(slots(name, count))


def slot_count(values: list[Any]) -> int:
    """The next power of two: so that lists of any length share few statements."""
    return 1 << (len(values) - 1).bit_length() if values else 0


def fill_slots(name: str, values: list[Any]) -> Parameters:
    """Parameters for `slots(name, slot_count(values))`: the last value is repeated in what is left."""
    padded = [*values, *values[-1:] * (slot_count(values) - len(values))]
    return {f"{name}_{index}": value for index, value in enumerate(padded)}


def chunks(values: Iterable[Any], size: int = 500) -> Iterator[list[Any]]:
    """The values in lists of at most `size`: no list of parameters grows with the data."""
    ordered = list(values)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


class json_rows(FunctionElement[str]):  # noqa: N801 - a function of SQL, as SQLAlchemy names its own
    """All rows of a statement in one: a JSON text of a list of lists, with these columns each."""

    inherit_cache = True


@compiles(json_rows)
def _of_sqlite(element: json_rows, compiler: Any, **more: Any) -> str:
    return f"json_group_array(json_array({compiler.process(element.clauses, **more)}))"


@compiles(json_rows, "postgresql")
def _of_postgresql(element: json_rows, compiler: Any, **more: Any) -> str:
    return f"coalesce(json_agg(json_build_array({compiler.process(element.clauses, **more)}))::text, '[]')"


class json_row(FunctionElement[str]):  # noqa: N801 - a function of SQL, as SQLAlchemy names its own
    """What `json_rows` makes of one row."""

    inherit_cache = True


@compiles(json_row)
def _row_of_sqlite(element: json_row, compiler: Any, **more: Any) -> str:
    return f"json_array(json_array({compiler.process(element.clauses, **more)}))"


@compiles(json_row, "postgresql")
def _row_of_postgresql(element: json_row, compiler: Any, **more: Any) -> str:
    return f"json_build_array(json_build_array({compiler.process(element.clauses, **more)}))::text"


class _JsonEach(FunctionElement[Any]):
    """The elements of a JSON list as rows with the one column `value`."""

    inherit_cache = True


@compiles(_JsonEach)
def _each_of_sqlite(element: _JsonEach, compiler: Any, **more: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **more)})"


@compiles(_JsonEach, "postgresql")
def _each_of_postgresql(element: _JsonEach, compiler: Any, **more: Any) -> str:
    return f"jsonb_array_elements(CAST({compiler.process(element.clauses, **more)} AS JSONB))"


def json_elements(text: BindParameter[Any]) -> tuple[Any, Callable[[int, Any], ColumnElement[Any]]]:
    """A FROM with a row for each list of a JSON list of lists; and its fields, by position and type.

    So many rows are one parameter of one statement.
    """
    rows = _JsonEach(text).table_valued("value")

    def field(position: int, type_: Any) -> ColumnElement[Any]:
        return cast(rows.c.value.op("->>")(literal_column(str(position))), type_)

    return rows, field


class _JsonTexts(FunctionElement[Any]):
    """The elements of a JSON list of texts as rows with the one column `value`."""

    inherit_cache = True


@compiles(_JsonTexts)
def _texts_of_sqlite(element: _JsonTexts, compiler: Any, **more: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **more)})"


@compiles(_JsonTexts, "postgresql")
def _texts_of_postgresql(element: _JsonTexts, compiler: Any, **more: Any) -> str:
    return f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **more)} AS JSONB))"


def json_texts(column: ColumnElement[str]) -> ColumnElement[str]:
    """The elements of a JSON list of texts in a column, as a column of their own."""
    texts: ColumnElement[str] = _JsonTexts(column).table_valued("value").c.value
    return texts


def in_json(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column IN (…)`, the list given as the JSON text of a list of texts: one parameter, however long it is."""
    return column.in_(select(json_texts(bindparam(name))))


def encode_json(value: Any) -> str:
    """The text of a JSON column or parameter."""
    return msgspec.json.encode(value).decode()


def overwriting(insert: postgresql.Insert, *keys: str) -> postgresql.Insert:
    """The INSERT, overwriting a row with the same key (both databases have the same syntax)."""
    columns = [column.name for column in insert.table.columns if column.computed is None]
    rest = {name: insert.excluded[name] for name in columns if name not in keys}
    return insert.on_conflict_do_update(index_elements=list(keys), set_=rest)


def upsert(table: Table, *keys: str) -> Statement:
    """INSERT of one row that overwrites a row with the same key."""
    columns = [column.name for column in table.columns if column.computed is None]
    insert = postgresql.insert(table).values({name: bindparam(name) for name in columns})
    return Statement(overwriting(insert, *keys))
