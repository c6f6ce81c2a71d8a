"""Rate limits: requests of a project, and failed authentications from an address.

They wrap authentication, where both are known. Each API process counts for itself. Memory is bounded: beyond the limit
the least recently used bucket is dropped. Nodes are not limited: their tokens cannot be guessed, and a gateway must not
go down because of another client's failures.
"""

from __future__ import annotations

import functools
import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.api.http.route import Route
from linkspan.core import token_bucket
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
    """Limits failed authentications by address, so that guessing passwords does not cost a core."""

    def __init__(self, allowed: Rate, clock: MonotonicClock = time.monotonic) -> None:
        self._buckets = Buckets(allowed, clock)

    def counted(self, authenticate: Callable[[Request], _T], request: Request) -> _T:
        """Authenticates a request and counts a failure. Raises ApiError TooManyRequests before that."""
        address = source(request.source)
        _require(self._buckets.wait(address), "Too many failed attempts to authenticate from this address")
        try:
            return authenticate(request)
        except ApiError as problem:
            if problem.type == "Unauthorized":
                self._buckets.take(address)
            raise


class RateLimited:
    """Authentication with limits around it."""

    def __init__(self, auth: Authenticator, rates: RateLimits, clock: MonotonicClock = time.monotonic) -> None:
        self._auth = auth
        self._projects = Buckets(rates.project, clock)
        self._failures = Failures(rates.failures, clock)

    def cached(self, request: Request) -> Caller | None:
        """Returns the cached caller; None: not cached, nothing counted. Raises ApiError as `identify` does."""
        caller = self._failures.counted(self._auth.cached, request)
        return None if caller is None else self._admitted(caller)

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


@functools.lru_cache(maxsize=4096)
def source(address: str) -> str:
    """Returns the key that limits an address: the IPv4 address, or the /64 of an IPv6 address (one site)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _require(wait: float, what: str) -> None:
    if wait:
        raise ApiError("TooManyRequests", f"{what}: try again later", wait=wait)
