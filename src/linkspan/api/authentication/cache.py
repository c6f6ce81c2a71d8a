"""A cache of validated credentials, so that most requests need no query.

A credential is kept only as an HMAC under a key of this process: the time of a look-up reveals nothing about a password
or token, and a memory dump contains none. The oldest entry is evicted first. Thread-safe.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

TRUST: Final = 5.0
"""Seconds for which a user of the database is not looked up again; a removed user keeps access for as long."""
ROOM: Final = 4096
"""Entries of a cache."""


class Cache(Generic[_T]):
    """Values by credential."""

    def __init__(self, room: int = ROOM) -> None:
        self._key = secrets.token_bytes(32)
        self._room = room
        self._values: dict[bytes, _T] = {}
        self._lock = threading.Lock()

    def digest(self, credential: bytes) -> bytes:
        """Returns the key of a credential."""
        return hmac.digest(self._key, credential, hashlib.sha256)

    def get(self, digest: bytes) -> _T | None:
        """Returns the value of a key, or None."""
        return self._values.get(digest)

    def put(self, digest: bytes, value: _T) -> None:
        """Keeps a value."""
        with self._lock:
            self._values.pop(digest, None)
            if len(self._values) >= self._room:
                del self._values[next(iter(self._values))]
            self._values[digest] = value

    def drop(self, digest: bytes) -> None:
        """Removes a value."""
        with self._lock:
            self._values.pop(digest, None)
