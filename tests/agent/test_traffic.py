"""Traffic of a gateway's connections over fake drivers: what its agent samples, and when it lists SAs for it."""

from __future__ import annotations

import queue
import time
from itertools import pairwise

import pytest

from linkspan.agent.managed_charon import ManagedCharon
from linkspan.agent.traffic import AFTERWARDS, LISTED, GatewayTraffic
from linkspan.core.state.traffic import STEP, TrafficSample
from linkspan.core.tunnel.charon_events import CharonEvent, ChildCounted
from linkspan.core.tunnel.sas import ChildSa, IkeSa
from linkspan.drivers.ports import DriverError
from linkspan.testing.fake_drivers import FakeCharon, FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.agent.test_gateway_worker import LEFT, TO_LEFT, TO_RIGHT, GatewayUnderTest, left, right, world
from tests.drivers.machine import eventually
from tests.harness.databases import Clock

__all__ = ["left", "right", "world"]

SIZE = 84
"""Bytes of a packet of the fake world."""


class Sampler:
    """An agent's part that samples, beside the worker that runs the tunnel; its clock advances by `pass_` only."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.clock = Clock()
        self.events: queue.SimpleQueue[CharonEvent] = queue.SimpleQueue()
        self.charon = ManagedCharon(LEFT.id, FakeDrivers(world).charon(LEFT), self.events.put)
        self.charon.ensure_running()
        self.traffic = GatewayTraffic(self.charon, self.clock, 0.0)
        self.traffic.sample([TO_RIGHT.id])

    def send(self, packets: int) -> None:
        for _ in range(packets):
            assert self.world.send(LEFT.id, "10.1.0.10", "10.2.0.10") == "esp"

    def hear(self) -> None:
        """Handle charon's events."""
        while not self.events.empty():
            event = self.events.get()
            if isinstance(event, ChildCounted):
                self.traffic.count(event)

    def pass_(self, seconds: float = STEP) -> None:
        """Let time pass, and sample when it is due."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, max(self.clock.now, self.traffic.due))
            self.traffic.sample([TO_RIGHT.id])

    def samples(self, since: float | None = 0.0) -> list[TrafficSample]:
        return [sample for each in self.traffic.of([TO_RIGHT.id], since) for sample in each.samples]

    def sent(self) -> list[int | None]:
        return [sample.out_packets for sample in self.samples()]


@pytest.fixture
def sampler(world: FakeWorld, left: GatewayUnderTest, right: GatewayUnderTest) -> Sampler:
    left.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    left.wait(TO_RIGHT.id, "up")
    right.wait(TO_LEFT.id, "up")
    # The verification of PFS rekeys once.
    eventually(lambda: all(child.group for child in children(world)))
    assert world.send(LEFT.id, "10.1.0.10", "10.2.0.10") == "esp"
    return Sampler(world)


def children(world: FakeWorld) -> list[ChildSa]:
    return [child for sa in FakeDrivers(world).charon(LEFT).sas() for child in sa.children]


def rekey(world: FakeWorld) -> None:
    charon = FakeDrivers(world).charon(LEFT)
    charon.rekey(charon.sas()[0].children[0].unique_id)


def test_each_sample_has_what_has_passed_since_the_one_before(sampler: Sampler) -> None:
    sampler.send(3)
    sampler.pass_()
    sampler.pass_()
    sampler.send(2)
    sampler.pass_()
    assert sampler.sent() == [3, 0, 2], "what was sent before the agent looked is not traffic of now"
    first, _, last = sampler.samples()
    assert (first.out_bytes, first.in_bytes, first.seconds) == (3 * SIZE, 0, STEP)
    assert abs(last.at - time.time()) < 5.0
    assert sampler.samples(since=None) == [last]
    assert sampler.samples(since=first.at) == sampler.samples()[1:]
    assert sampler.traffic.of(["unknown"], 0.0) == ()


def test_where_nothing_passes_sas_are_hardly_ever_listed(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    listings: list[float] = []
    sas = FakeCharon.sas

    def counted(charon: FakeCharon, ike: str = "") -> tuple[IkeSa, ...]:
        if not ike:
            listings.append(sampler.clock.now)
        return sas(charon, ike)

    monkeypatch.setattr(FakeCharon, "sas", counted)
    sampler.pass_(600.0)
    assert len(sampler.samples()) == 60
    assert len(listings) <= 600 / LISTED + 1
    # The control: where something passes, each sample is of a listing.
    listings.clear()
    for _ in range(6):
        sampler.send(1)
        sampler.pass_()
    assert (len(listings), sampler.sent()[-6:]) == (6, [1] * 6)


def test_a_rekey_loses_nothing_and_is_looked_at_again(sampler: Sampler) -> None:
    sampler.send(4)
    rekey(sampler.world)
    sampler.hear()
    sampler.send(3)
    assert sampler.traffic.due <= sampler.clock.now + AFTERWARDS
    sampler.pass_()
    assert sampler.sent() == [7]


def test_while_charon_does_not_run_there_is_a_gap(sampler: Sampler) -> None:
    sampler.pass_()
    sampler.charon.running = False
    sampler.pass_(35.0)
    sampler.charon.running = True
    sampler.traffic.sample([TO_RIGHT.id])
    sampler.send(1)
    sampler.pass_()
    found = sampler.samples()
    assert [sample.out_packets for sample in found] == [0, None, 1]
    assert 30.0 <= found[1].seconds <= 40.0
    for before, after in pairwise(found):
        assert after.at - after.seconds == pytest.approx(before.at, abs=0.01)


def test_what_a_new_charon_counts_counts_from_its_start(sampler: Sampler, left: GatewayUnderTest) -> None:
    sampler.send(2)
    sampler.pass_()
    left.stop()
    sampler.world.kill(LEFT.id)
    sampler.charon.lost()
    sampler.charon.ensure_running()
    again = GatewayUnderTest(FakeDrivers(sampler.world), LEFT)
    try:
        again.set_desired(TO_RIGHT)
        again.wait(TO_RIGHT.id, "up")
        sampler.send(6)
        sampler.pass_()
        assert sampler.sent() == [2, 6]
    finally:
        again.stop()


def test_a_charon_that_does_not_answer_delays_nobody_who_asks(sampler: Sampler) -> None:
    sampler.send(2)
    sampler.pass_()
    sampler.send(1)
    sampler.world.freeze(LEFT.id)
    with pytest.raises(DriverError):
        sampler.pass_()
    assert sampler.sent() == [2]
    sampler.world.freeze(LEFT.id, frozen=False)
    sampler.pass_()
    assert sampler.sent() == [2, 1]
    assert sampler.samples()[-1].seconds == 2 * STEP


def test_a_round_trip_is_in_the_sample_of_its_time(sampler: Sampler) -> None:
    sampler.traffic.time([TO_RIGHT.id, "another"], 0.0215)
    sampler.pass_()
    sampler.pass_()
    assert [sample.rtt_ms for sample in sampler.samples()] == [21.5, None]
    (newest,) = sampler.samples(since=None)
    assert newest.rtt_ms == 21.5


def test_a_connection_that_has_left_is_forgotten(sampler: Sampler) -> None:
    sampler.pass_()
    assert sampler.samples()
    sampler.clock.pass_(STEP)
    sampler.traffic.sample([])
    assert sampler.samples() == []


def test_the_worker_samples_its_tunnels(world: FakeWorld, right: GatewayUnderTest) -> None:
    start = time.monotonic()
    fast = GatewayUnderTest(FakeDrivers(world), LEFT, lambda: start + (time.monotonic() - start) * 40)
    try:
        fast.set_desired(TO_RIGHT)
        right.set_desired(TO_LEFT)
        fast.wait(TO_RIGHT.id, "up")
        eventually(lambda: bool(fast.worker.traffic([TO_RIGHT.id], 0.0)))
        for _ in range(5):
            assert world.send(LEFT.id, "10.1.0.10", "10.2.0.10") == "esp"

        def sent() -> int:
            found = fast.worker.traffic([TO_RIGHT.id], 0.0)[0].samples
            return sum(sample.out_packets or 0 for sample in found)

        eventually(lambda: sent() == 5)
    finally:
        fast.stop()
