"""Token buckets: a rate limit as pure functions. Times are seconds on any one clock.

A bucket holds `burst` tokens and refills at `per_second`. A full bucket equals no bucket (None), so that a store of
buckets may drop it.
"""

from __future__ import annotations

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """A limit: `per_second` in the long run, `burst` at once. `per_second` 0 means no limit."""

    per_second: float = 0.0
    burst: float = 1.0

    @property
    def unlimited(self) -> bool:
        """True if there is no limit."""
        return self.per_second <= 0


class TokenBucket(msgspec.Struct, frozen=True):
    """The tokens left at a time."""

    left: float
    at: float


def tokens_left(bucket: TokenBucket | None, rate: Rate, now: float) -> float:
    """The tokens in a bucket at `now`. If the clock went backwards, the count does not change."""
    if bucket is None:
        return rate.burst
    return min(rate.burst, bucket.left + max(0.0, now - bucket.at) * rate.per_second)


def wait_time(bucket: TokenBucket | None, rate: Rate, now: float) -> float:
    """Seconds until a token can be taken; 0 if one can be taken now."""
    if rate.unlimited:
        return 0.0
    return max(0.0, 1.0 - tokens_left(bucket, rate, now)) / rate.per_second


def take(bucket: TokenBucket | None, rate: Rate, now: float) -> TokenBucket:
    """The bucket after a token is taken; an empty bucket stays empty."""
    return TokenBucket(max(0.0, tokens_left(bucket, rate, now) - 1.0), now)
