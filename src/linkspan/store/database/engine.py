"""Engines: SQLite and PostgreSQL behind one URL, each configured to be durable and to fail in time."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine import URL, make_url

from linkspan.store.database.connections import DriverConnection

BUSY: Final = 10.0
"""Seconds to wait for a lock of the database."""


class DatabaseLocked(Exception):
    """Another process holds this SQLite file; the text says what to do."""


class FileLock:
    """An exclusive lock beside the database file. The kernel lets go of it when the process dies."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise DatabaseLocked(
                f"another linkspan api uses {database}: stop it, or use PostgreSQL for several"
            ) from None

    def release(self) -> None:
        """Lets go. Twice equals once."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def lock(engine: Engine) -> FileLock | None:
    """Takes the SQLite file for this process; None where several may work. Raises `DatabaseLocked`."""
    path = database_file(engine)
    return None if path is None else FileLock(path)


def database_file(engine: Engine) -> Path | None:
    """The SQLite file of an engine, None for PostgreSQL."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    return Path(engine.url.database).absolute()


def connect(url: str, *, pool: int = 16) -> Engine:
    """An engine from `sqlite:///path` or `postgresql://…`; `pool` is the most connections at a time.

    Nothing is connected yet, but the folder of a SQLite file is made (mode 0700).
    """
    where = make_url(url)
    match where.get_backend_name():
        case "sqlite":
            return _sqlite(where, pool)
        case "postgresql":
            return _postgresql(where, pool)
        case other:
            raise ValueError(f"cannot use a {other} database: give sqlite:///FILE or postgresql://HOST/NAME")


def _sqlite(url: URL, pool: int) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ValueError("a database in memory is lost with the process: give sqlite:///FILE")
    path = Path(url.database).absolute()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=pool,
        max_overflow=0,
        pool_timeout=BUSY,
        # The connection that was used last has its statements and pages at hand.
        pool_use_lifo=True,
        pool_reset_on_return="rollback",
        hide_parameters=True,
        connect_args={"timeout": BUSY, "check_same_thread": False, "cached_statements": 512},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    # None: the driver begins no transactions of its own; `_begin` does.
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        "cache_size = -16000",
        "secure_delete = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("linkspan_writes", False)
    # At the driver: on its way through SQLAlchemy it would cost as much as a look-up.
    connection.connection.cursor().execute("BEGIN IMMEDIATE" if writes else "BEGIN")


# Milliseconds. Compiling queries to machine code pays for reports over millions of rows, not for ours. Beyond the
# limits for joins (8 tables) PostgreSQL takes them in the order of the statement, and would read whole tables.
_SERVER_SETTINGS: Final[dict[str, Any]] = {
    "lock_timeout": 5_000,
    "statement_timeout": 8_000,
    "idle_in_transaction_session_timeout": 60_000,
    "jit": "off",
    "join_collapse_limit": 20,
    "from_collapse_limit": 20,
    # Of a flash disk, not of a turning one: ours want few rows of large tables, by index.
    "random_page_cost": 1.1,
}


def _postgresql(url: URL, pool: int) -> Engine:
    # Late: it imports psycopg, which SQLite does not need.
    from linkspan.store.database import deadlines

    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=pool,
        max_overflow=0,
        pool_timeout=BUSY,
        # The connection that was used last has its statements and pages at hand.
        pool_use_lifo=True,
        pool_recycle=1800,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        connect_args={
            "connect_timeout": 3,
            "application_name": "linkspan",
            "options": " ".join(f"-c {name}={value}" for name, value in _SERVER_SETTINGS.items()),
            # A server that vanished is noticed within half a minute.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    deadlines.install(engine)
    return engine


def wait_for_ever(connection: Connection | DriverConnection) -> None:
    """Lifts every deadline for the transaction of a connection: a migration may rewrite large tables."""
    if connection.dialect.name == "postgresql":
        driver: Any = (
            connection.driver if isinstance(connection, DriverConnection) else connection.connection.dbapi_connection
        )
        driver.patience = None
        driver.execute("SET LOCAL statement_timeout = 0")
        driver.execute("SET LOCAL lock_timeout = 0")


def reader(engine: Engine) -> Engine:
    """The same engine, its transactions begun for reading: all that one reads is of one moment."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def writer(engine: Engine) -> Engine:
    """The same engine, its transactions begun for writing."""
    return engine.execution_options(linkspan_writes=True) if engine.dialect.name == "sqlite" else engine
