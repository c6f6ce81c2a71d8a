"""Pre-shared keys that connections had before: kept under the same encryption, until their time is over.

A rotation ends on the lease clock, which stands still while no API process can write: nodes that cannot be told of its
end go on with both keys.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, delete, select

from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PreviousKey
from linkspan.store import revisions
from linkspan.store.database.statements import Statement, upsert
from linkspan.store.database.tables import PREVIOUS_KEY
from linkspan.store.transaction import Transaction

NAME: Final = "previous_psk"

_put: Final = upsert(PREVIOUS_KEY, "id")
_remove: Final = Statement(delete(PREVIOUS_KEY).where(PREVIOUS_KEY.c.id == bindparam("id")))
_over: Final = Statement(select(PREVIOUS_KEY.c.id).where(PREVIOUS_KEY.c.ends_at <= bindparam("now")).limit(1))
_remove_over: Final = Statement(
    delete(PREVIOUS_KEY).where(PREVIOUS_KEY.c.ends_at <= bindparam("now")).returning(PREVIOUS_KEY.c.id)
)


def keep(tx: Transaction, id: str, project: str, key: Secret, grace: float) -> None:
    """Keeps the key that a connection had before, for some seconds, in the place of an earlier one. With 0 it keeps
    none."""
    if grace <= 0:
        tx.run(_remove, id=id)
        return
    sealed = tx.keyring.seal(key, project, id, NAME)
    values: dict[str, Any] = {
        NAME: sealed.ciphertext,
        f"{NAME}_key_id": sealed.key_id,
        f"{NAME}_ref": tx.keyring.name(key, project),
    }
    tx.run(_put, id=id, project_id=project, ends_at=tx.now + grace, **values)


def opened(
    tx: Transaction, project: str, id: str, ciphertext: bytes | None, key_id: str | None, ref: str | None
) -> PreviousKey | None:
    """The previous key out of its columns; None without one, and if it cannot be read: then it counts as over."""
    if ciphertext is None:
        return None
    key, _ = tx.keyring.try_open(key_id, bytes(ciphertext), project, id, NAME)
    return PreviousKey(key, ref or "") if key else None


def any_over(tx: Transaction) -> bool:
    """True if the time of a key is over."""
    return tx.first(_over, now=tx.now) is not None


def remove_over(tx: Transaction) -> int:
    """Removes the keys whose time is over, and has the nodes read their connections again; how many."""
    ids = [id for (id,) in tx.rows(_remove_over, now=tx.now)]
    revisions.touch(tx, connections=ids)
    return len(ids)
