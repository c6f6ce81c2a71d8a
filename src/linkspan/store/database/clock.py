"""The database's clock, for leases and grace periods, without a statement per transaction.

SQLite has one process, so its clock is that process's: read once and continued by the monotonic clock, so that setting
the machine's time ends no lease. With PostgreSQL several processes must agree: the server's clock is queried now and
then, and continued in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

ASK_EVERY: Final = 5.0
"""Seconds for which an answer of the server is counted on."""


class Clock:
    """Seconds since 1970. Thread-safe."""

    def __init__(self, server: bool, other: Callable[[], float] | None = None) -> None:
        """`server`: ask PostgreSQL; `other`: a clock to use instead."""
        self._other = other
        self._server = server
        self._lock = threading.Lock()
        self._asked: float | None = None if server else time.monotonic()
        self._offset = 0.0 if server else time.time() - time.monotonic()

    def now(self, connection: Connection) -> float:
        """The time on the database's clock."""
        if self._other is not None:
            return self._other()
        mono = time.monotonic()
        if self._server and (self._asked is None or mono - self._asked > ASK_EVERY):
            row = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())::float8").one()
            mono = time.monotonic()
            with self._lock:
                self._offset, self._asked = row[0] - mono, mono
        return mono + self._offset

    def wall(self, now: float) -> float:
        """Wall-clock time: `created_at` follows a machine's clock that was corrected, leases do not."""
        return now if self._server or self._other is not None else time.time()
