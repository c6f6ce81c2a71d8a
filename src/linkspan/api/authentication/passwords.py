"""Password verification with argon2, a few at a time: each takes 64 MB and a core, on purpose.

An unknown user name takes as long as a wrong password. A password that was verified is not verified again as long as it
is used now and then and the stored hash is the same: so callers that are known never wait for strangers. Few
verifications wait; others are refused at once, so that their threads are free. A verification whose client has left
does not take place.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from linkspan.api.authentication.cache import Cache
from linkspan.core.errors import ApiError
from linkspan.store.identity.users import hash_password, verify_password

AT_ONCE: Final = 2
"""Passwords that are verified at a time."""
WAITING: Final = 32
"""Passwords that wait for their turn at most."""
PATIENCE: Final = 10.0
"""Seconds that a password waits for its turn."""
REMEMBERED: Final = 3600.0
"""Seconds after its last use for which a verified password is not verified again."""
RETRY: Final = 2.0
"""Seconds after which a login that was refused may be tried again."""
_NICE: Final = 10


def _stays() -> bool:
    return False


class Passwords:
    """Verifies and hashes passwords. Thread-safe; one per process."""

    def __init__(self) -> None:
        self._unknown_user = hash_password(secrets.token_urlsafe(16))
        self._known: Cache[float] = Cache()
        self._places = threading.BoundedSemaphore(AT_ONCE + WAITING)
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._workers = ThreadPoolExecutor(AT_ONCE, "argon2", initializer=_yield_processors)

    def check(self, password_hash: str | None, password: str, left: Callable[[], bool] = _stays) -> bool:
        """Returns whether a password matches a hash. None means an unknown user: False, after the same time.

        `left` returns whether the client has left. Raises ApiError ServiceUnavailable under too many logins.
        """
        if password_hash is not None and self._knows(password_hash, password):
            return True
        good = self._in_turn(verify_password, password_hash or self._unknown_user, password, left=left)
        if not good or password_hash is None:
            return False
        self._known.put(self._digest(password_hash, password), time.monotonic())
        return True

    def hash(self, password: str) -> str:
        """Returns the hash to store. Raises ApiError ServiceUnavailable under too many logins."""
        hashed: str = self._in_turn(hash_password, password, left=_stays)
        return hashed

    def _knows(self, password_hash: str, password: str) -> bool:
        """Returns whether a password was verified against this hash before."""
        digest = self._digest(password_hash, password)
        used = self._known.get(digest)
        now = time.monotonic()
        if used is None or now - used > REMEMBERED:
            return False
        self._known.put(digest, now)
        return True

    def _digest(self, password_hash: str, password: str) -> bytes:
        # The hash has a salt of its own, so this is the password of one user.
        return self._known.digest(f"{password_hash}\0{password}".encode())

    def _in_turn(self, function: Callable[..., Any], /, *arguments: str, left: Callable[[], bool]) -> Any:
        with self._turn():
            if left():
                raise ApiError("BadRequest", "The client left before its login was verified")
            return self._workers.submit(function, *arguments).result()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise _busy()
        try:
            if not self._turns.acquire(timeout=PATIENCE):
                raise _busy()
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()


def _yield_processors() -> None:
    """Lets the threads that answer requests run before this one."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _busy() -> ApiError:
    return ApiError("ServiceUnavailable", "Too many logins at a time: try again in a moment", wait=RETRY)
