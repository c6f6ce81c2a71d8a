"""Rate limits: requests of a project, and failed authentications with a name and from an address.

They wrap authentication, where both are known. Each API process counts for itself. Memory is bounded: beyond the limit
the least recently used bucket is dropped. Nodes are not limited: their tokens cannot be guessed, and a gateway must not
go down because of another client's failures.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

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


class Failures:
    """Limits failed authentications, so that guessing passwords does not cost a core.

    First by address and name, then by address: who fails with one name hinders nobody else behind an address. A
    credential that was verified before is no guess and is never refused for the failures of others.
    """

    def __init__(self, rates: RateLimits, knows: Callable[[Request], bool], clock: MonotonicClock) -> None:
        self._names = Buckets(rates.names, clock)
        self._addresses = Buckets(rates.failures, clock)
        self._knows = knows

    def counted(self, authenticate: Callable[[Request], _T], request: Request) -> _T:
        """Authenticates a request and counts a failure. Raises ApiError TooManyRequests before that."""
        address, claim = self._keys(request)
        wait = max(self._names.wait(claim), self._addresses.wait(address))
        if wait and not self._is_known(request):
            _require(wait, "Too many failed attempts to authenticate from this address")
        try:
            return authenticate(request)
        except ApiError as problem:
            if problem.type == "Unauthorized":
                self._names.take(claim)
                self._addresses.take(address)
            raise

    def refused(self, problem: ApiError, request: Request) -> ApiError:
        """Counts a failure that took no effort to find. Returns what to raise."""
        address, claim = self._keys(request)
        wait = max(self._names.take(claim), self._addresses.take(address))
        return problem if not wait else _too_many("Too many failed attempts to authenticate from this address", wait)

    def _is_known(self, request: Request) -> bool:
        try:
            return self._knows(request)
        except ApiError:
            return False

    def _keys(self, request: Request) -> tuple[str, str]:
        address = client_key(request.source)
        # A digest, because a name may be as long as a header.
        return address, hashlib.sha256(f"{address} {claimed(request)}".encode()).hexdigest()


class RateLimited:
    """Authentication with limits around it."""

    def __init__(self, auth: Authenticator, rates: RateLimits, clock: MonotonicClock = time.monotonic) -> None:
        self._auth = auth
        self._projects = Buckets(rates.project, clock)
        self._failures = Failures(rates, auth.knows, clock)

    def cached(self, request: Request) -> Caller | None:
        """Returns the cached caller; None: not cached, nothing counted. Raises ApiError as `identify` does."""
        try:
            caller = self._auth.cached(request)
        except ApiError as problem:
            raise self._failures.refused(problem, request) from None
        return None if caller is None else self._admitted(caller)

    def knows(self, request: Request) -> bool:
        """Returns whether the credential was verified before."""
        return self._auth.knows(request)

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


def claimed(request: Request) -> str:
    """Returns whom a request claims to come from: the user of a password, else the token itself; "" without either."""
    token = request.header(b"x-auth-token")
    if token is not None:
        return f"token {token.decode('latin-1')}"
    header = request.header(b"authorization")
    if header is not None:
        return f"name {basic_name(header)}"
    if not request.body:
        return ""
    try:
        login = keystone_v3.parse_token_request(body.json_object(request.body))
    except ApiError:
        return ""
    if login.method == "token":
        return f"token {login.secret.reveal()}"
    return f"name {login.user.name}" if login.user.name else f"id {login.user.id or login.credential_id}"


def basic_name(header: bytes) -> str:
    """Returns the user's name in an `Authorization` header; the whole header if it has none."""
    try:
        text = base64.b64decode(header.partition(b" ")[2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return header.decode("latin-1")
    return text.partition(":")[0]


def _require(wait: float, what: str) -> None:
    if wait:
        raise _too_many(what, wait)


def _too_many(what: str, wait: float) -> ApiError:
    return ApiError("TooManyRequests", f"{what}: try again later", wait=wait)
