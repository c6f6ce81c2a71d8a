"""Counts the statements that reach a database, at the database driver.

SQLite reports its statements by a trace callback; psycopg's cursors are wrapped. Not counted: the start and end of
transactions (the marker of a COMMIT is in the same message), the liveness check of pooled connections, and the periodic
queries of the two clocks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, event

_NOT_COUNTED = (
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "INSERT INTO COMMIT_MARKER (ID, AT, COMMITTED) VALUES ('",
    "PRAGMA",
    ";",
    "SELECT LEASE_CLOCK.AT",
    "SELECT EXTRACT(EPOCH FROM CLOCK_TIMESTAMP())",
)


class Statements:
    """Records the statements of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._texts: list[str] = []
        event.listen(engine, "checkout", self._watch)

    def _watch(self, connection: Any, _record: Any, _proxy: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(self._texts.append)
        else:
            connection.cursor_factory = _cursor(self._texts)

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """Yield a list that has the statements of the block at its end."""
        statements: list[str] = []
        del self._texts[:]
        yield statements
        statements += [text for text in self._texts if not text.lstrip().upper().startswith(_NOT_COUNTED)]


def _cursor(texts: list[str]) -> type[psycopg.Cursor[Any]]:
    class Counting(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **more: Any) -> Any:
            texts.append(str(query))
            return super().execute(query, *args, **more)

        def executemany(self, query: Any, params_seq: Any, **more: Any) -> None:
            parameters = list(params_seq)
            texts.extend([str(query)] * len(parameters))
            super().executemany(query, parameters, **more)

    return Counting
