"""A gateway's worker over fake drivers: another program changes the network, or charon hangs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from linkspan.agent.managed_charon import MAX_TIMEOUTS
from linkspan.core.state.drift import COMPARISON, LIVENESS, NOTED, SETTLED
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.tunnel.coverage import selector_pairs
from linkspan.core.tunnel.kernel_sas import KernelSas
from linkspan.core.tunnel.sas import ChildSa
from linkspan.drivers.ports import DriverError, PathFault
from linkspan.testing.fake_drivers import (
    FakeCharon,
    FakeCharonNetwork,
    FakeDrivers,
    FakeLeakGuard,
    FakeNamespaces,
    FakeNetworkWatch,
)
from linkspan.testing.fake_world import FakeWorld
from tests.agent.test_gateway_worker import LEFT, RIGHT, TO_LEFT, TO_RIGHT, GatewayUnderTest
from tests.drivers.machine import eventually
from tests.harness.databases import Clock

GUARD = ("node-1", LEFT.id)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def left(world: FakeWorld) -> Iterator[GatewayUnderTest]:
    gateway = GatewayUnderTest(FakeDrivers(world), LEFT)
    right = GatewayUnderTest(FakeDrivers(world), RIGHT)
    gateway.set_desired(TO_RIGHT)
    right.set_desired(TO_LEFT)
    gateway.wait(TO_RIGHT.id, "up")
    eventually(lambda: GUARD in world.ike_peers)
    yield gateway
    gateway.stop()
    right.stop()


def reason(gateway: GatewayUnderTest, id: str) -> str:
    gateway.state(id)
    return gateway.reports[id].reason if id in gateway.reports else ""


def test_removed_rules_are_restored_and_both_reasons_say_so(world: FakeWorld, left: GatewayUnderTest) -> None:
    guards, mtus, peers = world.guards[GUARD], world.mtus[GUARD], world.ike_peers[GUARD]
    world.flush(LEFT.id)
    for id in (LEFT.id, TO_RIGHT.id):
        eventually(lambda id=id: "table of the leak guard, table of the limit of IKE" in reason(left, id))  # type: ignore[misc]
        assert "table of the MSS clamp" in reason(left, id)
    assert (world.guards[GUARD], world.mtus[GUARD], world.ike_peers[GUARD]) == (guards, mtus, peers)
    assert left.state(TO_RIGHT.id) == "up"


def test_the_guard_is_restored_before_anything_else(
    world: FakeWorld, left: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And also if the rest cannot be."""
    order: list[str] = []
    restore, apply = FakeLeakGuard.restore, FakeNamespaces.apply

    def restore_guard(*values: Any) -> tuple[str, ...]:
        order.append("guard")
        return restore(*values)

    def apply_network(*values: Any) -> tuple[str, ...]:
        order.append("network")
        return apply(*values)

    monkeypatch.setattr(FakeLeakGuard, "restore", restore_guard)
    monkeypatch.setattr(FakeNamespaces, "apply", apply_network)
    left.drivers.namespaces.refusal = "there is no bridge br-ex"
    world.flush(LEFT.id)
    eventually(lambda: GUARD in world.guards and "network" in order)
    assert order[:2] == ["guard", "network"]


def test_while_the_network_cannot_be_restored_nothing_reads_up(world: FakeWorld, left: GatewayUnderTest) -> None:
    left.drivers.namespaces.refusal = "there is no bridge br-ex"
    world.remove_from_network(LEFT.id, "interface out0")
    left.wait(LEFT.id, "error")
    left.wait(TO_RIGHT.id, "down")
    assert "there is no bridge br-ex" in reason(left, TO_RIGHT.id)
    left.drivers.namespaces.refusal = ""
    left.wait(TO_RIGHT.id, "up")
    assert "interface out0" in reason(left, TO_RIGHT.id)
    assert "br-ex" not in reason(left, TO_RIGHT.id)
    left.wait(LEFT.id, "ready")


def test_a_namespace_that_is_gone_is_made_anew_with_all_in_it(world: FakeWorld, left: GatewayUnderTest) -> None:
    guards = world.guards[GUARD]
    left.drivers.namespaces.remove(LEFT.id)
    world.remove_from_network(LEFT.id)
    world.watchers[GUARD]()
    eventually(lambda: GUARD in world.daemons and world.guards.get(GUARD) == guards)
    left.wait(TO_RIGHT.id, "up")


def test_charons_device_comes_back_with_a_start_of_charon(world: FakeWorld, left: GatewayUnderTest) -> None:
    daemon = world.daemons[GUARD]
    daemon.has_device = False
    world.remove_from_network(LEFT.id)
    world.watchers[GUARD]()
    eventually(lambda: world.daemons.get(GUARD) not in (None, daemon))
    eventually(lambda: "the TUN device of charon" in reason(left, LEFT.id))
    left.wait(TO_RIGHT.id, "up")


