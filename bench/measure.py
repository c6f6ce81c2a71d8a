"""Results of benchmarks: two figures of one run, their ratio, and their bounds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

_SCHEDULED: Final = 2
"""The clock of a process that counts what the scheduler gave it (linux/posix-timers.h, CPUCLOCK_SCHED)."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of Linkspan (`ours`) and of the bare implementation, both medians in `unit` unless the note differs.

    Bounds on ours / bare: at most `most`, at least `least`. `limit`: the upper bound of `ours` itself, on a quiet
    machine.
    """

    name: str
    ours: float
    bare: float
    unit: str
    most: float | None = None
    least: float | None = None
    limit: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """ours / bare."""
        return self.ours / self.bare

    @property
    def holds(self) -> bool:
        """True if all bounds are kept."""
        return (
            (self.most is None or self.ratio <= self.most)
            and (self.least is None or self.ratio >= self.least)
            and (self.limit is None or self.ours <= self.limit)
        )

    @property
    def bound(self) -> str:
        """The bounds as text."""
        bounds = [f"ratio ≤ {self.most:g}"] if self.most is not None else []
        bounds += [f"ratio ≥ {self.least:g}"] if self.least is not None else []
        bounds += [f"≤ {self.limit:g} {self.unit}"] if self.limit is not None else []
        return ", ".join(bounds)

    def record(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return msgspec.structs.asdict(self) | {"ratio": round(self.ratio, 3), "holds": self.holds}


def table(results: Sequence[Result]) -> str:
    """Return the results as a table of text."""
    lines = [f"{'':52} {'linkspan':>10} {'bare':>10} {'':>8} {'ratio':>7}  bound"]
    for result in results:
        mark = "" if result.holds else "  MISSED"
        figures = f"{result.ours:10.3f} {result.bare:10.3f} {result.unit:>8} {result.ratio:7.2f}"
        lines.append(f"{result.name:52} {figures}  {result.bound}{mark}")
        if result.note:
            lines.append(f"{'':4}{result.note}")
    return "\n".join(lines)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ratio_error(ours: Sequence[float], bare: Sequence[float]) -> float:
    """Return the relative standard error of mean(ours) / mean(bare)."""
    parts = (statistics.stdev(values) / statistics.mean(values) / math.sqrt(len(values)) for values in (ours, bare))
    return math.hypot(*parts)


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used, with those of threads that have ended (clock_getcpuclockid(3)).

    Raises OSError if it has ended.
    """
    return time.clock_gettime(~pid << 3 | _SCHEDULED)
