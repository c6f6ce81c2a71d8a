"""The result of a benchmark: two figures of one run, their ratio, and the bounds that were promised, if any."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`ours` beside `bare`, both medians in `unit` unless the note says otherwise.

    Bounds on ours / bare: at most `most`, at least `least`. `limit`: the most that `ours` may be by itself, on a
    machine that is quiet.
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
        made = [f"ratio ≤ {self.most:g}"] if self.most is not None else []
        made += [f"ratio ≥ {self.least:g}"] if self.least is not None else []
        made += [f"≤ {self.limit:g} {self.unit}"] if self.limit is not None else []
        return ", ".join(made)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return msgspec.structs.asdict(self) | {"ratio": round(self.ratio, 3), "holds": self.holds}


def table(results: Sequence[Result]) -> str:
    """The results for a person."""
    lines = [f"{'':52} {'linkspan':>10} {'bare':>10} {'':>8} {'ratio':>7}  bound"]
    for one in results:
        mark = "" if one.holds else "  MISSED"
        lines.append(
            f"{one.name:52} {one.ours:10.3f} {one.bare:10.3f} {one.unit:>8} {one.ratio:7.2f}  {one.bound}{mark}"
        )
        if one.note:
            lines.append(f"{'':4}{one.note}")
    return "\n".join(lines)


def median(values: Sequence[float]) -> float:
    """The p50."""
    return statistics.median(values)


def ratio_error(ours: Sequence[float], bare: Sequence[float]) -> float:
    """The standard error of mean(ours) / mean(bare), as a part of it."""
    parts = (statistics.stdev(each) / statistics.mean(each) / math.sqrt(len(each)) for each in (ours, bare))
    return math.hypot(*parts)


def cpu_seconds(pid: int) -> float:
    """CPU that the threads of a process have used, in seconds, to the nanosecond (kernel: sched-stats.rst)."""
    total = sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
    return total / 1e9