def test_a_rekey_while_the_network_is_compared_is_no_change_by_another_program(
    world: FakeWorld, left: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """charon rekeys a child between its own listing and that of the kernel, which has the new child alone."""
    rekeyed: list[int] = []

    def read_late(*_: object) -> KernelSas:
        daemon = world.daemons[GUARD]
        for child in children():
            rekeyed.append(child.unique_id)
            world.rekey(daemon, child.unique_id)
        spis = frozenset(int(spi, 16) for child in children() for spi in (child.spi_in, child.spi_out))
        return KernelSas(spis, frozenset(pair for child in children() for pair in selector_pairs(child)))

    def children() -> list[ChildSa]:
        return [child for sa in world.daemons[GUARD].sas for child in sa.listed().children]

    monkeypatch.setattr(left.drivers, "backend", "kernel")
    monkeypatch.setattr(FakeCharonNetwork, "kernel_sas", read_late)
    world.flush(LEFT.id)
    eventually(lambda: "table of the leak guard" in reason(left, TO_RIGHT.id))
    assert rekeyed
    assert "states or policies" not in reason(left, TO_RIGHT.id)


def test_the_device_of_a_charon_that_has_died_was_not_removed_by_another_program(
    world: FakeWorld, left: GatewayUnderTest
) -> None:
    """The kernel says that the device is gone before the end of charon's event stream is seen."""
    daemon = world.daemons.pop(GUARD)
    world.watchers[GUARD]()
    eventually(lambda: world.daemons.get(GUARD) not in (None, daemon))
    left.wait(TO_RIGHT.id, "up")
    assert "the TUN device of charon" not in reason(left, TO_RIGHT.id) + reason(left, LEFT.id)


def test_a_change_that_nobody_noticed_is_found_by_comparing_and_the_reason_goes(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeNetworkWatch, "watch", deaf)
    clock = Clock()
    left = GatewayUnderTest(FakeDrivers(world), LEFT, clock)
    left.set_desired(TO_RIGHT)
    eventually(lambda: GUARD in world.guards and left.state(LEFT.id) == "ready")
    clock.pass_(SETTLED)
    eventually(lambda: GUARD in world.ike_peers)
    world.flush(LEFT.id)
    clock.pass_(COMPARISON)
    eventually(lambda: "table of the leak guard" in reason(left, LEFT.id))
    assert isinstance(left.reports[LEFT.id], GatewayReport)
    clock.pass_(NOTED)
    eventually(lambda: reason(left, LEFT.id) == "")
    assert left.state(LEFT.id) == "ready"
    left.stop()


def deaf(_watch: FakeNetworkWatch, _gateway_id: str, _deliver: object) -> None:
    raise DriverError("no sockets")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def idle(world: FakeWorld, clock: Clock) -> Iterator[GatewayUnderTest]:
    """A gateway without connections, which has nothing to do but to ask its charon."""
    gateway = GatewayUnderTest(FakeDrivers(world), LEFT, clock)
    gateway.set_desired()
    eventually(lambda: gateway.state(LEFT.id) == "ready")
    clock.pass_(SETTLED)
    eventually(lambda: GUARD in world.ike_peers)
    yield gateway
    world.freeze(LEFT.id, frozen=False)
    gateway.stop()


def test_a_hanging_charon_is_asked_stopped_and_started(world: FakeWorld, clock: Clock, idle: GatewayUnderTest) -> None:
    daemon = world.daemons[GUARD]
    world.freeze(LEFT.id)
    clock.pass_(LIVENESS)
    idle.wait(LEFT.id, "error")
    assert "charon did not answer" in reason(idle, LEFT.id)

    def restarted() -> bool:
        clock.pass_(1.0)
        return world.daemons.get(GUARD) not in (None, daemon)

    eventually(restarted)
    eventually(lambda: "charon did not answer and was started anew" in reason(idle, LEFT.id))
    idle.wait(LEFT.id, "ready")


def test_without_questions_a_hanging_charon_stays(
    world: FakeWorld, clock: Clock, idle: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    asked: list[int] = []
    monkeypatch.setattr(FakeCharon, "ask", lambda _charon: asked.append(1))
    daemon = world.daemons[GUARD]
    world.freeze(LEFT.id)
    for number in range(1, MAX_TIMEOUTS + 2):
        clock.pass_(LIVENESS)
        eventually(lambda number=number: len(asked) == number)  # type: ignore[misc]
    assert (world.daemons[GUARD], idle.state(LEFT.id)) == (daemon, "ready")


def test_a_namespace_of_an_earlier_version_is_made_anew_when_its_charon_ends(
    world: FakeWorld, left: GatewayUnderTest
) -> None:
    """Everything is applied again, and nobody is blamed for it. Until then everything goes on."""
    namespaces = left.drivers.namespaces
    guards, mtus = world.guards[GUARD], world.mtus[GUARD]
    namespaces.outdated.add(LEFT.id)
    left.set_desired(TO_RIGHT)
    eventually(lambda: left.state(TO_RIGHT.id) == "up")
    assert namespaces.outdated
    world.kill(LEFT.id)
    eventually(lambda: not namespaces.outdated)
    left.wait(TO_RIGHT.id, "up")
    eventually(lambda: GUARD in world.mtus)
    assert (world.guards[GUARD], world.mtus[GUARD]) == (guards, mtus)
    eventually(lambda: GUARD in world.ike_peers)
    assert "another program" not in reason(left, TO_RIGHT.id)


def test_a_fault_of_this_end_explains_the_silence_of_the_peer(world: FakeWorld) -> None:
    alone = GatewayUnderTest(FakeDrivers(world), LEFT)
    try:
        alone.drivers.namespaces.path_faults[LEFT.id] = PathFault("NO_ROUTE_TO_PEER")
        alone.set_desired(TO_RIGHT)
        eventually(lambda: code(alone, TO_RIGHT.id) == "NO_ROUTE_TO_PEER")
        assert reason(alone, TO_RIGHT.id).startswith("the gateway has no route to the peer's address")
        # The control: without it the peer is silent.
        del alone.drivers.namespaces.path_faults[LEFT.id]
        eventually(lambda: code(alone, TO_RIGHT.id) == "PEER_NO_REPLY")
    finally:
        alone.stop()


def code(gateway: GatewayUnderTest, id: str) -> str:
    gateway.state(id)
    report = gateway.reports.get(id)
    return report.code if isinstance(report, ConnectionReport) else ""
