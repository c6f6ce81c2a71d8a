"""Simultaneous initiation over a wire with delays: in every order both ends keep one IKE SA, and the same one."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import msgspec
import pytest

from linkspan.core.tunnel import events, lifecycle, reconcile, reports
from linkspan.core.tunnel.actions import DeleteIkeSa, Initiate, ListSas, Rekey
from linkspan.core.tunnel.events import Loaded, SasListed, Tick
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, sa

ADDRESSES = ("198.51.100.1", "198.51.100.2")
SLOWEST = 0.05
"""Longest delay of a message, a listing or an action, seconds."""
CALM = 20.0


class Exchange:
    """An IKE SA of both ends: its state at each, as charon has it."""

    def __init__(self, number: int, initiator: int) -> None:
        self.number, self.initiator = number, initiator
        self.state: list[str] = ["", ""]
        self.since = [0.0, 0.0]
        self.rekeyers = set[int]()
        self.group = ""

    @property
    def common(self) -> bool:
        """True if it carries traffic: both ends have it."""
        return self.state == ["ESTABLISHED"] * 2

    def seen_at(self, end: int, name: str, children: tuple[str, ...], now: float) -> IkeSa:
        established = self.state[end] == "ESTABLISHED"
        found = sa(
            name,
            *(child(one, number=self.number, group=self.group) for one in children if established),
            unique_id=self.number,
            state=self.state[end],
            initiator=end == self.initiator,
            age=int(now - self.since[end]),
        )
        return msgspec.structs.replace(found, local_address=ADDRESSES[end], remote_address=ADDRESSES[1 - end])


class TwoEnds:
    """Both ends and what is on its way between them; every step takes as long as `delay` says."""

    def __init__(self, delay: Callable[[], float]) -> None:
        self.delay, self.now = delay, 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.exchanges: list[Exchange] = []
        self.tunnels = [self.born(end) for end in (0, 1)]
        self.gaps: list[float] = []
        self.parted: float | None = None
        self.listing = [0, 0]

    def born(self, end: int) -> Tunnel:
        here, there = ADDRESSES[end], ADDRESSES[1 - end]
        return reconcile.tunnel_for(connection(local_address=here, peer_address=there, peer_id=there), "user-space")

    def later(self, act: Callable[[], None], delay: float | None = None) -> None:
        when = self.now + (self.delay() if delay is None else delay)
        heapq.heappush(self.queue, (when, next(self.order), act))

    def run(self, until: float) -> None:
        """Runs what is due, in order, and measures the gaps in which the ends have no IKE SA in common."""
        common = False
        while self.queue and self.queue[0][0] <= until:
            self.now, _, act = heapq.heappop(self.queue)
            act()
            before, common = common, any(exchange.common for exchange in self.exchanges)
            if before and not common:
                self.parted = self.now
            elif common and self.parted is not None:
                self.gaps.append(self.now - self.parted)
                self.parted = None

    def handle(self, end: int, event: events.Event) -> None:
        self.tunnels[end], actions = lifecycle.step(self.tunnels[end], event, self.now)
        for action in actions:
            match action:
                case Initiate():
                    self.later(lambda: self.initiate(end))
                case DeleteIkeSa(number):
                    self.later(lambda number=number: self.end(end, number))  # type: ignore[misc]
                case Rekey(number):
                    self.rekey(end, self.exchanges[number - 1])
                case ListSas():
                    self.list_sas(end)
        due = lifecycle.wake_at(self.tunnels[end])
        if due is not None and not self.listing[end]:
            self.later(lambda: self.tick(end, due), max(due - self.now, 0.0))

    def tick(self, end: int, due: float) -> None:
        if lifecycle.wake_at(self.tunnels[end]) == due:
            self.handle(end, Tick())

    def list_sas(self, end: int) -> None:
        self.listing[end] += 1
        self.later(lambda: self.seen(end))

    def seen(self, end: int) -> None:
        self.listing[end] -= 1
        self.handle(end, SasListed(self.listed(end)))

    def listed(self, end: int) -> tuple[IkeSa, ...]:
        config = self.tunnels[end].config
        assert config
        names = tuple(one.name for one in config.children)
        return tuple(one.seen_at(end, config.name, names, self.now) for one in self.exchanges if one.state[end])

    def initiate(self, end: int) -> None:
        exchange = Exchange(len(self.exchanges) + 1, end)
        exchange.state[end] = "CONNECTING"
        self.exchanges.append(exchange)
        self.later(lambda: self.answer(exchange, 1 - end))

    def answer(self, exchange: Exchange, end: int) -> None:
        """IKE_AUTH has come: the responder is up first, and cannot know whether its answer will be heard."""
        self.established(exchange, end)
        self.later(lambda: self.answered(exchange, 1 - end))

    def answered(self, exchange: Exchange, end: int) -> None:
        if exchange.state[end]:
            self.established(exchange, end)

    def established(self, exchange: Exchange, end: int) -> None:
        exchange.state[end], exchange.since[end] = "ESTABLISHED", self.now
        self.list_sas(end)

    def end(self, end: int, number: int) -> None:
        exchange = self.exchanges[number - 1]
        notified = exchange.state[end] == "ESTABLISHED"
        self.gone(exchange, end)
        if notified:
            self.later(lambda: self.gone(exchange, 1 - end))

    def rekey(self, end: int, exchange: Exchange) -> None:
        exchange.rekeyers.add(end)
        self.later(lambda: self.rekeyed(exchange))

    def rekeyed(self, exchange: Exchange) -> None:
        exchange.group = "MODP_2048"
        for end in (0, 1):
            self.list_sas(end)

    def gone(self, exchange: Exchange, end: int) -> None:
        exchange.state[end] = ""
        self.list_sas(end)


@pytest.mark.parametrize("seed", range(300))
def test_simultaneous_initiation_leaves_one_ike_sa_without_a_gap(seed: int) -> None:
    chance = random.Random(seed)
    ends = TwoEnds(lambda: chance.uniform(0.001, SLOWEST))
    ends.later(lambda: ends.handle(0, Loaded()), 0.0)
    ends.later(lambda: ends.handle(1, Loaded()), chance.uniform(0.0, SLOWEST))
    ends.run(CALM)
    assert [one.state for one in ends.exchanges if any(one.state)] == [["ESTABLISHED"] * 2]
    assert [one.group for one in ends.exchanges if one.common] == ["MODP_2048"]
    assert all(len(one.rekeyers) <= 1 for one in ends.exchanges), "both rekey one child at once"
    assert [reports.report(tunnel, 1).state for tunnel in ends.tunnels] == ["up", "up"]  # type: ignore[union-attr]
    assert max(ends.gaps, default=0.0) <= SLOWEST, "an answer may be overtaken by the end of the other one"
