"""Rate limits: requests of a project, and failed authentications with a name and from an address.

They wrap authentication, where both are known. Each API process counts for itself. Memory is bounded: beyond the limit
the least recently used bucket is dropped. Nodes are not limited: their tokens cannot be guessed, and a gateway must not
go down because of another client's failures.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from linkspan.api.authentication.basic_header import user_and_password
from linkspan.api.authentication.cache import Cache
from linkspan.api.http import body
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.caller import Caller
from linkspan.api.http.client_address import client_key
from linkspan.api.http.messages import Request
from linkspan.api.http.route import Route
from linkspan.core import keystone_v3, token_bucket
from linkspan.core.errors import ApiError
from linkspan.core.token_bucket import Rate, TokenBucket

ROOM: Final = 10_000
"""Buckets that are kept, for projects and for addresses each."""
LOOKS: Final = Rate(20.0, 1000)
"""How often a request of a limited address is looked up among the credentials that were right before: each of them that
is not there may be a guess."""
_FAILED: Final = "Too many failed attempts to authenticate from this address"

MonotonicClock = Callable[[], float]
_T = TypeVar("_T")


class RateLimits(msgspec.Struct, frozen=True):
    """The limits from the settings."""

    project: Rate = Rate()
    """Requests of one project."""
    failures: Rate = Rate()
    """Failed authentications from one address."""
    names: Rate = Rate()
    """Failed authentications with one name from one address."""


class Buckets:
    """A bucket for each key. Thread-safe."""

    def __init__(self, allowed: Rate, clock: MonotonicClock = time.monotonic, room: int = ROOM) -> None:
        self._rate = allowed
        self._clock = clock
        self._room = room
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, key: str) -> float:
        """Returns the seconds until a key has a token; 0: it has one now."""
        return self._wait(key, take=False)

    def take(self, key: str) -> float:
        """Takes a token if the key has one, and returns 0; else returns the seconds to wait."""
        return self._wait(key, take=True)

    def _wait(self, key: str, take: bool) -> float:
        if self._rate.unlimited:
            return 0.0
        with self._lock:
            now, bucket = self._clock(), self._buckets.get(key)
            seconds = token_bucket.wait_time(bucket, self._rate, now)
            if take and not seconds:
                self._buckets[key] = token_bucket.take(bucket, self._rate, now)
            if key in self._buckets:
                self._buckets.move_to_end(key)
            if len(self._buckets) > self._room:
                self._buckets.popitem(last=False)
            return seconds


class _Keys(msgspec.Struct, frozen=True):
    """What a request is counted under. `credential` is a digest of address, name and credential; None: it has none."""

    address: str
    name: str
    credential: bytes | None


class Failures:
    """Limits failed authentications, so that guessing passwords does not cost a core.

    First by address and name, then by address: who fails with one name hinders nobody else behind an address. A
    credential that was right before, from the same address, is no guess and is not refused for the failures of others.
    From another address it would be one: who is limited could otherwise try passwords until one is known.
    """

    def __init__(self, rates: RateLimits, clock: MonotonicClock) -> None:
        self._is_off = rates.names.unlimited and rates.failures.unlimited
        self._names = Buckets(rates.names, clock)
        self._addresses = Buckets(rates.failures, clock)
        self._looks = Buckets(LOOKS, clock)
        self._known: Cache[bool] = Cache()

    def counted(self, authenticate: Callable[[Request], _T], request: Request) -> _T:
        """Authenticates a request and counts a failure. Raises ApiError TooManyRequests before that."""
        if self._is_off:
            return authenticate(request)
        keys = self._keys(request)
        self._require(keys)
        try:
            answer = authenticate(request)
        except ApiError as problem:
            if problem.type == "Unauthorized":
                self._names.take(keys.name)
                self._addresses.take(keys.address)
                if keys.credential is not None:
                    self._known.drop(keys.credential)
            raise
        if keys.credential is not None:
            self._known.put(keys.credential, True)
        return answer

    def require(self, request: Request) -> None:
        """Raises ApiError TooManyRequests for a guess beyond the limits, also for one that is right."""
        # Nobody is limited while nobody has failed.
        if not self._is_off and (self._names or self._addresses):
            self._require(self._keys(request))

    def refused(self, problem: ApiError, request: Request) -> ApiError:
        """Counts a failure that took no effort to find. Returns what to raise."""
        keys = self._keys(request)
        wait = max(self._names.take(keys.name), self._addresses.take(keys.address))
        return _too_many(_FAILED, wait) if wait else problem

    def _require(self, keys: _Keys) -> None:
        wait = max(self._names.wait(keys.name), self._addresses.wait(keys.address))
        if wait and not self._is_known(keys):
            raise _too_many(_FAILED, wait)

    def _is_known(self, keys: _Keys) -> bool:
        if keys.credential is None or self._looks.wait(keys.address):
            return False
        if self._known.get(keys.credential):
            return True
        self._looks.take(keys.address)
        return False

    def _keys(self, request: Request) -> _Keys:
        address = client_key(request.source)
        name, secret = claimed(request)
        credential = self._known.digest(f"{address} {name} {secret}".encode()) if name else None
        # A digest, because a name may be as long as a header.
        return _Keys(address, hashlib.sha256(f"{address} {name}".encode()).hexdigest(), credential)


class RateLimited:
    """Authentication with limits around it."""

    def __init__(self, auth: Authenticator, rates: RateLimits, clock: MonotonicClock = time.monotonic) -> None:
        self._auth = auth
        self._projects = Buckets(rates.project, clock)
        self._failures = Failures(rates, clock)

    def cached(self, request: Request) -> Caller | None:
        """Returns the cached caller; None: not cached, nothing counted. Raises ApiError as `identify` does."""
        try:
            caller = self._auth.cached(request)
        except ApiError as problem:
            raise self._failures.refused(problem, request) from None
        if caller is None:
            return None
        self._failures.require(request)
        return self._admitted(caller)

    def identify(self, request: Request) -> Caller:
        """Returns the caller of a request. Raises ApiError Unauthorized, TooManyRequests."""
        return self._admitted(self._failures.counted(self._auth.identify, request))

    def _admitted(self, caller: Caller) -> Caller:
        _require(self._projects.take(caller.project_id), "Too many requests of this project")
        return caller

    def guarded(self, route: Route) -> Route:
        """Adds the limit of failures to a route of the embedded Keystone, whose handler authenticates by itself."""
        assert route.handler is not None
        return msgspec.structs.replace(route, handler=functools.partial(self._failures.counted, route.handler))


def claimed(request: Request) -> tuple[str, str]:
    """Returns whom a request claims to come from, the user of a password, else the token itself, and the secret; ""
    without either."""
    token = request.header(b"x-auth-token")
    if token is not None:
        return f"token {token.decode('latin-1')}", ""
    header = request.header(b"authorization")
    if header is not None:
        return f"name {basic_name(header)}", header.decode("latin-1")
    if not request.body:
        return "", ""
    try:
        login = keystone_v3.parse_token_request(body.json_object(request.body))
    except ApiError:
        return "", ""
    secret = login.secret.reveal()
    if login.method == "token":
        return f"token {secret}", ""
    name = f"name {login.user.name}" if login.user.name else f"id {login.user.id or login.credential_id}"
    return name, f"{login.credential_name} {secret}"


def basic_name(header: bytes) -> str:
    """Returns the user's name in an `Authorization` header; the whole header if it has none."""
    given = user_and_password(header)
    return header.decode("latin-1") if given is None else given[0]


def _require(wait: float, what: str) -> None:
    if wait:
        raise _too_many(what, wait)


def _too_many(what: str, wait: float) -> ApiError:
    return ApiError("TooManyRequests", f"{what}: try again later", wait=wait)
