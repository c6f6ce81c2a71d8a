"""Who asks, where an OpenStack cloud's own Keystone knows the users.

A token that Keystone called good is remembered for `ttl` seconds, never beyond its end: for so long it works while
Keystone is away, and for so long a revoked one still does. Whoever is not remembered then gets a 503, not a 401: we do
not know. A bad token is remembered for moments. Few threads at a time wait for Keystone, and none for a while after it
did not answer, so that its absence does not hold up those who need nothing from it.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Final, Protocol

import msgspec
import structlog

from linkspan.api.authentication.cache import Cache
from linkspan.api.authentication.keystone_client import KeystoneUnreachable
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request, Unauthorized
from linkspan.core import keystone_v3
from linkspan.core.errors import ApiError, unauthorized

TTL: Final = 300.0
"""Seconds; what keystonemiddleware takes too."""
REFUSED: Final = 5.0
"""Seconds for which a bad token is not asked about again."""
AT_ONCE: Final = 4
"""Threads that ask Keystone at a time."""
PATIENCE: Final = 1.0
"""Seconds that a token waits for its turn."""
RETRY: Final = 2.0
"""Seconds after which an absent Keystone is asked again."""
_TOKEN: Final = re.compile(rb"[!-~]{1,8192}")

_log = structlog.get_logger()


class TokenValidator(Protocol):
    """A Keystone, see `keystone_client`."""

    def validate(self, token: str) -> Any:
        """What it says of a token, None if that does not hold. Raises Away."""


class _Known(msgspec.Struct, frozen=True):
    caller: Caller
    until: float


class KeystoneAuth:
    """Tokens of a real Keystone."""

    def __init__(self, keystone: TokenValidator, uri: str, *, ttl: float = TTL) -> None:
        """`uri`: where clients find that Keystone, told in each 401; `ttl` in seconds."""
        self._keystone = keystone
        self._challenge = f"Keystone uri='{uri}'"
        self._ttl = ttl
        self._good: Cache[_Known] = Cache()
        self._bad: Cache[float] = Cache()
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._away_until = 0.0

    def cached(self, request: Request) -> Caller | None:
        """The identity behind a token that Keystone called good. Raises Problem Unauthorized for one that it called
        bad a moment ago, and for what is no token."""
        return self._kept(self._good.digest(self._text(request)))

    def identify(self, request: Request) -> Caller:
        """The identity behind `X-Auth-Token`. Raises Problem Unauthorized, also for a token without a project, and
        ServiceUnavailable where Keystone cannot say."""
        text = self._text(request)
        digest = self._good.digest(text)
        caller = self._kept(digest) or self._asked(text.decode(), digest)
        if caller is None:
            raise self._unauthorized()
        return caller

    def _text(self, request: Request) -> bytes:
        text = request.header(b"x-auth-token") or b""
        if not _TOKEN.fullmatch(text):
            raise self._unauthorized()
        return text

    def _kept(self, digest: bytes) -> Caller | None:
        """Raises Problem Unauthorized for what is known to be bad."""
        now = time.monotonic()
        known = self._good.get(digest)
        if known is not None and now < known.until:
            return known.caller
        if now < (self._bad.get(digest) or 0.0):
            raise self._unauthorized()
        return None

    def _asked(self, token: str, digest: bytes) -> Caller | None:
        if time.monotonic() < self._away_until or not self._turns.acquire(timeout=PATIENCE):
            raise _unavailable()
        try:
            # Whoever had the turn before may have asked about the same token, or found nobody.
            caller = self._kept(digest)
            if caller is not None:
                return caller
            if time.monotonic() < self._away_until:
                raise _unavailable()
            return self._keep(self._keystone.validate(token), digest)
        except KeystoneUnreachable as error:
            self._away_until = time.monotonic() + RETRY
            _log.warning("keystone cannot be asked", reason=str(error))
            raise _unavailable() from None
        finally:
            self._turns.release()

    def _keep(self, said: Any, digest: bytes) -> Caller | None:
        found = None if said is None else _read(said)
        left = 0.0 if found is None else min(self._ttl, found.expires_at - time.time())
        now = time.monotonic()
        if found is None or found.project_id is None or left <= 0.0:
            self._bad.put(digest, now + REFUSED)
            return None
        caller = Caller(found.user_id, found.user_name, found.project_id, found.roles)
        self._good.put(digest, _Known(caller, now + left))
        return caller

    def _unauthorized(self) -> ApiError:
        return Unauthorized(unauthorized().message, self._challenge)


def _read(said: Any) -> keystone_v3.ValidatedToken:
    try:
        return keystone_v3.parse_validated_token(said)
    except ValueError as error:
        raise KeystoneUnreachable(f"it answered something else than a token: {error}") from None


def _unavailable() -> ApiError:
    return ApiError(
        "ServiceUnavailable", "Keystone cannot be asked now, and this token is not remembered here: try again"
    )
