"""A gateway's worker over fakes that behave: what it makes of a world in which things break."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import msgspec
import pytest

from linkspan.agent.gateway_worker import GLANCE, RETRY, Desired, GatewayWorker, Stop
from linkspan.agent.outbox import Outbox
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Gateway, Gone
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.tunnel.charon_events import SaChanged
from linkspan.core.tunnel.sas import IkeSa
from linkspan.testing.fake_drivers import FakeCharon, FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.drivers.machine import connection, eventually, gateway
from tests.harness.databases import Clock

LEFT, RIGHT = gateway(1), gateway(2)
replace = msgspec.structs.replace
THERE, BACK = connection(1, 2), replace(connection(2, 1), initiator="response-only")


class Site:
    """One gateway's worker, and what it reported last."""

    def __init__(self, drivers: FakeDrivers, gateway: Gateway, clock: Callable[[], float] = time.monotonic) -> None:
        self.drivers = drivers
        self.gateway = gateway
        self.outbox = Outbox()
        self.said: dict[str, GatewayReport | ConnectionReport] = {}
        self.worker = GatewayWorker(gateway, drivers, self.outbox, clock)
        self.worker.start()

    def want(self, *connections: Connection, gone: tuple[Gone, ...] = ()) -> None:
        wanted: Mapping[str, Connection] = {one.id: one for one in connections}
        self.worker.send(Desired(self.gateway, wanted, gone))

    def state(self, id: str) -> str:
        batch = self.outbox.take(0)
        self.said.update({one.id: one for one in batch.gateways})
        self.said.update({one.id: one for one in batch.connections})
        return self.said[id].state if id in self.said else ""

    def wait(self, id: str, state: str) -> GatewayReport | ConnectionReport:
        eventually(lambda: self.state(id) == state)
        return self.said[id]

    def leave(self, teardown: bool = False) -> None:
        self.worker.send(Stop(teardown))
        self.worker.join(10)
        assert not self.worker.is_alive()


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def left(world: FakeWorld) -> Iterator[Site]:
    site = Site(FakeDrivers(world), LEFT)
    yield site
    site.leave()


@pytest.fixture
def right(world: FakeWorld) -> Iterator[Site]:
    site = Site(FakeDrivers(world), RIGHT)
    yield site
    site.leave()


def loaded(site: Site) -> frozenset[str]:
    return frozenset(site.drivers.charon(site.gateway).loaded())


def sas(site: Site) -> tuple[IkeSa, ...]:
    return site.drivers.charon(site.gateway).sas(ipsec_config.build(THERE).name)


def test_two_ends_come_up_and_say_so(left: Site, right: Site) -> None:
    left.want(THERE)
    right.want(BACK)
    assert left.wait(LEFT.id, "ready").revision == LEFT.revision
    left.wait(THERE.id, "up")
    right.wait(BACK.id, "up")


def test_a_wrong_key_is_told_on_both_sides(left: Site, right: Site) -> None:
    left.want(replace(THERE, psk=Secret("wrong"), psk_ref="2"))
    right.want(BACK)
    eventually(lambda: "key" in told(left, THERE.id) and "key" in told(right, BACK.id))


def told(site: Site, id: str) -> str:
    site.state(id)
    return site.said[id].reason if id in site.said else ""


