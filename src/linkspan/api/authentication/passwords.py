"""Password verification with argon2, a few at a time: each takes 64 MB and a core, on purpose.

An unknown user name takes as long as a wrong password. Nothing is cached.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from linkspan.core.errors import ApiError
from linkspan.store.identity.users import hash_password, verify_password

AT_ONCE: Final = 2
"""Passwords that are verified at a time."""
PATIENCE: Final = 10.0
"""Seconds that a password waits for its turn."""


class Passwords:
    """Limits how many passwords are verified at a time. Thread-safe; one per process."""

    def __init__(self) -> None:
        self._unknown_user = hash_password(secrets.token_urlsafe(16))
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def check(self, password_hash: str | None, password: str) -> bool:
        """Returns whether a password matches a hash. None means an unknown user: False, after the same time.

        Raises ApiError ServiceUnavailable under too many logins.
        """
        with self._turn():
            good = verify_password(password_hash or self._unknown_user, password)
        return good and password_hash is not None

    def hash(self, password: str) -> str:
        """Returns the hash to store. Raises ApiError ServiceUnavailable under too many logins."""
        with self._turn():
            return hash_password(password)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=PATIENCE):
            raise ApiError("ServiceUnavailable", "Too many logins at a time: try again in a moment")
        try:
            yield
        finally:
            self._turns.release()
