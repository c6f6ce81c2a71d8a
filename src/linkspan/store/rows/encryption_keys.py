"""The keys that a database was written with. A key file of another database is refused at start, not when the first
secret cannot be opened."""

from __future__ import annotations

from typing import Final

from sqlalchemy import insert, select

from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import ENCRYPTION_KEY
from linkspan.store.envelopes import KeyFileError
from linkspan.store.transaction import Transaction

_known: Final = Statement(select(ENCRYPTION_KEY.c.id, ENCRYPTION_KEY.c.proof))
_add: Final = Statement(insert(ENCRYPTION_KEY))


def register(tx: Transaction) -> None:
    """Records the keyring's keys that the database does not know. Raises `KeyFileError` if it knows others by these
    names, or needs one that the keyring lacks."""
    known = {id: bytes(proof) for id, proof in tx.rows(_known)}
    for id, proof in known.items():
        if not tx.keyring.proves(id, proof):
            raise KeyFileError(
                f"the key file is not this database's: it lacks key {id}, or has another one by that name"
            )
    for id in tx.keyring.ids:
        if id not in known:
            tx.run(_add, id=id, proof=tx.keyring.proof(id), created_at=tx.wall)