def test_the_guard_stands_before_anything_is_loaded(left: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    left.want()
    left.wait(LEFT.id, "ready")
    seen: list[frozenset[SelectorPair]] = []
    load = FakeCharon.load

    def watched(self: FakeCharon, config: IkeConfig, key: SharedKey | None) -> None:
        seen.append(left.drivers.leak_guard.current(LEFT.id))
        load(self, config, key)

    monkeypatch.setattr(FakeCharon, "load", watched)
    left.want(THERE)
    left.wait(THERE.id, "down")
    assert seen == [frozenset({SelectorPair("10.1.0.0/24", "10.2.0.0/24")})]


def test_a_disabled_connection_is_guarded_and_not_loaded(left: Site) -> None:
    left.want(replace(THERE, enabled=False))
    left.wait(THERE.id, "disabled")
    assert loaded(left) == frozenset()
    assert left.drivers.leak_guard.current(LEFT.id)


def test_a_tombstone_removes_and_is_answered_and_absence_does_not(left: Site, right: Site) -> None:
    left.want(THERE)
    right.want(BACK)
    left.wait(THERE.id, "up")
    left.want(THERE, gone=(Gone("connection", "unknown", 7, LEFT.id),))
    assert left.wait("unknown", "gone").revision == 7
    left.want(gone=(Gone("connection", THERE.id, 8, LEFT.id),))
    assert left.wait(THERE.id, "gone").revision == 8
    assert loaded(left) == frozenset()
    assert left.drivers.leak_guard.current(LEFT.id) == frozenset()
    eventually(lambda: right.state(BACK.id) == "down")


def mtus(site: Site) -> dict[int, int]:
    """The MTU that each pair has, and that of its route."""
    return {path.mtu: path.route for path in site.drivers.mtu_routing.current(LEFT.id)}


def effective(site: Site, id: str) -> int | None:
    site.state(id)
    said = site.said.get(id)
    return said.effective_mtu if isinstance(said, ConnectionReport) else None


def test_the_mtu_is_applied_and_told(left: Site, right: Site) -> None:
    left.want(THERE)
    right.want(BACK)
    left.wait(THERE.id, "up")
    assert (effective(left, THERE.id), mtus(left)) == (1400, {1400: 0})
    before = sas(left)
    left.want(replace(THERE, mtu=1300, revision=2))
    eventually(lambda: effective(left, THERE.id) == 1300)
    assert (left.said[THERE.id].revision, mtus(left), sas(left)) == (2, {1300: 1300}, before)
    left.want(replace(THERE, mtu=1300, enabled=False, revision=3))
    left.wait(THERE.id, "disabled")
    assert (effective(left, THERE.id), mtus(left)) == (None, {})


def test_the_outside_legs_mtu_counts(left: Site) -> None:
    left.want(THERE)
    eventually(lambda: effective(left, THERE.id) == 1400)
    left.drivers.mtu_routing.mtu = 1400
    left.want(THERE)
    eventually(lambda: effective(left, THERE.id) == 1326)
    assert mtus(left) == {1326: 1326}


def test_a_connection_that_cannot_run_has_no_mtu(left: Site) -> None:
    left.want(replace(THERE, ipsec=replace(THERE.ipsec, encapsulation_mode="transport")))
    left.wait(THERE.id, "error")
    assert (effective(left, THERE.id), mtus(left)) == (None, {})


def test_mtus_go_with_their_connection_and_are_applied_again_after_charon(world: FakeWorld, left: Site) -> None:
    other = replace(connection(1, 3), peer_cidrs=("10.3.0.0/24",), mtu=1350)
    left.want(replace(THERE, mtu=1300), other)
    eventually(lambda: mtus(left) == {1300: 1300, 1350: 1350})
    # As the routes over a device that is gone.
    world.mtus.clear()
    world.kill(LEFT.id)
    eventually(lambda: mtus(left) == {1300: 1300, 1350: 1350})
    left.want(other, gone=(Gone("connection", THERE.id, 8, LEFT.id),))
    left.wait(THERE.id, "gone")
    assert mtus(left) == {1350: 1350}


def test_what_runs_and_is_not_desired_keeps_its_mtu(world: FakeWorld, left: Site) -> None:
    left.want(replace(THERE, mtu=1300))
    left.wait(THERE.id, "down")
    left.leave()
    again = Site(FakeDrivers(world), LEFT)
    again.want()
    again.wait(LEFT.id, "ready")
    assert mtus(again) == {1300: 1300}
    again.leave()


def test_an_edit_of_one_leaves_the_other_alone(world: FakeWorld, left: Site, right: Site) -> None:
    other = replace(connection(1, 3), peer_cidrs=("10.3.0.0/24",))
    left.want(THERE, other)
    right.want(BACK)
    left.wait(THERE.id, "up")
    before = sas(left)
    left.want(THERE, replace(other, peer_cidrs=("10.4.0.0/24",), revision=2))
    eventually(lambda: left.state(other.id) == "down" and left.said[other.id].revision == 2)
    assert sas(left) == before


def test_charon_is_killed_and_everything_comes_back(world: FakeWorld, left: Site, right: Site) -> None:
    left.want(THERE)
    right.want(BACK)
    left.wait(THERE.id, "up")
    world.kill(LEFT.id)
    eventually(lambda: len(loaded_or_none(left)) == 1)
    left.wait(THERE.id, "up")


def loaded_or_none(site: Site) -> frozenset[str]:
    try:
        return loaded(site)
    except Exception:
        return frozenset()


def test_an_agent_that_starts_anew_adopts_and_touches_nothing(world: FakeWorld, left: Site, right: Site) -> None:
    left.want(THERE)
    right.want(BACK)
    left.wait(THERE.id, "up")
    before = sas(left)
    left.leave()
    again = Site(FakeDrivers(world), LEFT)
    again.want(THERE)
    again.wait(THERE.id, "up")
    assert sas(again) == before
    again.leave()


def test_what_ran_and_is_neither_desired_nor_gone_stays_and_stays_guarded(world: FakeWorld, left: Site) -> None:
    left.want(THERE)
    left.wait(THERE.id, "down")
    left.leave()
    again = Site(FakeDrivers(world), LEFT)
    again.want()
    again.wait(LEFT.id, "ready")
    assert loaded(again) == {ipsec_config.build(THERE).name}
    assert again.drivers.leak_guard.current(LEFT.id)
    again.leave()


def test_a_namespace_that_cannot_be_made_is_told_and_tried_again(left: Site) -> None:
    left.drivers.namespaces.refusal = "no more interfaces"
    left.want(THERE)
    assert left.wait(LEFT.id, "error").reason == "no more interfaces"
    left.drivers.namespaces.refusal = ""
    left.wait(LEFT.id, "ready")


def test_a_charon_that_hangs_is_told_and_in_the_end_replaced(world: FakeWorld, left: Site) -> None:
    left.want()
    left.wait(LEFT.id, "ready")
    world.freeze(LEFT.id)
    left.want(THERE)
    assert "did not answer" in left.wait(LEFT.id, "error").reason
    left.wait(LEFT.id, "ready")
    eventually(lambda: len(loaded_or_none(left)) == 1)


def test_what_is_wanted_survives_a_fault_in_the_same_breath(world: FakeWorld, left: Site, right: Site) -> None:
    left.want(THERE)
    right.want(BACK)
    left.wait(THERE.id, "up")
    other = replace(connection(1, 3), peer_cidrs=("10.3.0.0/24",))
    world.freeze(LEFT.id)
    # The worker reads these together, and the first makes it ask a charon that does not answer.
    left.worker.send(SaChanged(THERE.id))
    left.want(THERE, other)
    left.wait(LEFT.id, "error")
    world.freeze(LEFT.id, frozen=False)
    left.wait(LEFT.id, "ready")
    left.wait(other.id, "down")
    left.wait(THERE.id, "up")


def test_a_fact_that_a_fault_lost_is_found_out(world: FakeWorld, left: Site, right: Site) -> None:
    left.want(THERE)
    right.want(BACK)
    left.wait(THERE.id, "up")
    world.freeze(LEFT.id)
    left.worker.send(SaChanged(THERE.id))
    left.wait(LEFT.id, "error")
    for sa in right.drivers.charon(RIGHT).sas():
        right.drivers.charon(RIGHT).terminate_sa(sa.unique_id)
    world.freeze(LEFT.id, frozen=False)
    left.wait(LEFT.id, "ready")
    assert left.state(THERE.id) != "", "it looked"
    left.wait(THERE.id, "up")


def test_what_a_dead_charon_said_last_does_not_put_off_its_return(world: FakeWorld, right: Site) -> None:
    clock = Clock()
    left = Site(FakeDrivers(world), LEFT, clock)
    # First, and loaded: for the left one no time passes, so it would never try again.
    right.want(BACK)
    right.wait(BACK.id, "down")
    left.want(THERE)
    left.wait(THERE.id, "up")
    (daemon,) = (one for key, one in world.daemons.items() if LEFT.id in key)
    # As after a pause of the agent: the end of charon is behind much else that waits to be heard.
    daemon.listeners.clear()
    world.kill(LEFT.id)
    for _ in range(10):
        left.worker.send(SaChanged(THERE.id))
        eventually(left.worker._inbox.empty)
        time.sleep(2 * GLANCE)
    assert left.wait(LEFT.id, "error").reason == "charon does not run"
    clock.pass_(RETRY[0])
    left.wait(LEFT.id, "ready")
    left.leave()


def test_teardown_leaves_nothing_and_leaving_leaves_everything(world: FakeWorld, left: Site) -> None:
    left.want(THERE)
    left.wait(THERE.id, "down")
    left.leave()
    assert loaded(left)
    again = Site(FakeDrivers(world), LEFT)
    again.want(THERE)
    again.wait(LEFT.id, "ready")
    again.leave(teardown=True)
    assert again.drivers.namespaces.present() == frozenset()
