"""The schedule of one gateway's convergence: at once on request, after a delay that grows with each failure."""

from __future__ import annotations

from collections.abc import Callable

RETRY = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between attempts to converge; the last one repeats."""


class Schedule:
    """`due`: the time on `clock` at which convergence runs, None if it is not needed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.due: float | None = None
        self._clock = clock
        self._failures = 0

    def request(self, delay: float = 0.0) -> None:
        """Run convergence after `delay` seconds at the latest, also instead of a later retry."""
        due = self._clock() + delay
        self.due = due if self.due is None else min(self.due, due)

    def retry(self) -> float:
        """Run convergence after the delay of this failure. Returns the delay in seconds."""
        delay = RETRY[min(self._failures, len(RETRY) - 1)]
        self._failures += 1
        self.due = self._clock() + delay
        return delay

    def take(self) -> bool:
        """Returns whether convergence is due now, and clears the request: the run itself may make a new one."""
        if self.due is None or self.due > self._clock():
            return False
        self.due = None
        return True

    def succeeded(self) -> None:
        """Start again with the shortest delay after the next failure."""
        self._failures = 0
