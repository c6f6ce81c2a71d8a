"""Two lives that begin at once, over a wire that takes its time: whatever meets, one IKE SA stays, and the same one."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import msgspec
import pytest

from linkspan.core.tunnel import events, lifecycle, reconcile, tunnel
from linkspan.core.tunnel.actions import DeleteIkeSa, Initiate, ListSas, Rekey
from linkspan.core.tunnel.events import Loaded, SasListed, Tick
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, sa

ADDRESSES = ("198.51.100.1", "198.51.100.2")
SLOWEST = 0.05
"""Seconds that anything takes at most: a message, a look, an act."""
CALM = 20.0


class Exchange:
    """An IKE SA of both ends: its state at each, as charon has it."""

    def __init__(self, number: int, initiator: int) -> None:
        self.number, self.initiator = number, initiator
        self.state: list[str] = ["", ""]
        self.since = [0.0, 0.0]
        self.renewers = set[int]()
        self.group = ""

    @property
    def common(self) -> bool:
        """Whether it carries traffic: who has it alone talks to nobody."""
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


class World:
    """Both ends and what is on its way between them; every step takes as long as `delay` says."""

    def __init__(self, delay: Callable[[], float]) -> None:
        self.delay, self.now = delay, 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.exchanges: list[Exchange] = []
        self.lives = [self.born(end) for end in (0, 1)]
        self.gaps: list[float] = []
        self.parted: float | None = None
        self.looking = [0, 0]

    def born(self, end: int) -> Tunnel:
        here, there = ADDRESSES[end], ADDRESSES[1 - end]
        return reconcile.tunnel_for(connection(local_address=here, peer_address=there, peer_id=there), "user-space")

    def later(self, act: Callable[[], None], delay: float | None = None) -> None:
        when = self.now + (self.delay() if delay is None else delay)
        heapq.heappush(self.queue, (when, next(self.order), act))

    def run(self, until: float) -> None:
        """What is due, in its order; between any two of them, whether the ends have something in common."""
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

    def tell(self, end: int, event: events.Event) -> None:
        self.lives[end], actions = lifecycle.step(self.lives[end], event, self.now)
        for action in actions:
            match action:
                case Initiate():
                    self.later(lambda: self.initiate(end))
                case DeleteIkeSa(number):
                    self.later(lambda number=number: self.end(end, number))  # type: ignore[misc]
                case Rekey(number):
                    self.renew(end, self.exchanges[number - 1])
                case ListSas():
                    self.look(end)
        due = lifecycle.wake_at(self.lives[end])
        if due is not None and not self.looking[end]:
            self.later(lambda: self.tick(end, due), max(due - self.now, 0.0))

    def tick(self, end: int, due: float) -> None:
        if lifecycle.wake_at(self.lives[end]) == due:
            self.tell(end, Tick())

    def look(self, end: int) -> None:
        self.looking[end] += 1
        self.later(lambda: self.seen(end))

    def seen(self, end: int) -> None:
        self.looking[end] -= 1
        self.tell(end, SasListed(self.listed(end)))

    def listed(self, end: int) -> tuple[IkeSa, ...]:
        config = self.lives[end].config
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
        self.look(end)

    def end(self, end: int, number: int) -> None:
        exchange = self.exchanges[number - 1]
        told = exchange.state[end] == "ESTABLISHED"
        self.gone(exchange, end)
        if told:
            self.later(lambda: self.gone(exchange, 1 - end))

    def renew(self, end: int, exchange: Exchange) -> None:
        exchange.renewers.add(end)
        self.later(lambda: self.renewed(exchange))

    def renewed(self, exchange: Exchange) -> None:
        exchange.group = "MODP_2048"
        for end in (0, 1):
            self.look(end)

    def gone(self, exchange: Exchange, end: int) -> None:
        exchange.state[end] = ""
        self.look(end)


@pytest.mark.parametrize("seed", range(300))
def test_two_ends_that_begin_at_once_keep_the_same_ike_sa_and_never_lose_it(seed: int) -> None:
    chance = random.Random(seed)
    world = World(lambda: chance.uniform(0.001, SLOWEST))
    world.later(lambda: world.tell(0, Loaded()), 0.0)
    world.later(lambda: world.tell(1, Loaded()), chance.uniform(0.0, SLOWEST))
    world.run(CALM)
    assert [one.state for one in world.exchanges if any(one.state)] == [["ESTABLISHED"] * 2]
    assert [one.group for one in world.exchanges if one.common] == ["MODP_2048"]
    assert all(len(one.renewers) <= 1 for one in world.exchanges), "both renew one child at once"
    assert [tunnel.report(life, 1).state for life in world.lives] == ["up", "up"]  # type: ignore[union-attr]
    assert max(world.gaps, default=0.0) <= SLOWEST, "an answer may be overtaken by the end of the other one"
