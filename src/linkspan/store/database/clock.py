"""The two clocks of the database, read without a statement per transaction.

Leases and grace periods are on the lease clock (`core.state.lease_clock`), which API processes advance together in one
row. `created_at` and the expiry of tokens are on the wall clock: with PostgreSQL the server's, since several processes
must agree, with SQLite this machine's. In between, both go on with the monotonic clock of the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import ColumnElement, literal_column, select

from linkspan.core.state import lease_clock
from linkspan.core.state.lease_clock import LeaseClock
from linkspan.store.database.connections import DriverConnection
from linkspan.store.database.statements import Statement, upsert
from linkspan.store.database.tables import LEASE_CLOCK

_row = select(LEASE_CLOCK.c.at, LEASE_CLOCK.c.wall, LEASE_CLOCK.c.amnesty)
_server_time: Final[ColumnElement[float]] = literal_column("extract(epoch FROM clock_timestamp())::float8")
_read: Final = Statement(_row)
_read_server: Final = Statement(_row.add_columns(_server_time))
_lock: Final = Statement(_row.with_for_update())
_lock_server: Final = Statement(_row.add_columns(_server_time).with_for_update())
_set: Final = upsert(LEASE_CLOCK, "id")
_ask: Final = Statement(select(_server_time))


class Clock:
    """Thread-safe. `server`: the wall clock is PostgreSQL's. `other`: a clock to use in the place of both."""

    def __init__(self, server: bool, lease: float, other: Callable[[], float] | None = None) -> None:
        self._server = server
        self._lease = lease
        self._other = other
        self._lock = threading.Lock()
        self._known: tuple[LeaseClock, float] | None = None

    def now(self, connection: DriverConnection) -> float:
        """The time on the lease clock."""
        if self._other is not None:
            return self._other()
        clock, passed = self._current(connection)
        return clock.at + max(0.0, passed - clock.amnesty)

    def wall(self, connection: DriverConnection) -> float:
        """The time on the wall clock, seconds since 1970."""
        if self._other is not None:
            return self._other()
        if not self._server:
            return time.time()
        clock, passed = self._current(connection)
        return clock.wall + passed

    def advance(self, connection: DriverConnection) -> None:
        """Advances the lease clock, in a write transaction. To be called at its `interval`."""
        clock = self._later(_lock_server if self._server else _lock, connection)
        _set.run(connection, {"id": 1, "at": clock.at, "wall": clock.wall, "amnesty": clock.amnesty})
        self._keep(clock)

    def _current(self, connection: DriverConnection) -> tuple[LeaseClock, float]:
        """The clock as last known, and the seconds since then. Reads it again if nobody in this process advances it."""
        with self._lock:
            known = self._known
        if known is None or time.monotonic() - known[1] > 1.5 * lease_clock.interval(self._lease):
            known = self._keep(self._later(_read_server if self._server else _read, connection))
        return known[0], time.monotonic() - known[1]

    def _later(self, statement: Statement, connection: DriverConnection) -> LeaseClock:
        rows = statement.rows(connection, {})
        if not rows:  # a new database: the clock starts with the time of day
            now = _ask.rows(connection, {})[0][0] if self._server else time.time()
            return LeaseClock(now, now, 0.0)
        at, wall, amnesty, *server = rows[0]
        return lease_clock.advance(LeaseClock(at, wall, amnesty), server[0] if server else time.time(), self._lease)

    def _keep(self, clock: LeaseClock) -> tuple[LeaseClock, float]:
        known = (clock, time.monotonic())
        with self._lock:
            self._known = known
        return known
