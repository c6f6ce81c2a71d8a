"""Rotation of the keys that seal secrets: envelopes under other keys are sealed anew, while everything goes on.

Each transaction exchanges a page of envelopes, each one only if it is still what was read: a secret that somebody
writes meanwhile stays. Neither revisions nor names of secrets change, so no agent is woken and no tunnel touched. What
has been done is what the rows say, so a rotation that was killed continues when it is run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from linkspan.store import audit
from linkspan.store.envelopes import KeyFileError
from linkspan.store.rows import encryption_keys
from linkspan.store.rows.encryption_keys import SEALED, SealedColumn
from linkspan.store.store import Conflict, Store
from linkspan.store.transaction import Transaction

PAGE: Final = 100
"""Envelopes of one transaction."""
SETTLE: Final = 1.0
"""Seconds until it is looked again for envelopes of transactions that had begun under the key before."""
PASSES: Final = 60
"""Passes over all envelopes: each finds only what was written under another key since the one before it."""
ATTEMPTS: Final = 100
"""How often a page is tried that meets other transactions."""


class Rewrapped(msgspec.Struct):
    """What a rotation has done: envelopes sealed anew, and those that do not open (`noun id`)."""

    sealed: int = 0
    unreadable: tuple[str, ...] = ()


def rewrap(store: Store, progress: Callable[[int], None], settle: float = SETTLE) -> Rewrapped:
    """Seals every envelope under the sealing key. `progress` gets the number of envelopes sealed so far."""
    result = Rewrapped()
    for _ in range(PASSES):
        result.unreadable, missed = (), False
        before = result.sealed
        for page in _pages(store):
            result.sealed += page.sealed
            result.unreadable += page.unreadable
            missed = missed or page.missed
            progress(result.sealed)
        if result.sealed == before and not missed:
            break
        time.sleep(settle)
    with store.write(repeatable=True) as tx:
        audit.reseal(tx)
    return result


class Page(NamedTuple):
    """What became of some envelopes: the last id, how many were sealed, which do not open, and whether somebody wrote
    one of them meanwhile."""

    last: str
    sealed: int
    unreadable: tuple[str, ...]
    missed: bool


def _pages(store: Store) -> Iterator[Page]:
    for column in SEALED:
        after = ""
        while page := _next_page(store, column, after):
            yield page
            after = page.last


def _next_page(store: Store, column: SealedColumn, after: str) -> Page | None:
    for attempt in range(ATTEMPTS):
        try:
            with store.write(repeatable=True) as tx:
                return rewrap_page(tx, column, after)
        except Conflict:
            time.sleep(0.01 * min(attempt + 1, 20))
    with store.write(repeatable=True) as tx:
        return rewrap_page(tx, column, after)


def rewrap_page(tx: Transaction, column: SealedColumn, after: str, most: int = PAGE) -> Page | None:
    """Seals the envelopes behind an id under the sealing key; None: there are no more."""
    rows = encryption_keys.rows_under_others(tx, column, after, most)
    sealed, unreadable, missed = 0, [], False
    for row in rows:
        try:
            secret = tx.keyring.open(row.key_id, row.ciphertext, row.project_id, row.sealed_for, column.name)
        except KeyFileError:
            unreadable.append(f"{column.table.name} {row.id}")
            continue
        if encryption_keys.swap(tx, column, row, tx.keyring.seal(secret, row.project_id, row.sealed_for, column.name)):
            sealed += 1
        else:
            missed = True
    return Page(rows[-1].id, sealed, tuple(unreadable), missed) if rows else None
