"""Token buckets: how often something may happen, with time as a value. Pure; times in seconds on any one clock.

A bucket holds `burst` tokens and is filled again at `per_second`. One that is full is as good as none, so whoever keeps
buckets may forget it.
"""

from __future__ import annotations

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """So many a second, and so many at once; `per_second` 0: no limit."""

    per_second: float = 0.0
    burst: float = 1.0

    @property
    def unlimited(self) -> bool:
        """Whether everything is allowed."""
        return self.per_second <= 0


class TokenBucket(msgspec.Struct, frozen=True):
    """What was left at a moment."""

    left: float
    at: float


def tokens_left(bucket: TokenBucket | None, rate: Rate, now: float) -> float:
    """The tokens in a bucket now. A clock that goes backwards fills nothing and takes nothing."""
    if bucket is None:
        return rate.burst
    return min(rate.burst, bucket.left + max(0.0, now - bucket.at) * rate.per_second)


def wait_time(bucket: TokenBucket | None, rate: Rate, now: float) -> float:
    """Seconds until a token can be taken; 0: now."""
    if rate.unlimited:
        return 0.0
    return max(0.0, 1.0 - tokens_left(bucket, rate, now)) / rate.per_second


def take(bucket: TokenBucket | None, rate: Rate, now: float) -> TokenBucket:
    """The bucket after a token was taken out of it; an empty one stays empty."""
    return TokenBucket(max(0.0, tokens_left(bucket, rate, now) - 1.0), now)
