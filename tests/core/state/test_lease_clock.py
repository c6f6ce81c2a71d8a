"""The lease clock: it runs with real time while API processes advance it, whatever the wall clock shows."""

from __future__ import annotations

import random

import pytest

from linkspan.core.state import lease_clock
from linkspan.core.state.lease_clock import LeaseClock
from linkspan.core.state.status import LEASE

HOUR = 3600.0
START = LeaseClock(1000.0, 5_000_000.0, 0.0)


def run(clock: LeaseClock, seconds: float, step: float = 1.0) -> LeaseClock:
    """The clock after it was advanced as long as that."""
    for _ in range(int(seconds / step)):
        clock = lease_clock.advance(clock, clock.wall + step, LEASE)
    return clock


def test_it_runs_with_real_time() -> None:
    assert run(START, 600.0).at == START.at + 600.0


@pytest.mark.parametrize("shift", [-HOUR, -5.0, HOUR, 86_400.0 * 365])
def test_setting_the_wall_clock_neither_ends_nor_extends_a_lease(shift: float) -> None:
    before = run(START, 60.0)
    clock = lease_clock.advance(before, before.wall + shift, LEASE)
    assert before.at <= clock.at <= before.at + lease_clock.longest(LEASE)
    later = run(clock, 300.0)
    assert 300.0 - lease_clock.amnesty(LEASE) <= later.at - clock.at <= 300.0


@pytest.mark.parametrize("lease", [LEASE, 3.0, 600.0])
@pytest.mark.parametrize("away", [7.0, 22.0, HOUR, 30 * 86_400.0])
def test_after_an_absence_a_lease_that_ran_has_nearly_all_of_its_length_left(lease: float, away: float) -> None:
    until = START.at + lease * 2 / 3  # a node renews every third of it
    away *= lease / LEASE
    clock = lease_clock.advance(START, START.wall + away, lease)
    left = until - clock.at + clock.amnesty
    assert left >= lease * 0.75 or lease > 120
    assert left >= lease * 0.6


def test_a_short_absence_counts_as_time() -> None:
    clock = lease_clock.advance(START, START.wall + lease_clock.longest(LEASE), LEASE)
    assert (clock.at, clock.amnesty) == (START.at + lease_clock.longest(LEASE), 0.0)


def test_any_history_of_a_wall_clock_leaves_the_rate_of_real_time() -> None:
    chooser = random.Random(7)
    clock, real = START, 0.0
    for _ in range(2000):
        step = chooser.choice((0.1, 1.0, 2.0, 4.0))
        jump = chooser.choice((0.0,) * 50 + (-HOUR, -1.0, 2.0, HOUR))
        after = lease_clock.advance(clock, clock.wall + step + jump, LEASE)
        assert clock.at <= after.at <= clock.at + lease_clock.longest(LEASE)
        clock, real = after, real + step
    assert clock.at - START.at <= real + 200.0
