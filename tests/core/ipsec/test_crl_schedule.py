"""When revocation lists are fetched."""

from __future__ import annotations

import pytest

from linkspan.core.ipsec import crl_schedule
from linkspan.core.ipsec.crl_schedule import ANSWERED, INTERVAL, LONGEST_BACKOFF, SOONEST, FetchState


def test_a_list_is_fetched_at_once_and_once() -> None:
    assert FetchState().next_at == 0.0
    assert crl_schedule.started(FetchState(), 100.0).next_at == 100.0 + ANSWERED


@pytest.mark.parametrize(("left", "delay"), [(86_400.0, INTERVAL), (600.0, 300.0), (10.0, SOONEST), (-5.0, SOONEST)])
def test_a_list_is_fetched_again_well_before_it_ends(left: float, delay: float) -> None:
    after = crl_schedule.succeeded(FetchState(failures=3), 1000.0, 1000.0 + left)
    assert after == FetchState(1000.0 + delay, 0)


def test_failures_put_the_next_fetch_off_ever_longer() -> None:
    state, delays = FetchState(), list[float]()
    for _ in range(12):
        state = crl_schedule.failed(state, 0.0)
        delays.append(state.next_at)
    assert delays[:3] == [SOONEST, 2 * SOONEST, 4 * SOONEST]
    assert delays[-1] == LONGEST_BACKOFF
