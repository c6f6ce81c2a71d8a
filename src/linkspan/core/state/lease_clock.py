"""The clock of leases: it runs only while an API process can write to the database, at the rate of real time.

Its time is a sum of measured intervals, and no machine's clock shows it. So a clock that is set ends no lease and
extends none. After an interval in which no API process wrote, which no node could use to renew its lease, it stands
still for the time that the agents need to come back.
"""

from __future__ import annotations

import msgspec


class LeaseClock(msgspec.Struct, frozen=True):
    """`at`: its time, seconds. `wall`: the database's wall clock when it was advanced last, seconds since 1970.
    `amnesty`: seconds for which it will stand still."""

    at: float
    wall: float
    amnesty: float


def interval(lease: float) -> float:
    """Seconds between two advances by an API process."""
    return min(2.0, lease / 15)


def longest(lease: float) -> float:
    """Seconds between two advances after which all API processes count as having been away."""
    return 3 * interval(lease)


def amnesty(lease: float) -> float:
    """Seconds for which the clock stands still after that. Agents renew every third of a lease, so each lease that ran
    then has nearly all of its length left."""
    return min(60.0, lease / 2)


def advance(clock: LeaseClock, wall: float, lease: float) -> LeaseClock:
    """The clock at a later time of the wall clock, which may have been set in between."""
    passed = wall - clock.wall
    standstill = clock.amnesty
    if passed > longest(lease):
        passed, after = longest(lease), amnesty(lease)
    else:
        passed = max(0.0, passed)
        after = max(0.0, standstill - passed)
    return LeaseClock(clock.at + max(0.0, passed - standstill), wall, after)
