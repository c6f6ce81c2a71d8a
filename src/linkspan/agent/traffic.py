"""The traffic of one gateway's connections: sampled all the time, kept in memory for an hour, shown when somebody asks.

A listing of SAs costs many times what the counters of a network device cost. So where nothing has passed the devices of
tunnels since the last sample, SAs are listed every few minutes only; samples between say that nothing has passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec

from linkspan.agent.managed_charon import ManagedCharon
from linkspan.core.state.traffic import STEP, Amounts, ConnectionTraffic, TrafficSample
from linkspan.core.tunnel import traffic_history, traffic_meter
from linkspan.core.tunnel.charon_events import ChildCounted
from linkspan.core.tunnel.traffic_history import SampleTimes, TrafficHistory
from linkspan.core.tunnel.traffic_meter import Meter

LISTED: Final = 300.0
"""Seconds after which SAs are listed although nothing has passed."""
AFTERWARDS: Final = 4.0
"""Seconds after a rekey until the old child SA is looked at again: charon keeps it for 5 s, for what is on its way."""
SPACING: Final = 1.0
"""Least seconds between a listing and another one because of a rekey."""
EARLY: Final = 0.5
"""Seconds by which a sample may be early, if the worker is awake anyway."""
_JUMP: Final = 0.5
"""Seconds by which the clock that shows times must have been set to count as set."""


class Recorded(msgspec.Struct, frozen=True):
    """What was sampled. `offset`: what the wall clock has more than that of the samples."""

    times: SampleTimes = SampleTimes()
    histories: Mapping[str, TrafficHistory] = msgspec.field(default_factory=dict)
    offset: float = 0.0


class GatewayTraffic:
    """`of` is for any thread: it reads what was recorded, and waits for nobody. All else is for the worker's thread.

    `clock`: as the worker's. The first sample is due after `delay` seconds.
    """

    def __init__(self, charon: ManagedCharon, clock: Callable[[], float], delay: float) -> None:
        self._charon = charon
        self._clock = clock
        self._sample_at = clock() + delay
        self._look_at: float | None = None
        self._ended_at = clock() - AFTERWARDS
        self._begin: float | None = None
        self._meter = Meter()
        self._starts = 0
        self._trips: dict[str, float] = {}
        self._counters = ""
        self._listed_at = clock() - LISTED
        self._recorded = Recorded()

    def of(self, ids: Iterable[str], since: float | None) -> tuple[ConnectionTraffic, ...]:
        """The samples of those of these connections that the gateway has, as `core.state.traffic.TrafficRequest`."""
        recorded = self._recorded
        known = [(id, recorded.histories[id]) for id in ids if id in recorded.histories]
        return tuple(ConnectionTraffic(id, _samples(history, recorded, since)) for id, history in known)

    @property
    def due(self) -> float:
        """The time at which `sample` has to be called next."""
        return self._sample_at if self._look_at is None else min(self._look_at, self._sample_at)

    def count(self, event: ChildCounted) -> None:
        """Take the counters of a child SA that was rekeyed or has ended."""
        self._follow_charon()
        self._ended_at = self._clock()
        self._meter = traffic_meter.ended(self._meter, event.child, event.at)
        self._look_at = self._look_at or self._ended_at + AFTERWARDS

    def look_soon(self) -> None:
        """Look at charon at the next call of `sample`, unless that was done a moment ago."""
        soon = max(self._clock(), self._listed_at + SPACING)
        self._look_at = soon if self._look_at is None else min(soon, self._look_at)

    def time(self, ids: Iterable[str], seconds: float) -> None:
        """Take a round trip to the peer of these connections."""
        self._trips.update(dict.fromkeys(ids, seconds * 1000))

    def sample(self, ids: Collection[str]) -> None:
        """Look at charon and take a sample, if it is time. `ids`: the gateway's connections. Raises DriverError."""
        now = self._clock()
        if not self._charon.running:
            if now >= self._sample_at:
                self._sample_at, self._begin = now + STEP, None
            return
        if self._begin is None:
            self._begin = now
        is_due = now >= self._sample_at - EARLY
        if not is_due and now < self.due:
            return
        afterwards = self._ended_at + AFTERWARDS
        self._look_at = afterwards if now < afterwards else None
        if is_due:
            self._sample_at = now + STEP
        is_first = self._meter.known_since is None
        self._look(is_due, now)
        if is_first:
            # Until now nobody knew what charon had counted before this agent.
            self._begin = now
        elif is_due:
            self._record(ids, self._begin, now)
            self._begin = now

    def _look(self, is_due: bool, now: float) -> None:
        """List the SAs, unless they cannot have changed since they were listed."""
        self._follow_charon()
        # Before the listing: what passes meanwhile makes the next sample list again.
        counters = self._charon.device_counters()
        has_moved = not counters or counters != self._counters
        if is_due and not has_moved and now < self._listed_at + LISTED - EARLY:
            return
        self._counters = ""
        listed = self._charon.all_sas()
        self._meter = traffic_meter.listed(self._meter, (child for sa in listed for child in sa.children), now)
        self._counters, self._listed_at = counters, now

    def _follow_charon(self) -> None:
        if self._charon.starts != self._starts:
            self._starts = self._charon.starts
            self._meter = traffic_meter.charon_started(self._meter)

    def _record(self, ids: Collection[str], begin: float, end: float) -> None:
        before, times = self._recorded, traffic_history.taken(self._recorded.times, begin, end)
        number, amounts = times.next - 1, self._meter.amounts
        histories: dict[str, TrafficHistory] = {}
        for id in ids:
            history = before.histories.get(id) or traffic_history.begun(number)
            histories[id] = traffic_history.added(
                history, number, times.first, amounts.get(id, Amounts()), self._trips.get(id)
            )
        self._trips = {}
        self._meter = traffic_meter.sampled(self._meter)
        offset = time.time() - end
        if abs(offset - before.offset) < _JUMP:
            # The times of samples that somebody has read stay the same.
            offset = before.offset
        self._recorded = Recorded(times, histories, offset)


def _samples(history: TrafficHistory, recorded: Recorded, since: float | None) -> tuple[TrafficSample, ...]:
    if since is None:
        sample = traffic_history.newest(history, recorded.times, recorded.offset)
        return () if sample is None else (sample,)
    return tuple(traffic_history.samples(history, recorded.times, recorded.offset, since))
