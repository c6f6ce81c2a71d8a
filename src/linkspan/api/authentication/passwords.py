"""Passwords compared with argon2, a few at a time: each takes 64 MB and a core, on purpose.

A name that does not exist costs what a wrong password costs. It remembers nothing.
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
"""Passwords that are compared at a time."""
PATIENCE: Final = 10.0
"""Seconds that a password waits for its turn."""


class Passwords:
    """Turns for whoever compares a password. Thread-safe; one for a process."""

    def __init__(self) -> None:
        self._nobody = hash_password(secrets.token_urlsafe(16))
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def check(self, password_hash: str | None, password: str) -> bool:
        """Whether a password is the one of a hash; None: of nobody, which takes as long.

        Raises Problem ServiceUnavailable under a flood of them.
        """
        with self._turn():
            good = verify_password(password_hash or self._nobody, password)
        return good and password_hash is not None

    def hash(self, password: str) -> str:
        """The hash to keep. Raises Problem ServiceUnavailable under a flood of them."""
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
