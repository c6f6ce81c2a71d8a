"""One transaction: its connection, the keys, the clock, and the nodes that it affects.

The functions of the store take it as their first argument.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from linkspan.core.schema import configurations
from linkspan.core.state.desired import ObjectKind
from linkspan.store.database.clock import Clock
from linkspan.store.database.connections import DriverConnection
from linkspan.store.database.statements import Statement
from linkspan.store.envelopes import Keyring

Values = dict[str, Any]
"""Attributes by name, to be written or as a client gave them."""

KEEP_TOMBSTONES: Final = 30 * 86_400.0
"""Seconds for which a node that was away can still learn that an object is gone."""


def new_ordered_id() -> str:
    """A new id that is greater than those made a microsecond before: UUID version 7 with more digits of the clock
    (RFC 9562 5.7, 6.2 method 3).

    What was made together then lies together in every index, in which random ids of 100,000 connections are found one
    by one in memory that no cache holds.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    number = milliseconds << 80 | (rest * 4096 // 1_000_000) << 64 | secrets.randbits(64)
    return str(uuid.UUID(int=number & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62))


class Transaction:
    """One transaction. `live` and `dead` are the objects that `revisions.flush` has to stamp; `revisions` are the nodes
    stamped so far. `touched` are those that were to be stamped so far, `audited` the entries that `audit.flush` has to
    write, `events` those of `timeline.flush`. `author` is the name of the user who writes, `kept` the connections whose
    earlier configuration was kept, of `keep_revisions` at most, `places` the gateways and nodes of connections that are
    locked with these (`revisions.touch_users`). `statements` counts what was sent to the database. Not for more than
    one thread, and not beyond its `with` block."""

    def __init__(
        self,
        connection: DriverConnection,
        keyring: Keyring,
        clock: Clock,
        lease: float,
        keep_revisions: int = configurations.KEPT,
    ) -> None:
        self.connection = connection
        self.keyring = keyring
        self.lease = lease
        self.live: set[tuple[ObjectKind, str]] = set()
        self.touched: set[tuple[ObjectKind, str]] = set()
        self.dead: set[tuple[str, ObjectKind, str, str]] = set()
        self.revisions: dict[str, int] = {}
        self.audited: list[list[Any]] = []
        self.events: list[Any] = []
        self.author: str | None = None
        self.kept: set[str] = set()
        self.places: dict[str, tuple[str, str | None]] = {}
        self.keep_revisions = keep_revisions
        self.statements = 0
        self._clock = clock
        self._now: float | None = None

    @property
    def now(self) -> float:
        """The lease clock, seconds; the same throughout the transaction."""
        if self._now is None:
            self._now = self._clock.now(self.connection)
        return self._now

    @property
    def wall(self) -> float:
        """Wall-clock time, seconds since 1970."""
        return self._clock.wall(self.connection)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undoes what is done in the block, and goes on with the transaction as it was. `touched` still says what the
        block has touched."""
        self.connection.set_savepoint()
        yield
        self.connection.roll_back_to_savepoint()
        self.live.clear()
        self.dead.clear()
        self.places.clear()
        self.revisions.clear()
        self.audited.clear()

    def rows(self, statement: Statement, **values: Any) -> Sequence[Any]:
        """The rows of a statement, as tuples."""
        self.statements += 1
        return statement.rows(self.connection, values)

    def iterate(self, statement: Statement, **values: Any) -> Iterator[Any]:
        """The rows of a statement, one after the other while they are read."""
        self.statements += 1
        return statement.iterate(self.connection, values)

    def first(self, statement: Statement, **values: Any) -> Any:
        """The first row of a statement, or None."""
        rows = self.rows(statement, **values)
        return rows[0] if rows else None

    def run(self, statement: Statement, **values: Any) -> int:
        """Runs a statement; how many rows it changed."""
        self.statements += 1
        return statement.run(self.connection, values)

    def many(self, statement: Statement, values: Sequence[dict[str, Any]]) -> None:
        """Runs a statement once for each of these."""
        self.statements += bool(values)
        statement.many(self.connection, values)
