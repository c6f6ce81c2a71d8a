"""Tunnels that are up while packets pass in one direction only: what the counters of their children show. Pure.

Nobody lists a tunnel that is up and quiet. So it is listed some seconds after it has come up, then less and less often
until packets have passed in both directions; and when charon sends a DPD probe, which it does if nothing has come in
for a while. One that carries one direction only is listed again and again, to see the end of that. Times are those of
`lifecycle.step`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal

import msgspec

from linkspan.core.diagnosis.catalogue.declared import SILENT
from linkspan.core.tunnel.sas import ChildSa, IkeSa

FIRST: Final = SILENT + 2.0
"""Seconds after which a tunnel that has come up is listed."""
LONGEST: Final = 300.0
"""Seconds between two listings of a tunnel through which nothing has passed, at most."""
AGAIN: Final = 10.0
"""Seconds between two listings of a tunnel that carries one direction only, or may do."""
LEAST: Final = 3
"""Packets in one direction without any in the other one that show that it is one-way."""

OneWay = Literal["", "UP_NO_TRAFFIC_IN", "UP_NO_TRAFFIC_OUT"]

_set = msgspec.structs.replace


class Traffic(msgspec.Struct, frozen=True):
    """The traffic of a tunnel. `packets`: in the one direction that has any, in `seconds`. `due`: the time
    of the next listing, `listed_at`: that of the last one that was due, `delay`: seconds between the two. `suspected`:
    packets that had gone out when it was first seen that none come in any more; None while some do."""

    one_way: OneWay = ""
    packets: int = 0
    seconds: int = 0
    due: float | None = None
    listed_at: float | None = None
    delay: float = FIRST
    suspected: int | None = None


class _Counts(msgspec.Struct, frozen=True):
    """Packets out and in of all children, the age of the oldest, and seconds since the last packet in; -1: never.

    `is_quiet`: packets have gone out for a while since the last one came in."""

    sent: int
    received: int
    age: int
    idle_in: int
    is_quiet: bool


def came_up(now: float) -> Traffic:
    """The traffic of a tunnel that has just come up."""
    return Traffic(due=now + FIRST)


def probed(traffic: Traffic, now: float) -> Traffic:
    """The traffic after a DPD probe: nothing has come in for a while."""
    due = now if traffic.listed_at is None else max(now, traffic.listed_at + AGAIN)
    return traffic if traffic.due is not None and traffic.due <= due else _set(traffic, due=due)


def listed(traffic: Traffic, sas: Iterable[IkeSa], children: Collection[str], now: float) -> Traffic:
    """The traffic after a listing of the SAs. `children`: names of those of the tunnel."""
    counts = _counted([child for sa in sas for child in sa.children if child.carries and child.name in children])
    one_way = _one_way(traffic, counts)
    if one_way and one_way == traffic.one_way:
        # The numbers of the first listing stay: a report that changes with each packet is none.
        return _set(traffic, due=now + AGAIN, listed_at=now)
    if one_way:
        sent = counts.sent if traffic.suspected is None else counts.sent - traffic.suspected
        packets = sent if one_way == "UP_NO_TRAFFIC_IN" else counts.received
        seconds = counts.idle_in if counts.received and one_way == "UP_NO_TRAFFIC_IN" else counts.age
        return _set(traffic, one_way=one_way, packets=packets, seconds=seconds, due=now + AGAIN, listed_at=now)
    return _two_way(traffic, counts, now)


def _two_way(traffic: Traffic, counts: _Counts, now: float) -> Traffic:
    """The traffic of a tunnel of which nothing shows that it is one-way."""
    if counts.is_quiet:
        suspected = counts.sent if traffic.suspected is None else traffic.suspected
        return Traffic(due=now + AGAIN, listed_at=now, delay=traffic.delay, suspected=suspected)
    if traffic.due is None or traffic.due > now:
        return Traffic(due=traffic.due, listed_at=traffic.listed_at, delay=traffic.delay)
    delay = min(2 * traffic.delay, LONGEST)
    due = None if counts.sent and counts.received else now + delay
    return Traffic(due=due, listed_at=now, delay=delay)


def _one_way(traffic: Traffic, counts: _Counts) -> OneWay:
    if counts.age < SILENT:
        return ""
    if counts.sent >= LEAST and not counts.received:
        return "UP_NO_TRAFFIC_IN"
    if counts.received >= LEAST and not counts.sent:
        return "UP_NO_TRAFFIC_OUT"
    goes_on = traffic.suspected is not None and counts.sent >= traffic.suspected + LEAST
    return "UP_NO_TRAFFIC_IN" if counts.is_quiet and goes_on else ""


def _counted(children: Collection[ChildSa]) -> _Counts:
    idle_in = min((child.idle_in for child in children if child.idle_in >= 0), default=-1)
    idle_out = min((child.idle_out for child in children if child.idle_out >= 0), default=-1)
    return _Counts(
        sent=sum(child.packets_out for child in children),
        received=sum(child.packets_in for child in children),
        age=max((child.age for child in children), default=-1),
        idle_in=idle_in,
        is_quiet=0 <= idle_out <= idle_in - SILENT,
    )
