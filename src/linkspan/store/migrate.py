"""Brings a database to the version of this program, by Alembic's files in `migrations`.

A database that is up to date costs one look at its version. It refuses a database that is newer than the program:
old code would write what the new code does not expect.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, exc, inspect, text

from linkspan.store.database.engine import reader, wait_for_ever, writer
from linkspan.store.database.errors import translated
from linkspan.store.migrations import HEAD

# Any number that nobody else uses as an advisory lock: two processes that start at once upgrade one after the other.
_LOCK = 0x6C696E6B


class TooNew(Exception):
    """The database was written by a newer version; the text says what to do."""


def version(engine: Engine) -> str | None:
    """The version of a database, None for an empty one."""
    try:
        with reader(engine).connect() as connection:
            return _version(connection)
    except (exc.OperationalError, exc.ProgrammingError):
        # Most often there is no such table; whatever else it is comes up again in what follows.
        return None


def _version(connection: Connection) -> str | None:
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def upgrade(engine: Engine) -> bool:
    """Brings a database to the newest version, all or nothing. Returns whether there was anything to do.

    Raises `TooNew` if the database is ahead of this program, `Unavailable` if it cannot be reached or written.
    """
    if version(engine) == HEAD:
        return False
    with translated(engine.dialect.loaded_dbapi), writer(engine).begin() as connection:
        wait_for_ever(connection)
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if inspect(connection).has_table("alembic_version") and _version(connection) == HEAD:
            return False
        upgrade_connection(connection, HEAD)
    return True


def upgrade_connection(connection: Connection, to: str) -> None:
    """Brings the database to a version, in the transaction of a connection. Raises `TooNew`."""
    # Late: these imports take longer than everything else at start-up.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise TooNew(f"this database is newer than this program: upgrade linkspan ({error})") from None
