"""Tunnels that go down again and again: by themselves or by their peer, not by an edit. Pure.

Times are those of `lifecycle.step`.
"""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.catalogue.declared import FLAPPING_WITHIN, FLAPS

MOST: Final = 20
"""Times that are remembered."""

Downs = tuple[float, ...]
"""When a tunnel went down, the newest last: within `FLAPPING_WITHIN`."""


def went_down(downs: Downs, now: float) -> Downs:
    """The times after the tunnel has gone down."""
    return (*recent(downs, now), now)[-MOST:]


def recent(downs: Downs, now: float) -> Downs:
    """The times that still count."""
    return tuple(at for at in downs if at > now - FLAPPING_WITHIN)


def is_flapping(downs: Downs) -> bool:
    """True if the tunnel has gone down often enough."""
    return len(downs) >= FLAPS


def ends_at(downs: Downs) -> float | None:
    """The time at which a tunnel that stays up is no longer flapping; None if it is not."""
    return downs[-FLAPS] + FLAPPING_WITHIN if is_flapping(downs) else None


def sentence(downs: Downs, cause: str) -> str:
    """The reason of a tunnel that is flapping. `cause`: the newest one, empty if it is not known."""
    minutes = f"{FLAPPING_WITHIN / 60:.0f}"
    return causes.sentence("FLAPPING", "cause" if cause else "", count=len(downs), minutes=minutes, cause=cause)
