"""Authentication against an OpenStack cloud's own Keystone.

A valid token is cached for `ttl` seconds, never beyond its expiry. For as long it works while Keystone is unreachable,
and for as long a revoked token still works. While Keystone is unreachable a token that is not cached gets a 503, not a
401, because its validity is unknown. An invalid token is cached for a few seconds. Few threads at a time wait for
Keystone, and none for a while after it did not answer, so that an outage does not delay requests with cached tokens.
After an answer that cannot be used only the request with that token fails.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Final, Protocol

import msgspec
import structlog

from linkspan.api.authentication.cache import Cache
from linkspan.api.authentication.keystone_client import KeystoneUnreachable, OddAnswer
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request, Unauthorized
from linkspan.core import keystone_v3
from linkspan.core.errors import ApiError, unauthorized

TTL: Final = 300.0
"""Seconds; the default of keystonemiddleware too."""
REFUSED: Final = 5.0
"""Seconds for which an invalid token is not validated again."""
AT_ONCE: Final = 4
"""Threads that query Keystone at a time."""
PATIENCE: Final = 1.0
"""Seconds that a request waits for a free thread."""
RETRY: Final = 2.0
"""Seconds after which an unreachable Keystone is queried again."""
_TOKEN: Final = re.compile(rb"[!-~]{1,8192}")

_log = structlog.get_logger()


class TokenValidator(Protocol):
    """A Keystone, see `keystone_client`."""

    def validate(self, token: str) -> Any:
        """Returns Keystone's description of a token, None if the token is not valid. Raises KeystoneUnreachable;
        OddAnswer if that says nothing about other tokens."""


class _Known(msgspec.Struct, frozen=True):
    caller: Caller
    until: float


class KeystoneAuth:
    """Tokens of a real Keystone."""

    def __init__(self, keystone: TokenValidator, uri: str, *, ttl: float = TTL) -> None:
        """`uri`: the URL of that Keystone for clients, sent in each 401; `ttl` in seconds."""
        self._keystone = keystone
        self._challenge = f"Keystone uri='{uri}'"
        self._ttl = ttl
        self._good: Cache[_Known] = Cache()
        self._bad: Cache[float] = Cache()
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._away_until = 0.0

    def cached(self, request: Request) -> Caller | None:
        """Returns the caller of a cached token. Raises ApiError Unauthorized for a token that is cached as invalid or
        malformed."""
        return self._cached(self._good.digest(self._text(request)))

    def identify(self, request: Request) -> Caller:
        """Returns the caller of `X-Auth-Token`. Raises ApiError Unauthorized, also for a token without a project, and
        ServiceUnavailable while Keystone is unreachable."""
        text = self._text(request)
        digest = self._good.digest(text)
        caller = self._cached(digest) or self._validated(text.decode(), digest)
        if caller is None:
            raise self._unauthorized()
        return caller

    def _text(self, request: Request) -> bytes:
        text = request.header(b"x-auth-token") or b""
        if not _TOKEN.fullmatch(text):
            raise self._unauthorized()
        return text

    def _cached(self, digest: bytes) -> Caller | None:
        """Raises ApiError Unauthorized for a token that is cached as invalid."""
        now = time.monotonic()
        known = self._good.get(digest)
        if known is not None and now < known.until:
            return known.caller
        if now < (self._bad.get(digest) or 0.0):
            raise self._unauthorized()
        return None

    def _validated(self, token: str, digest: bytes) -> Caller | None:
        if time.monotonic() < self._away_until or not self._turns.acquire(timeout=PATIENCE):
            raise _unavailable()
        try:
            # The thread before may have validated the same token, or found Keystone unreachable.
            caller = self._cached(digest)
            if caller is not None:
                return caller
            if time.monotonic() < self._away_until:
                raise _unavailable()
            return self._put(self._keystone.validate(token), digest)
        except KeystoneUnreachable as error:
            self._away_until = time.monotonic() + RETRY
            _log.warning("keystone cannot be asked", reason=str(error))
            raise _unavailable() from None
        except OddAnswer as error:
            _log.warning("keystone's answer about a token cannot be used", reason=str(error))
            raise ApiError(
                "ServiceUnavailable", "Keystone's answer about this token cannot be used: try again"
            ) from None
        finally:
            self._turns.release()

    def _put(self, body: Any, digest: bytes) -> Caller | None:
        token = None if body is None else _read(body)
        left = 0.0 if token is None else min(self._ttl, token.expires_at - time.time())
        now = time.monotonic()
        if token is None or token.project_id is None or left <= 0.0:
            self._bad.put(digest, now + REFUSED)
            return None
        caller = Caller(token.user_id, token.user_name, token.project_id, token.roles)
        self._good.put(digest, _Known(caller, now + left))
        return caller

    def _unauthorized(self) -> ApiError:
        return Unauthorized(unauthorized().message, self._challenge)


def _read(body: Any) -> keystone_v3.ValidatedToken:
    try:
        return keystone_v3.parse_validated_token(body)
    except ValueError as error:
        raise OddAnswer(f"it answered something else than a token: {error}") from None


def _unavailable() -> ApiError:
    return ApiError(
        "ServiceUnavailable", "Keystone cannot be asked now, and this token is not remembered here: try again"
    )
