"""HTTP Basic authentication, and the backend without authentication.

Passwords are verified with argon2, which is slow on purpose, so a valid credential is cached for a short time, and
`passwords` remembers it for longer.

`identify` blocks and runs in threads of its own; `cached` does not block. Authorization is elsewhere.
"""

from __future__ import annotations

import time
from typing import Final

from linkspan.api.authentication import cache
from linkspan.api.authentication.basic_header import user_and_password
from linkspan.api.authentication.cache import Cache
from linkspan.api.authentication.passwords import Passwords
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.core.addresses import is_loopback
from linkspan.core.errors import unauthorized
from linkspan.core.keystone_v3 import implied
from linkspan.store.identity import users
from linkspan.store.identity.users import UserRow
from linkspan.store.store import Store

LOCAL_PROJECT: Final = "00000000000000000000000000000001"


def check_bind(host: str) -> None:
    """Raises ValueError, in one line, unless only this machine can reach a host: for `NoAuth`."""
    if not is_loopback(host):
        raise ValueError(
            f"auth 'none' makes everybody an admin, so it listens on 127.0.0.1 only, not on {host}: "
            "use http_basic, or listen on 127.0.0.1"
        )


class NoAuth:
    """Authenticates every request as one admin in one project: for a laboratory on one machine. See `check_bind`."""

    def __init__(self, project_id: str = LOCAL_PROJECT) -> None:
        self._caller = Caller("admin", "admin", project_id, frozenset({"admin"}))

    def cached(self, request: Request) -> Caller | None:
        """Returns the admin."""
        return self._caller

    def identify(self, request: Request) -> Caller:
        """Returns the admin. A token in the request is ignored."""
        return self._caller


class _Known:
    """A cached login. `looked_up`: when the user was last read."""

    __slots__ = ("caller", "looked_up")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.looked_up = time.monotonic()


class BasicAuth:
    """Users of the database, by name and password (RFC 7617)."""

    def __init__(self, store: Store, passwords: Passwords | None = None) -> None:
        self._store = store
        self._passwords = passwords or Passwords()
        self._cache: Cache[_Known] = Cache()

    def cached(self, request: Request) -> Caller | None:
        """Returns a cached Basic credential's user. Raises ApiError Unauthorized without a credential."""
        known = self._cache.get(self._cache.digest(_header(request)))
        return known.caller if known is not None and _trusted(known, time.monotonic()) else None

    def identify(self, request: Request) -> Caller:
        """Returns a Basic credential's user. Raises ApiError Unauthorized; ServiceUnavailable at too many logins."""
        header = _header(request)
        digest = self._cache.digest(header)
        known = self._cache.get(digest)
        if known is not None and _trusted(known, time.monotonic()):
            return known.caller
        name, password = _credentials(header)
        with self._store.read() as tx:
            user = users.user_by_name(tx, name)
        password_hash = None if user is None else user["password_hash"]
        if not self._passwords.check(password_hash, password, request.left) or user is None:
            self._cache.drop(digest)
            raise unauthorized()
        known = _Known(_caller(user))
        self._cache.put(digest, known)
        return known.caller


def _header(request: Request) -> bytes:
    header = request.header(b"authorization")
    if header is None:
        raise unauthorized()
    return header


def _trusted(known: _Known, now: float) -> bool:
    return now - known.looked_up < cache.TRUST


def _credentials(header: bytes) -> tuple[str, str]:
    given = user_and_password(header)
    if given is None or not given[0] or "\x00" in given[0]:
        raise unauthorized()
    return given


def _caller(user: UserRow) -> Caller:
    if not user["project_id"] or not user["enabled"] or not user["project_enabled"]:
        raise unauthorized()
    return Caller(user["id"], user["name"], user["project_id"], implied(user["roles"]))
