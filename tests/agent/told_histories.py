"""Generated histories of two gateways whose timelines are compared with what charon had all the time.

The timeline is what an API has got that is away now and then, loses answers, and knows each event by its id. Agents are
killed as in the other histories, and the next one goes on with the file of the one before it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from linkspan.agent.event_queue import EventQueue
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.timeline import NodeEvent
from tests.agent.slow_charon import Network
from tests.agent.two_ends import CheckedOutbox, History, Site

LAG: Final = 9.0
"""Seconds between what charon has and what the agent knows: it waits a second for the response to each command, and
lists for a sample of the traffic now and then."""
DELIVERY: Final = 2.0
"""Seconds between two deliveries."""

WAYS: Final = ("up", "down")


class Change(NamedTuple):
    """From this time on a connection carries traffic, or does not."""

    at: float
    is_up: bool


class ToldSite(Site):
    """One end. `carried`: what charon had, by connection; `received`: the timeline of the API, by the ids of events."""

    def __init__(self, number: int, network: Network) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="ls-told-")
        self.carried: dict[str, list[Change]] = {}
        self.received: dict[str, NodeEvent] = {}
        self.absences: list[tuple[float, float]] = []
        self.answered_at: dict[str, float] = {}
        super().__init__(number, network)

    def new_outbox(self) -> CheckedOutbox:
        return CheckedOutbox(self, self.new_events())

    def new_events(self) -> EventQueue:
        return EventQueue(Path(self.directory.name) / "timeline.jsonl", lambda: self.network.time.now)

    def crash_agent(self) -> None:
        self.absences.append((self.network.time.now, float("inf")))
        super().crash_agent()

    def start_agent(self) -> None:
        if self.absences:
            self.absences[-1] = (self.absences[-1][0], self.network.time.now)
        super().start_agent()

    def deliver(self, *, is_lost: bool, is_answered: bool) -> None:
        """A report with events goes to the API, which may be away, and whose answer may be lost."""
        if self.worker is None:
            return
        batch = self.outbox.take(0)
        if not is_lost:
            self.received |= {event.id: event for event in batch.events}
        if is_lost or not is_answered:
            self.outbox.put_back(batch)
        else:
            self.outbox.delivered(batch)

    def confirmed(self, id: str) -> None:
        self.answered_at.setdefault(id, self.network.time.now)
        super().confirmed(id)

    def look(self, answers_since: float) -> None:
        super().look(answers_since)
        carrying = self._carrying()
        for id in carrying | self.carried.keys():
            changes = self.carried.setdefault(id, [])
            if (id in carrying) != (changes[-1].is_up if changes else False):
                changes.append(Change(self.network.time.now, id in carrying))

    def _carrying(self) -> set[str]:
        """The connections that have an installed child of a version that is desired, in an IKE SA whose peer is alive
        for them."""
        found = set()
        for end in self.ends():
            for child in end.children.values():
                owner = ipsec_config.owner_of(child.name)
                tunnel = self.worker._tunnels.by_id.get(owner) if self.worker else None
                given_up = tunnel.dpd_state.given_up if tunnel else frozenset()
                if child.carries and child.name in self._allowed(owner) and end.unique_id not in given_up:
                    found.add(owner)
        return found

    # -- the comparison ------------------------------------------------------------------------------------------

    def untrue(self) -> list[str]:
        """What the timeline says and charon did not do, and what charon did and the timeline does not say."""
        faults: list[str] = []
        by_connection: dict[str, list[NodeEvent]] = {}
        for event in sorted(self.received.values(), key=lambda event: event.at):
            by_connection.setdefault(event.connection_id, []).append(event)
        for id in by_connection.keys() | self.carried.keys():
            told = [Change(event.at, event.kind == "up") for event in by_connection.get(id, ()) if event.kind in WAYS]
            faults += [f"{id}: {fault}" for fault in self._compared(id, told)]
        return faults

    def _compared(self, id: str, told: list[Change]) -> list[str]:
        carried = self.carried.get(id, [])
        pairs = zip([Change(0.0, False), *told], told, strict=False)
        faults = [f"{change} follows its like" for before, change in pairs if before.is_up == change.is_up]
        faults += [
            f"{change} is told, and charon had {carried}"
            for change in told
            if not was(carried, change.is_up, change.at - LAG, change.at + LAG)
        ]
        ends = [change.at for change in carried[1:]] + [self.network.time.now]
        for change, ends_at in zip(carried, ends, strict=False):
            # A deleted connection is down when its tombstone is answered: charon may wait for the peer until then.
            known_by = min(ends_at, max(self._known_by(change.at), self.answered_at.get(id, 0.0)))
            if ends_at - change.at > LAG and not was(told, change.is_up, change.at, known_by):
                faults.append(f"{change} until {ends_at:.2f} is not told: {told}")
        return faults

    def _known_by(self, at: float) -> float:
        """The time by which an agent knows of a change: one that is away, when the next one has come."""
        for gone, back in self.absences:
            if gone - LAG <= at <= back:
                return self._known_by(back + 0.001) if back < float("inf") else back
        return at + LAG


def was(changes: list[Change], is_up: bool, since: float, until: float) -> bool:
    """True if it was so at some time between these."""
    state = False
    for change in changes:
        if change.at > until:
            break
        if change.at > since and state == is_up:
            return True
        state = change.is_up
    return state == is_up


class ToldHistory(History):
    """One history, the same for the same seed."""

    site_class = ToldSite

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._away_until = 0.0
        self.network.time.later(self._deliver, DELIVERY)

    def told_sites(self) -> list[ToldSite]:
        return [site for site in self.sites if isinstance(site, ToldSite)]

    def _deliver(self) -> None:
        now = self.network.time.now
        if self.chance.random() < 0.05:
            self._away_until = now + self.chance.choice((5.0, 40.0))
        for site in self.told_sites():
            site.deliver(is_lost=now < self._away_until, is_answered=self.chance.random() < 0.8)
        self.network.time.later(self._deliver, DELIVERY)

    def run(self) -> list[str]:
        """Play it to its end. Returns what the timelines say that is not true, or do not say."""
        super().run()
        for site in self.told_sites():
            site.deliver(is_lost=False, is_answered=True)
        faults = [fault for site in self.told_sites() for fault in site.untrue()]
        for site in self.told_sites():
            site.directory.cleanup()
        return faults
