"""Counts what really reaches a database: at the driver, below all code of Linkspan that might count wrongly.

SQLite tells each statement that it runs; psycopg's cursors are asked. What opens and ends transactions is not counted,
nor is the question whether a pooled connection still lives, nor PostgreSQL's clock, which is asked every few seconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, event

_NOT_COUNTED = ("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA", ";", "SELECT EXTRACT(EPOCH FROM CLOCK_TIMESTAMP())")


class Statements:
    """The statements of one engine, from now on."""

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
        """The statements that are run within; complete at its end."""
        found: list[str] = []
        del self._texts[:]
        yield found
        found += [text for text in self._texts if not text.lstrip().upper().startswith(_NOT_COUNTED)]


def _cursor(texts: list[str]) -> type[psycopg.Cursor[Any]]:
    class Counting(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **more: Any) -> Any:
            texts.append(str(query))
            return super().execute(query, *args, **more)

        def executemany(self, query: Any, params_seq: Any, **more: Any) -> None:
            every = list(params_seq)
            texts.extend([str(query)] * len(every))
            super().executemany(query, every, **more)

    return Counting
