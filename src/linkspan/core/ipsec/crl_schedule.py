"""Schedule by which the revocation lists of trust anchors are fetched. Pure; times in seconds since the epoch."""

from __future__ import annotations

import msgspec

INTERVAL = 3600.0
"""Seconds between two fetches of a list that is valid for long."""
SOONEST = 30.0
"""Seconds between two fetches at least."""
LONGEST_BACKOFF = 600.0
ANSWERED = 60.0
"""Seconds after which a fetch that has brought no answer counts as lost."""


class Fetched(msgspec.Struct, frozen=True):
    """The list fetched from a URL, or the reason why nothing was, in one clause."""

    url: str
    data: bytes = b""
    error: str = ""


class FetchState(msgspec.Struct, frozen=True):
    """The fetches of a URL: the time of the next one, and how many have failed in a row."""

    next_at: float = 0.0
    failures: int = 0


def started(state: FetchState, now: float) -> FetchState:
    """The state while a fetch runs."""
    return FetchState(now + ANSWERED, state.failures)


def failed(state: FetchState, now: float) -> FetchState:
    """The state after a fetch that has brought nothing: the next ones come ever later."""
    delay = min(LONGEST_BACKOFF, SOONEST * 2 ** min(state.failures, 8))
    return FetchState(now + delay, state.failures + 1)


def succeeded(_state: FetchState, now: float, next_update: float) -> FetchState:
    """The state after a fetch. The next one comes well before the list ends, so that a few may fail."""
    delay = min(INTERVAL, (next_update - now) / 2)
    return FetchState(now + max(SOONEST, delay), 0)
