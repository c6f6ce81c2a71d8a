"""Who asks: the ports through which a request gets its identity. Blocking code; it runs in the request's thread.

Passwords are compared by argon2, which is slow on purpose; so a credential that was right is remembered for moments,
under a digest that only this process can make. It knows nothing of what an identity may do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import time
from typing import Any, Final, Protocol

from linkspan.api.call import Call, Identity
from linkspan.core.problem import Problem
from linkspan.store.people import hash_password, verify_password
from linkspan.store.store import Store

LOCAL_PROJECT: Final = "00000000000000000000000000000001"
TRUST: Final = 5.0
"""Seconds for which an identity is used without asking the database: so long an ended user still gets in."""
VERIFIED: Final = 300.0
"""Seconds for which a password that was right is not put through argon2 again, while its hash is the same."""
ROOM: Final = 4096
AT_ONCE: Final = 2
"""Passwords that are compared at a time: each takes 64 MB and a core."""
PATIENCE: Final = 10.0
"""Seconds that a password waits for its turn."""
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Auth(Protocol):
    """Finds out who asks."""

    def identify(self, call: Call) -> Identity:
        """The identity of a request. Raises Problem Unauthorized."""


def unauthorized() -> Problem:
    """The 401; it never says what was wrong."""
    return Problem("Unauthorized", "The request you have made requires authentication.")


def check_bind(host: str) -> None:
    """Raises ValueError, in one line, unless only this machine can reach a host: for `NoAuth`."""
    if host not in _LOOPBACK:
        raise ValueError(
            f"auth 'none' makes everybody an admin, so it listens on 127.0.0.1 only, not on {host}: "
            "use http_basic, or listen on 127.0.0.1"
        )


class NoAuth:
    """Everybody is an admin with one project: for a laboratory on one machine. See `check_bind`."""

    def __init__(self, project_id: str = LOCAL_PROJECT) -> None:
        self._identity = Identity("admin", "admin", project_id, frozenset({"admin"}))

    def identify(self, call: Call) -> Identity:
        """The one identity there is; a token that clients send along is not looked at."""
        return self._identity


class _Remembered:
    __slots__ = ("asked", "identity", "password_hash", "verified")

    def __init__(self, identity: Identity, password_hash: str, now: float) -> None:
        self.identity = identity
        self.password_hash = password_hash
        self.verified = now
        self.asked = now


class BasicAuth:
    """Users of the database, by name and password (RFC 7617)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = secrets.token_bytes(32)
        self._nobody = hash_password(secrets.token_urlsafe(16))
        self._known: dict[bytes, _Remembered] = {}
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def identify(self, call: Call) -> Identity:
        """The user of a Basic credential. Raises Problem Unauthorized, ServiceUnavailable under a flood of them."""
        header = call.header(b"authorization")
        if header is None:
            raise unauthorized()
        digest = hmac.digest(self._key, header, hashlib.sha256)
        now = time.monotonic()
        # The look-up is by a keyed digest: its time tells nothing about any password.
        known = self._known.get(digest)
        if known is not None and now - known.asked < TRUST:
            return known.identity
        name, password = _credentials(header)
        with self._store.read() as tx:
            user = tx.user_by_name(name)
        if known is None or user is None or user["password_hash"] != known.password_hash or _old(known, now):
            known = self._verified(user, password)
            self._remember(digest, known)
            return known.identity
        known.identity, known.asked = _identity(user), now
        return known.identity

    def _verified(self, user: dict[str, Any] | None, password: str) -> _Remembered:
        if not self._turns.acquire(timeout=PATIENCE):
            raise Problem("ServiceUnavailable", "Too many logins at a time: try again in a moment")
        try:
            # A name that does not exist costs what a wrong password costs.
            good = verify_password(self._nobody if user is None else user["password_hash"], password)
        finally:
            self._turns.release()
        if user is None or not good:
            raise unauthorized()
        return _Remembered(_identity(user), user["password_hash"], time.monotonic())

    def _remember(self, digest: bytes, known: _Remembered) -> None:
        with self._lock:
            if len(self._known) >= ROOM:
                self._known.clear()
            self._known[digest] = known


def _old(known: _Remembered, now: float) -> bool:
    return now - known.verified > VERIFIED


def _credentials(header: bytes) -> tuple[str, str]:
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        raise unauthorized()
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized() from None
    name, colon, password = text.partition(":")
    if not colon or not name or "\x00" in name:
        raise unauthorized()
    return name, password


def _identity(user: dict[str, Any]) -> Identity:
    if not user["project_id"]:
        raise unauthorized()
    roles = frozenset(role.lower() for role in user["roles"])
    return Identity(user["id"], user["name"], user["project_id"], roles)
