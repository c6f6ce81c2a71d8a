"""Changes the keys that seal secrets, in the key file and the database, in an order that can be broken off anywhere.

A new key is first in the file only to open, then known to the database, then the one that seals; then the envelopes
follow. An old key leaves the database first, whose foreign keys refuse that while an envelope is under it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import click

from linkspan.admin.operator import operator
from linkspan.store import audit, rotation
from linkspan.store.envelopes import Keyring, naming_key
from linkspan.store.key_file import NAMES, Entry, KeyFile, KeyFileError, KeysUnavailable, decode, new_key_id
from linkspan.store.rows import encryption_keys
from linkspan.store.rows.encryption_keys import KnownKey
from linkspan.store.store import Conflict, Store

RESOURCE = "encryption_key"


class Administration:
    """A store, and the key file that its keyring follows."""

    def __init__(self, store: Store, file: KeyFile, keyring: Keyring) -> None:
        self.store = store
        self.file = file
        self.keyring = keyring

    def overview(self) -> list[dict[str, Any]]:
        """Returns the keys of the database and the file."""
        rows = [
            {
                "id": key.id,
                "created_at": key.created_at,
                "sealed": key.sealed,
                "state": _state(key.id, self.keyring.ids),
            }
            for key in self._known()
        ]
        return sorted(rows, key=lambda row: (row["state"] != "seals", -row["created_at"]))

    def add(self) -> str:
        """Adds a key that opens and does not seal yet, for machines that get the file before it does; its id."""
        with self.file.locked():
            id = self._add()
            self._record("create", id)
            return id

    def rotate(self, progress: Callable[[int], None], notice: Callable[[str], None]) -> rotation.Rewrapped:
        """Makes another key the one that seals, and seals every envelope under it; a rotation that was broken off
        continues instead. Raises `KeyFileError`."""
        with self.file.locked():
            if self.file.is_credential:
                result = rotation.rewrap(self.store, progress)
                if result.sealed:
                    self._record("rotate", self.keyring.current)
                return result
            if (waiting := self._waiting()) is None:
                result = rotation.rewrap(self.store, progress)
                if result.sealed:
                    notice(f"continued the rotation to key {self.keyring.current}")
                    return result
                self._renew_wrapping(notice)
                waiting = self._add()
            self._promote(waiting)
            self._record("rotate", waiting)
            return rotation.rewrap(self.store, progress)

    def remove(self, id: str) -> None:
        """Removes a key. Raises ClickException while something needs it."""
        with self.file.locked():
            entries = self.file.entries()
            if id == self.keyring.current:
                raise click.ClickException(f"key {id} seals: run 'linkspan key rotate' first")
            known = {key.id: key for key in self._known()}
            if id not in known and id not in self.keyring.ids:
                raise click.ClickException(f"no key with the id '{id}': see 'linkspan key list'")
            sealed = known[id].sealed if id in known else 0
            if sealed:
                raise click.ClickException(f"{sealed} secrets are under key {id}: run 'linkspan key rotate' first")
            try:
                with self.store.write() as tx:
                    encryption_keys.remove(tx, id)
                    audit.record(tx, operator(), "delete", RESOURCE, id)
                    # Inside the transaction: what the database knows has to be in the file.
                    if any(entry.id == id for entry in entries):
                        self.file.replace(entry for entry in entries if entry.id != id)
            except Conflict:
                self.file.replace(entries)
                raise click.ClickException(
                    f"a secret was written under key {id} meanwhile: run 'linkspan key rotate' first"
                ) from None

    def removable(self) -> list[str]:
        """Returns the ids of the keys that nothing needs, older than the one that seals."""
        known = self._known()
        made = {key.id: key.created_at for key in known}
        current = self.keyring.current
        return [
            key.id for key in known if key.id != current and not key.sealed and key.created_at <= made.get(current, 0.0)
        ]

    def _known(self) -> list[KnownKey]:
        with self.store.read() as tx:
            return encryption_keys.known_keys(tx)

    def _waiting(self) -> str | None:
        """Returns the key that was added after the one that seals, the newest one."""
        made = {key.id: key.created_at for key in self._known()}
        ids = [id for id in self.keyring.ids if made.get(id, 0.0) > made[self.keyring.current]]
        return max(ids, key=lambda id: made[id], default=None)

    def _add(self) -> str:
        if self.file.is_credential:
            raise KeyFileError(
                f"the key file {self.file.path} is a systemd credential: add the key to that, and start anew"
            )
        id = new_key_id()
        entries = [entry for entry in self.file.entries() if entry.id != NAMES]
        names = next((entry for entry in self.file.entries() if entry.id == NAMES), None)
        if names is None:
            # From now on names do not follow from the key that seals: a new name would be a new key for the nodes.
            names = Entry(NAMES, self.file.encoded(naming_key(self.file.read())))
        self.file.replace([*entries, Entry(id, self.file.encoded(secrets.token_bytes(32))), names])
        self._take_up()
        return id

    def _promote(self, id: str) -> None:
        entries = self.file.entries()
        self.file.replace(sorted(entries, key=lambda entry: (entry.id == NAMES, entry.id != id)))
        self._take_up()

    def _renew_wrapping(self, notice: Callable[[str], None]) -> None:
        """Has each line of the file encrypted by the newest version of the key-encryption key, if there is one."""
        wrapper = self.file.wrapper
        if wrapper is None:
            return
        if refusal := wrapper.rotate():
            notice(refusal)
        entries = []
        for entry in self.file.entries():
            if wrapper.wraps(entry.text):
                entries.append(Entry(entry.id, wrapper.rewrap(entry.text)))
            else:
                entries.append(Entry(entry.id, wrapper.wrap(decode(entry.text) or b"")))
        self.file.replace(entries)

    def _take_up(self) -> None:
        """Has the keyring read the file, and the database know its keys."""
        self.keyring.refresh()
        if self.keyring.ids != tuple(entry.id for entry in self.file.entries() if entry.id != NAMES):
            raise KeysUnavailable(f"the key file {self.file.path} cannot be used now: run this again")
        with self.store.write(repeatable=True):
            pass

    def _record(self, action: Any, id: str) -> None:
        with self.store.write() as tx:
            audit.record(tx, operator(), action, RESOURCE, id)


def _state(id: str, ids: tuple[str, ...]) -> str:
    if id == ids[0]:
        return "seals"
    return "opens" if id in ids else "not in the key file"
