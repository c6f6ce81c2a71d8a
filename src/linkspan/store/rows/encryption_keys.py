"""The keys that a database was written with, and the rows that each of them seals.

A key file of another database is refused at start, not when the first secret cannot be opened. A rotation goes
through `SEALED`, every column with envelopes; their foreign keys keep the row of a key that an envelope needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Table, bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import AUDIT_HEAD, ENCRYPTION_KEY, METADATA
from linkspan.store.envelopes import Envelope, KeyFileError
from linkspan.store.transaction import Transaction


class SealedColumn:
    """A column with envelopes, beside it `…_key_id`: its statements. The additional data of an envelope is the project
    (empty where rows have none), the id and the name of the column; of an earlier configuration it is the id of its
    connection, whose envelope it has."""

    def __init__(self, table: Table, name: str) -> None:
        self.table = table
        self.name = name
        ciphertext, key_id = table.c[name], table.c[f"{name}_key_id"]
        self.count = Statement(select(key_id, func.count()).where(ciphertext.is_not(None)).group_by(key_id))
        self.needs = Statement(select(table.c.id).where(key_id == bindparam("key_id")).limit(1))
        project = table.c["project_id"] if "project_id" in table.c else literal_column("''")
        self.page = Statement(
            select(table.c.id, project, ciphertext, key_id, table.c.get("connection_id", table.c.id))
            .where(key_id != bindparam("current"), table.c.id > bindparam("after"))
            .order_by(table.c.id)
            .limit(bindparam("most", type_=None))
        )
        self.swap = Statement(
            update(table)
            .where(table.c.id == bindparam("id_"), ciphertext == bindparam("old"), key_id == bindparam("old_key"))
            .values({name: bindparam("new"), f"{name}_key_id": bindparam("new_key")})
        )


SEALED: Final = tuple(
    SealedColumn(table, column.name.removesuffix("_key_id"))
    for table in METADATA.sorted_tables
    for column in table.c
    if any(key.column.table is ENCRYPTION_KEY for key in column.foreign_keys)
)
"""Every column with envelopes: those whose key is a foreign key."""


class SealedRow(NamedTuple):
    """The envelope of one row. `sealed_for`: the id in its additional data."""

    id: str
    project_id: str
    ciphertext: bytes
    key_id: str
    sealed_for: str


class KnownKey(NamedTuple):
    """A key that the database knows, and how many envelopes are under it."""

    id: str
    created_at: float
    sealed: int


_known: Final = Statement(select(ENCRYPTION_KEY.c.id, ENCRYPTION_KEY.c.proof))
_all: Final = Statement(
    select(ENCRYPTION_KEY.c.id, ENCRYPTION_KEY.c.created_at).order_by(ENCRYPTION_KEY.c.created_at, ENCRYPTION_KEY.c.id)
)
# Processes that take up the same file at once add the same keys.
_add: Final = Statement(insert(ENCRYPTION_KEY).on_conflict_do_nothing(), ENCRYPTION_KEY.columns.keys())
_remove: Final = Statement(delete(ENCRYPTION_KEY).where(ENCRYPTION_KEY.c.id == bindparam("id")))
_of_head: Final = Statement(select(AUDIT_HEAD.c.key_id))


def register(tx: Transaction, check: bool = True) -> None:
    """Records the keyring's keys that the database does not know. `check`: raises `KeyFileError` if the database knows
    others by these names, or needs one that the keyring lacks."""
    known = {id: bytes(proof) for id, proof in tx.rows(_known)}
    for id, proof in known.items():
        lacks = id not in tx.keyring.ids and _needed(tx, id)
        if check and (lacks or (id in tx.keyring.ids and not tx.keyring.proves(id, proof))):
            raise KeyFileError(
                f"the key file is not this database's: it lacks key {id}, or has another one by that name"
            )
    # Keys that came together are of one moment: a later one is a key that is to seal next.
    now = tx.wall
    for id in tx.keyring.ids:
        if id not in known:
            tx.run(_add, id=id, proof=tx.keyring.proof(id), created_at=now)


def _needed(tx: Transaction, key_id: str) -> bool:
    return any(tx.first(column.needs, key_id=key_id) for column in SEALED)


def known_keys(tx: Transaction) -> list[KnownKey]:
    """The keys that the database knows, the oldest one first. The audit trail's newest seal counts as an envelope."""
    counts: dict[str, int] = {}
    for column in SEALED:
        for key_id, count in tx.rows(column.count):
            counts[key_id] = counts.get(key_id, 0) + count
    for (key_id,) in tx.rows(_of_head):
        counts[key_id] = counts.get(key_id, 0) + 1
    return [KnownKey(id, created_at, counts.get(id, 0)) for id, created_at in tx.rows(_all)]


def rows_under_others(tx: Transaction, column: SealedColumn, after: str, most: int) -> Sequence[SealedRow]:
    """Envelopes that are not under the sealing key, behind an id, in the order of ids."""
    rows: Sequence[Any] = tx.rows(column.page, current=tx.keyring.current, after=after, most=most)
    return [SealedRow(id, project, bytes(text), key_id, sealed_for) for id, project, text, key_id, sealed_for in rows]


def swap(tx: Transaction, column: SealedColumn, row: SealedRow, envelope: Envelope) -> bool:
    """Exchanges an envelope if it is still the one that was read; False: somebody wrote the secret meanwhile."""
    return bool(
        tx.run(
            column.swap,
            id_=row.id,
            old=row.ciphertext,
            old_key=row.key_id,
            new=envelope.ciphertext,
            new_key=envelope.key_id,
        )
    )


def remove(tx: Transaction, key_id: str) -> None:
    """Removes a key from those that the database knows. Raises `Conflict` at the latest in the commit if an envelope is
    under it."""
    tx.run(_remove, id=key_id)
