"""The store: a database with its keys, and its transactions.

`read` and `write` yield a `Transaction`, which the functions of `rows`, `nodes` and `identity` take. Rows have the
stored attributes of the registry plus `revision_number`, `created_at`, `updated_at` (aware datetimes, UTC, whole
seconds); secrets come out as `Secret`.

The store judges nothing: it knows no rule beyond "only this project's rows", and validates nothing. It raises
`Conflict` when another transaction was faster; the caller retries the request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import Engine

from linkspan.store import revisions
from linkspan.store.database.clock import Clock
from linkspan.store.database.engine import reader, writer
from linkspan.store.database.errors import Conflict, Unavailable, Unwritable, translated
from linkspan.store.envelopes import Keyring
from linkspan.store.rows import encryption_keys
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

__all__ = ["Conflict", "Row", "Store", "Transaction", "Unavailable", "Unwritable", "Values"]


def _nobody(revisions: dict[str, int]) -> None:
    """Ignores commits."""


class Store:
    """A database and its keys. Thread-safe; `on_commit` gets {node id: new revision} after each commit that touched
    nodes, in the thread that committed."""

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        on_commit: Callable[[dict[str, int]], None] = _nobody,
        *,
        lease: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`lease` in seconds. `clock`: another clock than the database's two (tests)."""
        self.lease = lease
        self.one_writer = engine.dialect.name == "sqlite"
        """True if writes wait for each other, so that more than one thread for them gains nothing."""
        self._engine = engine
        self._keyring = keyring
        self._on_commit = on_commit
        self._clock = Clock(engine.dialect.name != "sqlite", lease, clock)
        self._dbapi = engine.dialect.loaded_dbapi
        self._reader = reader(engine)
        self._writer = writer(engine)
        # SQLite has one writer: wait for it here, in order, and not in its busy handler that sleeps.
        self._turn: AbstractContextManager[Any] = threading.Lock() if self.one_writer else nullcontext()
        with self._writing() as tx:
            encryption_keys.register(tx)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One read transaction: everything it reads is of one moment."""
        with translated(self._dbapi), self._reader.connect() as connection, connection.begin():
            yield Transaction(connection, self._keyring, self._clock, self.lease)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One write transaction: commits at the end, rolls back on an exception; then tells `on_commit`.

        Raises `Conflict` if another transaction got there first.
        """
        with self._writing() as tx:
            yield tx
        if tx.revisions:
            self._on_commit(dict(tx.revisions))

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with translated(self._dbapi), self._turn, self._writer.connect() as connection, connection.begin():
            tx = Transaction(connection, self._keyring, self._clock, self.lease)
            yield tx
            revisions.flush(tx)

    def advance_clock(self) -> None:
        """Advances the lease clock: an API process does so all the time (`store.lease_ticker`)."""
        with self._writing() as tx:
            self._clock.advance(tx.connection)

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()
