"""A tunnel and a peer that narrows selectors, with delays, in random histories: in the end every pair is carried.

The peer takes one pair a child, knows only some of the networks for a time, or gives only half of them; it initiates
pairs of its own. charon is simulated as it behaves: it creates one child after the other, refuses to initiate a child
that is not loaded or that equals one that is up, and keeps the selectors of a child at a rekey.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import random
from collections.abc import Callable

import msgspec
import pytest

from linkspan.core.ipsec.config import ChildConfig, is_pair_child
from linkspan.core.ipsec.selectors import SelectorPair, pairs
from linkspan.core.tunnel import lifecycle, reconcile, reports
from linkspan.core.tunnel.actions import DeleteChildSa, DeleteIkeSa, Initiate, ListSas, Reconcile
from linkspan.core.tunnel.charon_events import Cause, SaChanged
from linkspan.core.tunnel.events import Event, Loaded, SasListed, Tick
from linkspan.core.tunnel.sas import ChildSa, IkeSa
from tests.core.samples import ID, child, connection, sa
from tests.harness.examples import examples

LISTS = connection(
    local_cidrs=("10.1.0.0/24", "10.11.0.0/24"), peer_cidrs=("10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24")
)
PAIRS = sorted(pairs(LISTS))
MENDED = 100.0
"""Seconds after which the peer knows everything; then a child is rekeyed."""
END = 200.0


class Site:
    """The tunnel with its charon, and the peer."""

    def __init__(self, seed: int) -> None:
        self.random, self.now, self.order = random.Random(seed), 0.0, itertools.count(1)
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.known = frozenset(self.random.sample(PAIRS, self.random.randint(1, len(PAIRS))))
        self.halves = self.random.random() < 0.3
        self.takes_lists = self.random.random() < 0.2
        self.refuses_lists = self.random.random() < 0.2
        self.established = False
        self.children: list[tuple[ChildSa, ChildConfig]] = []
        self.free_at = 0.0
        self.due: float | None = None
        self.tunnel = reconcile.tunnel_for(LISTS, "user-space")
        self.loaded = self.configured()
        self.later(lambda: self.handle(Loaded()))
        for _ in range(self.random.randint(0, 6)):
            pair = self.random.choice(PAIRS)
            self.later(lambda pair=pair: self.peer_initiates(pair), self.random.uniform(0.0, END / 2))  # type: ignore[misc]
        self.later(self.mend, MENDED)

    def later(self, act: Callable[[], None], delay: float | None = None) -> None:
        when = self.now + (self.random.uniform(0.001, 0.3) if delay is None else delay)
        heapq.heappush(self.queue, (when, next(self.order), act))

    def run(self) -> None:
        while self.queue and self.queue[0][0] <= END:
            self.now, _, act = heapq.heappop(self.queue)
            act()

    def configured(self) -> dict[str, ChildConfig]:
        assert self.tunnel.config
        return {part.name: part for part in self.tunnel.config.children}

    # -- the tunnel ------------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        self.tunnel, actions = lifecycle.step(self.tunnel, event, self.now)
        for action in actions:
            match action:
                case Initiate(_, name):
                    self.initiate(name)
                case DeleteChildSa(number):
                    self.later(lambda number=number: self.delete(number))  # type: ignore[misc]
                case DeleteIkeSa():
                    self.established = False
                case Reconcile():
                    self.loaded = self.configured()
        if ListSas() in actions:
            self.handle(SasListed(self.listed()))
            return
        due = lifecycle.wake_at(self.tunnel)
        if due is not None and due != self.due:
            self.due = due
            self.later(lambda: self.tick(due), max(due - self.now, 0.0))

    def tick(self, due: float) -> None:
        if self.due == due:
            self.due = None
            self.handle(Tick())

    def listed(self) -> tuple[IkeSa, ...]:
        assert self.tunnel.config
        found = sa(self.tunnel.config.name, *(part for part, _ in self.children))
        return (found,) if self.established or self.children else ()

    # -- charon and the peer -----------------------------------------------------------------------------------------

    def initiate(self, name: str) -> None:
        """charon asks for one child after the other."""
        if name not in self.loaded:
            return
        config, self.established = self.loaded[name], True
        self.free_at = max(self.free_at, self.now) + self.random.uniform(0.001, 0.3)
        self.later(lambda: self.answer(config), self.free_at - self.now)

    def answer(self, config: ChildConfig) -> None:
        if any(_without_name(config) == _without_name(other) for _, other in self.children):
            return
        wanted = [SelectorPair(left, right) for left in config.local_ts for right in config.remote_ts]
        taken = [pair for pair in wanted if pair in self.known]
        if not taken or (self.refuses_lists and len(wanted) > 1):
            self.handle(Cause(ID, "SELECTORS_UNACCEPTABLE", "the traffic selectors do not match"))
        elif self.takes_lists and taken == wanted:
            self.install(config, config.local_ts, config.remote_ts)
        else:
            remote = taken[0].remote.replace("/24", "/25") if self.halves else taken[0].remote
            self.install(config, (taken[0].local,), (remote,))

    def install(self, config: ChildConfig, local: tuple[str, ...], remote: tuple[str, ...]) -> None:
        self.established = True
        part = msgspec.structs.replace(child(config.name, number=next(self.order)), local_ts=local, remote_ts=remote)
        self.children.append((part, config))
        self.handle(SaChanged(ID))

    def peer_initiates(self, pair: SelectorPair) -> None:
        """charon takes the first child that fits, which is the one for the list. The peer has one child a pair."""
        selectors = (pair.local,), (pair.remote,)
        if all((part.local_ts, part.remote_ts) != selectors for part, _ in self.children):
            self.install(next(iter(self.loaded.values())), *selectors)

    def delete(self, number: int) -> None:
        self.children = [(part, config) for part, config in self.children if part.unique_id != number]
        self.handle(SaChanged(ID))

    def mend(self) -> None:
        self.known, self.halves = frozenset(PAIRS), False
        self.later(lambda: self.handle(SaChanged(ID, rekeyed=True)), 1.0)


def _without_name(config: ChildConfig) -> ChildConfig:
    return msgspec.structs.replace(config, name="")


@pytest.mark.parametrize("seed", range(examples(500)))
def test_in_the_end_every_pair_is_carried(seed: int) -> None:
    site = Site(seed)
    site.run()
    carried = collections.Counter(
        SelectorPair(left, right) for part, _ in site.children for left in part.local_ts for right in part.remote_ts
    )
    report = reports.report(site.tunnel, 1)
    assert report
    assert (report.state, report.reason) == ("up", "")
    assert carried.keys() >= set(PAIRS)
    asked = [part for part, _ in site.children if is_pair_child(part.name)]
    twice = [part for part in asked if carried[SelectorPair(part.local_ts[0], part.remote_ts[0])] > 1]
    assert twice == [], "a child that this end has asked for carries nothing beside another one"
