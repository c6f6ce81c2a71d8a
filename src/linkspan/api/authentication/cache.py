"""What was found out about a credential a moment ago, so that a request costs no question.

A credential is kept only as a digest that this process alone can make: the time of a look-up tells nothing about any
password or token, and a copy of the memory holds none. What was put there first goes first. Thread-safe.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

TRUST: Final = 5.0
"""Seconds for which an identity of our own is used without asking the database: so long an ended user still gets in."""
ROOM: Final = 4096


class Cache(Generic[_T]):
    """Values by credential."""

    def __init__(self, room: int = ROOM) -> None:
        self._key = secrets.token_bytes(32)
        self._room = room
        self._values: dict[bytes, _T] = {}
        self._lock = threading.Lock()

    def digest(self, credential: bytes) -> bytes:
        """What a credential is known by here."""
        return hmac.digest(self._key, credential, hashlib.sha256)

    def get(self, digest: bytes) -> _T | None:
        """What was put there, or None."""
        return self._values.get(digest)

    def put(self, digest: bytes, value: _T) -> None:
        """Keeps a value."""
        with self._lock:
            self._values.pop(digest, None)
            if len(self._values) >= self._room:
                del self._values[next(iter(self._values))]
            self._values[digest] = value

    def drop(self, digest: bytes) -> None:
        """Forgets one."""
        with self._lock:
            self._values.pop(digest, None)
