"""Database errors as a few exceptions: retry the transaction, wait for the database, or come back later.

Every other error of a driver is a defect of the code and passes unchanged. Texts never contain a statement, a parameter
or a row.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from sqlalchemy import exc


class Conflict(Exception):
    """Another transaction got there first: nothing was written, the request may be started again."""


class Unavailable(Exception):
    """The database cannot be reached or cannot write now (gone, full, overloaded): nothing is known to be written."""


class Unwritable(Unavailable):
    """The database can be read, but its disk is full, read-only or defective; the text is for users."""


class Disconnected(Unavailable):
    """The server is gone, does not answer or takes no writes, as during a failover: a new connection may find one that
    does. Nothing was written, unless the connection was lost in its COMMIT (`InDoubt`)."""


class InDoubt(Disconnected):
    """The connection was lost in its COMMIT: the transaction may have committed."""


class OutcomeUnknown(Unavailable):
    """The connection was lost in its COMMIT, and no database could say in time whether the transaction committed."""


# A foreign key, a unique or a primary key; on PostgreSQL also: serialization failure, deadlock, lock not available.
_CONFLICTS: Final = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        "23503",
        "23505",
        "40001",
        "40P01",
        "55P03",
    }
)

# Shut down by an operator, crashed, still starting, too many connections.
_AWAY: Final = frozenset({"57P01", "57P02", "57P03", "53300"})
# A write on a standby; on some statements it is a feature that is not supported "during recovery".
_READ_ONLY: Final = frozenset({"25006", "0A000"})


_DISK: Final[dict[int | str | None, str]] = {
    sqlite3.SQLITE_FULL: "The disk of the database is full",
    sqlite3.SQLITE_READONLY: "The database cannot be written, because its file or its disk is read-only",
    sqlite3.SQLITE_IOERR: "The disk of the database fails",
    "53100": "The disk of the database is full",
}


class translated:  # noqa: N801 - reads as a function where it is used, and costs a third of a generator
    """Errors of a driver in a `with` block, bare or wrapped by SQLAlchemy, -> `Conflict` and `Unavailable`."""

    __slots__ = ("_dbapi",)

    def __init__(self, dbapi: Any) -> None:
        self._dbapi = dbapi

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and (translation := _translation(error, self._dbapi)) is not None:
            raise translation from error


def _translation(error: BaseException, dbapi: Any) -> Conflict | Unavailable | None:
    """What an error means; None if it is not a driver's, or a defect of the code."""
    if isinstance(error, exc.TimeoutError):
        return Unavailable("every connection to the database is busy")
    if not isinstance(error, dbapi.Error | exc.DBAPIError):
        return None
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None) or getattr(cause, "sqlstate", None)
    if code in _CONFLICTS:
        return Conflict(f"another transaction was faster ({type(cause).__name__} {code})")
    if (fault := _disk_fault(code)) is not None:
        return Unwritable(f"{fault}: what exists works on, and can be changed when that is mended")
    if code in _READ_ONLY:
        return Disconnected(
            f"the database takes no writes, it is a standby or read-only ({_line(cause)}): name its primary, or "
            "all servers with target_session_attrs=read-write"
        )
    if isinstance(cause, dbapi.OperationalError | dbapi.InterfaceError) and code != sqlite3.SQLITE_ERROR:
        # Without a code: psycopg's own errors, of the connection. Class 08: the server's.
        is_away = code is None or code in _AWAY or str(code).startswith("08")
        kind = Disconnected if is_away else Unavailable
        return kind(f"the database does not answer: {_line(cause)}")
    return None


def _disk_fault(code: int | str | None) -> str | None:
    # SQLite's extended codes have the plain one in their lowest byte.
    return _DISK.get(code & 0xFF if isinstance(code, int) else code)


def _line(cause: object) -> str:
    lines = str(cause).splitlines()
    return lines[0] if lines else type(cause).__name__
