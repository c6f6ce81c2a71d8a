"""Drift: changes that other programs make to a gateway's network. When to look for them, and what to say. Pure.

Times are seconds on a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

COMPARISON: Final = 300.0
"""Default of `agent.comparison`: seconds between two full comparisons."""
LIVENESS: Final = 10.0
"""Default of `agent.liveness`: seconds between two questions to charon."""
SPACING: Final = 1.0
"""Least seconds between two comparisons, however many changes are noticed."""
SETTLED: Final = 3.0
"""Seconds from a change of the agent's own, or of a tunnel, until what can wait is done."""
NOTED: Final = 600.0
"""Seconds for which a status reason says what was restored."""
_NAMED: Final = 5


class Intervals(msgspec.Struct, frozen=True):
    """Seconds between two full comparisons, and between two questions to charon."""

    comparison: float = COMPARISON
    liveness: float = LIVENESS


DEFAULT_INTERVALS: Final = Intervals()


class Comparisons(msgspec.Struct, frozen=True):
    """When the network is compared with what it should be: last time and next time."""

    last: float
    next: float


def first(now: float, interval: float, fraction: float) -> Comparisons:
    """The first comparison comes within the interval; `fraction`, 0 to 1, spreads those of many gateways."""
    return Comparisons(now, now + interval * fraction)


def noticed(comparisons: Comparisons, now: float) -> Comparisons:
    """Something may have changed: compare at once, but leave some time between two comparisons."""
    return Comparisons(comparisons.last, min(comparisons.next, max(now, comparisons.last + SPACING)))


def compared(now: float, interval: float) -> Comparisons:
    """A comparison was made."""
    return Comparisons(now, now + interval)


def sentence(missing: Iterable[str], at: str) -> str:
    """What was missing and is restored, for a status reason; `at`: the time in words."""
    items = tuple(dict.fromkeys(missing))
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"changed by another program and restored at {at}: {', '.join(items[:_NAMED])}{more}"
