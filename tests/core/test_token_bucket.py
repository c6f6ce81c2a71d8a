"""Token buckets: burst and rate, also if the clock goes backwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core import token_bucket
from linkspan.core.token_bucket import Rate, TokenBucket

TWO_A_SECOND = Rate(2.0, 3.0)


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    bucket = None
    for _ in range(3):
        assert token_bucket.wait_time(bucket, TWO_A_SECOND, 100.0) == 0
        bucket = token_bucket.take(bucket, TWO_A_SECOND, 100.0)
    assert token_bucket.wait_time(bucket, TWO_A_SECOND, 100.0) == pytest.approx(0.5)
    assert token_bucket.wait_time(bucket, TWO_A_SECOND, 100.3) == pytest.approx(0.2)
    assert token_bucket.wait_time(bucket, TWO_A_SECOND, 100.5) == 0
    # A bucket never has more than `burst` tokens.
    assert token_bucket.tokens_left(bucket, TWO_A_SECOND, 10_000.0) == 3


def test_without_a_rate_everything_is_allowed() -> None:
    assert Rate().unlimited
    assert token_bucket.wait_time(TokenBucket(0.0, 0.0), Rate(), 0.0) == 0


def test_a_clock_that_goes_backwards_takes_no_tokens() -> None:
    bucket = token_bucket.take(None, TWO_A_SECOND, 100.0)
    assert token_bucket.tokens_left(bucket, TWO_A_SECOND, 50.0) == 2
    assert token_bucket.tokens_left(token_bucket.take(bucket, TWO_A_SECOND, 50.0), TWO_A_SECOND, 50.5) == 2


@given(
    per_second=st.floats(0.1, 100),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_never_more_than_burst_and_rate_allow(per_second: float, burst: int, pauses: list[float]) -> None:
    allowed, bucket, now, taken = Rate(per_second, burst), None, 0.0, 0
    for pause in pauses:
        now += pause
        if not token_bucket.wait_time(bucket, allowed, now):
            bucket = token_bucket.take(bucket, allowed, now)
            taken += 1
    assert taken <= burst + per_second * now + 1e-6
    # A caller that waits for the time of one token gets one.
    assert token_bucket.wait_time(bucket, allowed, now + 1.000001 / per_second) == 0
