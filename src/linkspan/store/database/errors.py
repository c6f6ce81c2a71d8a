"""Database errors as two exceptions: retry the transaction, or come back later.

Every other error of a driver is a defect of the code and passes unchanged. Texts never contain a statement, a parameter
or a row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import exc


class Conflict(Exception):
    """Another transaction got there first: nothing was written, the request may be started again."""


class Unavailable(Exception):
    """The database cannot be reached or cannot write now (gone, full, overloaded): nothing is known to be written."""


class Unwritable(Unavailable):
    """The database can be read, but its disk is full, read-only or defective; the text is for users."""


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


_DISK: Final[dict[int | str | None, str]] = {
    sqlite3.SQLITE_FULL: "The disk of the database is full",
    sqlite3.SQLITE_READONLY: "The database cannot be written, because its file or its disk is read-only",
    sqlite3.SQLITE_IOERR: "The disk of the database fails",
    "53100": "The disk of the database is full",
}


@contextmanager
def translated(dbapi: Any) -> Iterator[None]:
    """Errors of a driver, bare or wrapped by SQLAlchemy, -> `Conflict` and `Unavailable`."""
    try:
        yield
    except exc.TimeoutError as error:
        raise Unavailable("every connection to the database is busy") from error
    except (dbapi.Error, exc.DBAPIError) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", None) or getattr(cause, "sqlstate", None)
        if code in _CONFLICTS:
            raise Conflict(f"another transaction was faster ({type(cause).__name__} {code})") from error
        if (fault := _disk_fault(code)) is not None:
            raise Unwritable(f"{fault}: what exists works on, and can be changed when that is mended") from error
        if isinstance(cause, dbapi.OperationalError | dbapi.InterfaceError) and code != sqlite3.SQLITE_ERROR:
            raise Unavailable(f"the database does not answer: {_line(cause)}") from error
        raise


def _disk_fault(code: int | str | None) -> str | None:
    # SQLite's extended codes have the plain one in their lowest byte.
    return _DISK.get(code & 0xFF if isinstance(code, int) else code)


def _line(cause: object) -> str:
    lines = str(cause).splitlines()
    return lines[0] if lines else type(cause).__name__
