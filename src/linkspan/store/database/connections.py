"""Transactions at the driver: on a connection of SQLAlchemy's pool, without SQLAlchemy's own connection around it.

That would cost more than the look-up of a row. Migrations and whatever else is rare use SQLAlchemy's.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, Engine
from sqlalchemy.pool import PoolProxiedConnection

from linkspan.store.database.errors import Disconnected, translated


class DriverConnection:
    """A connection in a transaction. `dialect`: what compiles statements for it; `driver`: the driver's connection."""

    __slots__ = ("_pooled", "dialect", "driver")

    def __init__(self, pooled: PoolProxiedConnection, dialect: Dialect) -> None:
        self._pooled = pooled
        self.dialect = dialect
        self.driver: Any = pooled.dbapi_connection

    def begin(self, *, writes: bool) -> None:
        """Begins a transaction. All that one reads is of one moment, unless it writes."""
        if self.dialect.name == "sqlite":
            self.driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        elif writes:
            self.driver.begin(b"BEGIN ISOLATION LEVEL READ COMMITTED")
        else:
            self.driver.begin(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def cursor(self) -> Any:
        """A cursor. PostgreSQL sends it values in binary: it costs half as much to make rows of them as of texts."""
        return self.driver.cursor() if self.dialect.name == "sqlite" else self.driver.cursor(binary=True)

    def stream(self, name: str) -> Any:
        """A cursor for a result of any length, which is read while its rows are taken."""
        return self.driver.cursor() if self.dialect.name == "sqlite" else self.driver.cursor(name)

    def set_savepoint(self) -> None:
        """Marks a place in the transaction."""
        self.driver.execute("SAVEPOINT place")

    def roll_back_to_savepoint(self) -> None:
        """Undoes what the transaction has done since that place."""
        self.driver.execute("ROLLBACK TO SAVEPOINT place")

    def is_lost(self, error: BaseException) -> bool:
        """True if an error says that the connection does not work any more."""
        return self.dialect.is_disconnect(error, self._pooled, None)  # type: ignore[arg-type]

    def roll_back(self) -> None:
        """Ends the transaction without its changes. A connection that cannot do that is not used again."""
        try:
            self.driver.rollback()
        except self.dialect.loaded_dbapi.Error:
            self.discard()

    def discard(self) -> None:
        """Closes the connection, so that nobody else gets it."""
        self._pooled.invalidate()

    def discard_all(self, engine: Engine, error: BaseException) -> None:
        """Closes the connection, and those in its pool that are as old when their turn comes."""
        engine.pool._invalidate(self._pooled, error)  # noqa: SLF001 # as SQLAlchemy's own connections do

    def give_back(self) -> None:
        """Returns the connection to its pool, after its transaction has ended."""
        self._pooled.close()


def take(engine: Engine, *, writes: bool) -> DriverConnection:
    """A connection of an engine's pool, in a transaction that has begun. Raises the driver's own errors.

    The pool's connections may have been lost while they were idle. BEGIN shows that, with no work of anybody's: asking
    each of them before would cost PostgreSQL a round trip more for every transaction.
    """
    connection = DriverConnection(engine.raw_connection(), engine.dialect)
    try:
        connection.begin(writes=writes)
    except BaseException as error:
        if not connection.is_lost(error):
            connection.roll_back()
            connection.give_back()
            raise
        connection.discard_all(engine, error)
        connection = DriverConnection(engine.raw_connection(), engine.dialect)
        connection.begin(writes=writes)
    return connection


class transaction:  # noqa: N801 - reads as a function where it is used, and costs a third of a generator
    """The transaction that a connection is in, as a `with` block. It gives the connection back: commits at the end,
    rolls back on an exception. Errors of the driver become those of `errors`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: DriverConnection) -> None:
        self._connection = connection

    def __enter__(self) -> DriverConnection:
        return self._connection

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        connection = self._connection
        try:
            with translated(connection.dialect.loaded_dbapi):
                if error is not None:
                    raise error
                connection.driver.commit()
        except Disconnected:
            # There is nothing to roll back any more, or its server takes no writes.
            connection.discard()
            raise
        except BaseException:
            connection.roll_back()
            raise
        finally:
            connection.give_back()
