"""Envelopes for what must not be readable in the database: AES-256-GCM under a key that lives in a file beside it.

The additional data of an envelope is `project|object|field`, so a ciphertext means nothing in another row. The id of
the key is kept beside each envelope and the keyring holds several keys, so that keys can be rotated. A keyring follows
its file: a key that it does not know is looked up there again.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from linkspan.core.secret import Secret
from linkspan.store.key_file import KeyFile, KeyFileError, Keys, KeysUnavailable

__all__ = ["Envelope", "KeyFileError", "Keyring", "KeysUnavailable", "load_keyring"]

RETIRED: Final = 120.0
"""Seconds for which a key that has left the file still opens: a transaction may read what was before."""
RETRY: Final = 1.0
"""Seconds between two attempts to read a key file that cannot be used."""
_NONCE: Final = 12

_log = structlog.get_logger("store.envelopes")


class Envelope(msgspec.Struct, frozen=True):
    """An envelope and the id of its key."""

    key_id: str
    ciphertext: bytes


class _Material(msgspec.Struct, frozen=True):
    """The keys of one state of a key file, ready for use."""

    ciphers: dict[str, AESGCM]
    current: str
    sealing: dict[str, bytes]
    naming: bytes


def naming_key(keys: Keys) -> bytes:
    """The key that names secrets: the one of its line, or derived from the sealing one."""
    return keys.names or hmac.digest(next(iter(keys.by_id.values())), b"linkspan: names of secrets", "sha256")


def _material(keys: Keys) -> _Material:
    if not keys.by_id or any(len(key) != 32 for key in keys.by_id.values()):
        raise KeyFileError("a keyring needs at least one key, each of 32 bytes")
    return _Material(
        {id: AESGCM(key) for id, key in keys.by_id.items()},
        next(iter(keys.by_id)),
        {id: hmac.digest(key, b"linkspan: audit trail", "sha256") for id, key in keys.by_id.items()},
        naming_key(keys),
    )


class Keyring:
    """Keys by id; the first one seals, every one opens. Thread-safe. With `file` it follows what is in there."""

    def __init__(self, keys: dict[str, bytes] | Keys, file: KeyFile | None = None) -> None:
        keys = keys if isinstance(keys, Keys) else Keys(keys)
        self._material = _material(keys)
        self._file = file
        self._identity = keys.identity
        self._retired: dict[str, tuple[float, AESGCM]] = {}
        self._lock = threading.Lock()
        self._failed_at = -RETRY
        self.version = 0
        """Goes up with each state of the file that was taken up."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys, the sealing one first."""
        return tuple(self._material.ciphers)

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return self._material.current

    def refresh(self) -> None:
        """Takes up a key file that was replaced. One that cannot be used is logged, and what is known stays."""
        if self._file is None or not self._has_other_file():
            return
        with self._lock:
            if not self._has_other_file() or time.monotonic() - self._failed_at < RETRY:
                return
            try:
                keys = self._file.read()
                material = _material(keys)
            except (KeyFileError, KeysUnavailable) as error:
                self._failed_at = time.monotonic()
                _log.warning(
                    "the key file has changed and cannot be used; the keys stay as they were", error=str(error)
                )
                return
            now = time.monotonic()
            left = {id: (now, cipher) for id, cipher in self._material.ciphers.items() if id not in material.ciphers}
            self._retired = {id: kept for id, kept in self._retired.items() if now - kept[0] < RETIRED} | left
            self._material = material
            self._identity = keys.identity
            self.version += 1

    def _has_other_file(self) -> bool:
        """True if the file is not the one that was read. What was read is good until there is another one."""
        identity = None if self._file is None else self._file.identity()
        return identity is not None and identity != self._identity

    def _cipher(self, key_id: str) -> AESGCM | None:
        cipher = self._material.ciphers.get(key_id)
        if cipher is None:
            self.refresh()
            cipher = self._material.ciphers.get(key_id)
        if cipher is None and key_id in self._retired:
            at, retired = self._retired[key_id]
            cipher = retired if time.monotonic() - at < RETIRED else None
        if cipher is None and self._has_other_file():
            raise KeysUnavailable(f"the key {key_id} cannot be had now: the key file cannot be used, see the log")
        return cipher

    def seal(self, secret: Secret, project: str, id: str, field: str) -> Envelope:
        """Puts a secret into an envelope that opens only for this project, object and field."""
        nonce = os.urandom(_NONCE)
        about = f"{project}|{id}|{field}".encode()
        text = secret.reveal().encode()
        material = self._material
        return Envelope(material.current, nonce + material.ciphers[material.current].encrypt(nonce, text, about))

    def open(self, key_id: str, ciphertext: bytes, project: str, id: str, field: str) -> Secret:
        """The secret in an envelope. Raises `KeyFileError` if the envelope is damaged, or key, row or field is not the
        one it was sealed for; `KeysUnavailable` if its key can only be had later."""
        key = self._cipher(key_id)
        if key is None:
            raise KeyFileError(f"the {field} of {id} is under key {key_id}, which is not in the key file")
        try:
            text = key.decrypt(ciphertext[:_NONCE], ciphertext[_NONCE:], f"{project}|{id}|{field}".encode())
            return Secret(text.decode())
        except (InvalidTag, ValueError):
            raise KeyFileError(f"the {field} of {id} does not open: it was not sealed for this row") from None

    def try_open(
        self, key_id: str | None, ciphertext: bytes, project: str, id: str, field: str
    ) -> tuple[Secret | None, str]:
        """The secret in an envelope; or None, and a sentence that says why it cannot be read and what to do. Whoever
        reads many objects goes on with the others."""
        try:
            return self.open(key_id or "", ciphertext, project, id, field), ""
        except KeyFileError as error:
            return None, f"the stored {field} cannot be read ({error}): write it again"

    def name(self, secret: Secret, project: str) -> str:
        """A name that does not tell a secret and is the same for the same secret of a project.

        Nodes compare names: connections to one peer with one key share its IKE SA, and a new key is a new name.
        """
        return hmac.digest(self._material.naming, f"{project}|{secret.reveal()}".encode(), "sha256").hex()[:16]

    def seal_audit(self, text: bytes) -> tuple[str, str]:
        """The id of the sealing key, and its seal of a text of the audit trail."""
        current = self.current
        return current, self._audit_seal(current, text)

    def sealed_audit(self, key_id: str, seal: str, text: bytes) -> bool:
        """True if a seal was made with the key of this id."""
        if key_id not in self._material.sealing:
            self.refresh()
        return key_id in self._material.sealing and hmac.compare_digest(self._audit_seal(key_id, text), seal)

    def _audit_seal(self, key_id: str, text: bytes) -> str:
        return hmac.digest(self._material.sealing[key_id], text, "sha256").hex()

    def proof(self, key_id: str) -> bytes:
        """A known text under a key, kept in the database to recognise the key by."""
        nonce = os.urandom(_NONCE)
        return nonce + self._material.ciphers[key_id].encrypt(nonce, b"linkspan", key_id.encode())

    def proves(self, key_id: str, proof: bytes) -> bool:
        """True if a proof was made with the key of this id."""
        key = self._material.ciphers.get(key_id)
        if key is None:
            return False
        try:
            key.decrypt(proof[:_NONCE], proof[_NONCE:], key_id.encode())
        except InvalidTag:
            return False
        return True


def load_keyring(path: Path | KeyFile, *, make: bool = True) -> Keyring:
    """The keyring of a key file, which it follows. `make`: a missing file is made, mode 0400, with one random key.

    Raises `KeyFileError` and `KeysUnavailable`.
    """
    file = path if isinstance(path, KeyFile) else KeyFile(path)
    if make:
        file.make()
    return Keyring(file.read(), file)
