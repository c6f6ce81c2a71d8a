"""Authentication by a token of the database: a static token, or a token that the embedded Keystone issued.

A valid token is cached for a few seconds. Its roles are those that the user has in the token's project now, not when
the token was issued: without any role left there, the token is invalid.
"""

from __future__ import annotations

import time

import msgspec

from linkspan.api.authentication import cache
from linkspan.api.authentication.cache import Cache
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.core.errors import unauthorized
from linkspan.core.keystone_v3 import ApplicationCredential, Token, implied
from linkspan.core.secret import hash_token
from linkspan.store.identity import tokens
from linkspan.store.identity.tokens import FoundToken
from linkspan.store.store import Store


class _Known(msgspec.Struct, frozen=True):
    token: Token
    caller: Caller | None
    until: float


class TokenAuth:
    """Tokens of the database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: Cache[_Known] = Cache()

    def cached(self, request: Request) -> Caller | None:
        """Returns the caller of a cached token. Raises ApiError Unauthorized if it has no project."""
        known = self._cached(self._cache.digest(_text(request)))
        return None if known is None else _with_project(known)

    def identify(self, request: Request) -> Caller:
        """Returns the caller of `X-Auth-Token`. Raises ApiError Unauthorized, also for a token without a project."""
        return _with_project(self._known(_text(request)))

    def find(self, token: bytes, *, fresh: bool = False) -> Token | None:
        """Returns a token; None if it is not valid. `fresh`: bypasses the cache, for objects that outlive the token."""
        known = self._known(token, fresh)
        return None if known is None else known.token

    def revoke(self, token: bytes) -> None:
        """Ends a token: here at once, in other API processes within `cache.TRUST` seconds."""
        with self._store.write() as tx:
            tokens.remove_token(tx, hash_token(token))
        self._cache.drop(self._cache.digest(token))

    def _known(self, text: bytes, fresh: bool = False) -> _Known | None:
        digest = self._cache.digest(text)
        known = None if fresh else self._cached(digest)
        if known is not None:
            return known
        now = time.monotonic()
        with self._store.read() as tx:
            row, at = tokens.find_token(tx, hash_token(text)), tx.wall
        token = None if row is None else effective(row)
        if token is None:
            self._cache.drop(digest)
            return None
        left = cache.TRUST if token.expires_at is None else min(cache.TRUST, token.expires_at - at)
        known = _Known(token, _caller(token), now + left)
        self._cache.put(digest, known)
        return known

    def _cached(self, digest: bytes) -> _Known | None:
        known = self._cache.get(digest)
        return known if known is not None and time.monotonic() < known.until else None


def effective(row: FoundToken) -> Token | None:
    """Returns a stored token with its user's present roles; None if the user has none left in the token's project."""
    roles = implied(row["roles"])
    credential = row["credential"]
    if credential is not None:
        # A credential never has more roles than its user.
        roles = implied(roles & frozenset(credential["roles"]))
    if row["project_id"] is not None and not roles:
        return None
    return Token(
        id=row["id"],
        user_id=row["user_id"],
        user_name=row["user_name"],
        project_id=row["project_id"],
        project_name=row["project_name"],
        roles=roles,
        methods=row["methods"],
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        credential=credential
        and ApplicationCredential(credential["id"], credential["name"], credential["unrestricted"]),
    )


def _text(request: Request) -> bytes:
    return request.header(b"x-auth-token") or b""


def _with_project(known: _Known | None) -> Caller:
    if known is None or known.caller is None:
        raise unauthorized()
    return known.caller


def _caller(token: Token) -> Caller | None:
    if token.project_id is None:
        return None
    return Caller(token.user_id, token.user_name, token.project_id, token.roles)
