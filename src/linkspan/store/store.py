"""The store: a database with its keys, and its transactions.

`read` and `write` yield a `Transaction`, which the functions of `rows`, `nodes` and `identity` take. Rows have the
stored attributes of the registry plus `revision_number`, `created_at`, `updated_at` (aware datetimes, UTC, whole
seconds); secrets come out as `Secret`.

The store judges nothing: it knows no rule beyond "only this project's rows", and validates nothing. It raises
`Conflict` when another transaction was faster; the caller retries the request.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from sqlalchemy import Engine

from linkspan.core.schema import configurations
from linkspan.store import audit, revisions, timeline
from linkspan.store.database import commit_markers
from linkspan.store.database.clock import Clock
from linkspan.store.database.connections import DriverConnection, take, transaction
from linkspan.store.database.errors import (
    Conflict,
    Disconnected,
    InDoubt,
    OutcomeUnknown,
    Unavailable,
    Unwritable,
    translated,
)
from linkspan.store.database.gate import PAUSE, Gate
from linkspan.store.envelopes import Keyring, KeysUnavailable
from linkspan.store.rows import encryption_keys
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

__all__ = [
    "Conflict",
    "Disconnected",
    "OutcomeUnknown",
    "Row",
    "Store",
    "Transaction",
    "Unavailable",
    "Unwritable",
    "Values",
]

RESOLVE: Final = 8.0
"""Seconds in which the outcome of a transaction is looked up that lost its connection in its COMMIT."""


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
        keep_revisions: int = configurations.KEPT,
    ) -> None:
        """`lease` in seconds. `keep_revisions`: earlier configurations kept of each connection.
        `clock`: another clock than the database's two (tests)."""
        self.lease = lease
        self.one_writer = engine.dialect.name == "sqlite"
        """True if writes wait for each other, so that more than one thread for them gains nothing."""
        self._engine = engine
        self._keep_revisions = keep_revisions
        self._keyring = keyring
        self._on_commit = on_commit
        self._clock = Clock(engine.dialect.name != "sqlite", lease, clock)
        self._dbapi = engine.dialect.loaded_dbapi
        self._gate = Gate()
        # SQLite has one writer: wait for it here, in order, and not in its busy handler that sleeps.
        self._turn: AbstractContextManager[Any] = threading.Lock() if self.one_writer else nullcontext()
        self._registered = -1
        with self._writing():
            pass  # registers the keys

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One read transaction: everything it reads is of one moment."""
        try:
            with transaction(self._connection(writes=False)) as connection:
                yield Transaction(connection, self._keyring, self._clock, self.lease, self._keep_revisions)
        except KeysUnavailable as error:
            raise Unavailable(str(error)) from error

    @contextmanager
    def write(self, *, repeatable: bool = False) -> Iterator[Transaction]:
        """One write transaction: commits at the end, rolls back on an exception; then tells `on_commit`.

        A COMMIT whose connection is lost is looked up, so that it either counts as done or was not done: `Conflict`, as
        if another transaction got there first. Raises `OutcomeUnknown` if no database can say. `repeatable`: writing
        it twice is the same as once, so that it may be repeated instead of looked up.
        """
        marker = None if repeatable or self.one_writer else str(uuid.uuid4())
        revisions: dict[str, int] = {}
        try:
            with self._writing(marker) as tx:
                revisions = tx.revisions
                yield tx
        except InDoubt as error:
            if marker is None:
                raise
            if not self._has_committed(marker, error):
                raise Conflict("the connection was lost before the transaction committed") from error
        if revisions:
            self._on_commit(dict(revisions))

    @contextmanager
    def _writing(self, marker: str | None = None) -> Iterator[Transaction]:
        self._keyring.refresh()
        try:
            with self._turn, transaction(self._connection(writes=True)) as connection:
                tx = Transaction(connection, self._keyring, self._clock, self.lease, self._keep_revisions)
                version = self._keyring.version
                if version != self._registered:
                    encryption_keys.register(tx, check=self._registered < 0)
                yield tx
                revisions.flush(tx)
                audit.flush(tx)
                timeline.flush(tx)
                if marker is not None:
                    self._commit(tx, marker)
        except KeysUnavailable as error:
            raise Unavailable(str(error)) from error
        self._registered = version

    def _commit(self, tx: Transaction, marker: str) -> None:
        """Commits with a marker by which a COMMIT is looked up whose connection was lost."""
        try:
            with translated(self._dbapi):
                commit_markers.commit(tx.connection, marker, tx.now)
        except Disconnected as error:
            raise InDoubt(str(error)) from error

    def _connection(self, *, writes: bool) -> DriverConnection:
        with self._gate, translated(self._dbapi):
            return take(self._engine, writes=writes)

    def _has_committed(self, marker: str, error: InDoubt) -> bool:
        """True if the transaction with this marker has committed, False if it never will. Raises `OutcomeUnknown`."""
        deadline = time.monotonic() + RESOLVE
        while True:
            try:
                with self._writing() as tx:
                    committed = commit_markers.has_committed(tx.connection, marker, tx.now)
            except (Conflict, Unavailable):
                if time.monotonic() >= deadline:
                    raise OutcomeUnknown(str(error)) from error
                time.sleep(PAUSE)
            else:
                return committed

    def advance_clock(self) -> None:
        """Advances the lease clock: an API process does so all the time (`store.lease_ticker`)."""
        with self._writing() as tx:
            self._clock.advance(tx.connection)

    def seal_audit(self) -> int:
        """Chains the entries of the audit trail that were committed meanwhile; how many. An API process does so all the
        time."""
        with self.read() as tx:
            if audit.is_sealed(tx):
                return 0
        with self._writing() as tx:
            return audit.seal(tx)

    def purge_audit(self, retention: float) -> int:
        """Removes the entries of the audit trail that are older than this, seconds; how many."""
        with self._writing() as tx:
            return audit.purge(tx, tx.wall - retention)

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()
