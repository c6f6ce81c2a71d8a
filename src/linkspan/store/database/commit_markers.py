"""Markers of transactions, by which the outcome of a COMMIT shows whose connection was lost.

The marker's id is chosen before the commit, and its row is written in the same message as the COMMIT: it is there if
and only if the transaction committed, also on a standby that took over. To look it up is to write it: the look-up waits
for a transaction that is still committing, and a server that was stopped and goes on later finds the id taken, so that
its transaction fails. A marker costs no round trip and is kept for an hour.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from linkspan.store.database.connections import DriverConnection
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import COMMIT_MARKER

KEEP: Final = 3600.0
"""Seconds."""

_claim: Final = Statement(insert(COMMIT_MARKER).on_conflict_do_nothing())
_committed: Final = Statement(select(COMMIT_MARKER.c.committed).where(COMMIT_MARKER.c.id == bindparam("id")))
purge: Final = Statement(delete(COMMIT_MARKER).where(COMMIT_MARKER.c.at < bindparam("now") - KEEP))


def commit(connection: DriverConnection, id: str, now: float) -> None:
    """Commits the transaction of a connection to PostgreSQL with its marker; `id` is a UUID. Without a statement before
    there is nothing to commit."""
    if connection.driver.info.transaction_status:
        row = f"('{id}', {now!r}, true)"
        connection.driver.execute(f"INSERT INTO {COMMIT_MARKER.name} (id, at, committed) VALUES {row}; COMMIT")  # noqa: S608


def has_committed(connection: DriverConnection, id: str, now: float) -> bool:
    """True if the transaction with this marker has committed; False if it never will, once this one has committed."""
    _claim.run(connection, {"id": id, "at": now, "committed": False})
    ((committed,),) = _committed.rows(connection, {"id": id})
    return bool(committed)
