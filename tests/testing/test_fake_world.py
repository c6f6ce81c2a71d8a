"""The failures that the fakes simulate beside the contract of the drivers."""

from __future__ import annotations

import pytest

from linkspan.core.ipsec.selectors import pairs
from linkspan.core.state.desired import IkePolicy
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.charon_events import Cause, PeerSeen, ProbeSent, Retransmitted
from linkspan.testing.fake_drivers import FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.drivers.conftest import RunningGateway

ENDS = ("203.0.113.1", "203.0.113.2")


def two(world: FakeWorld, backend: Backend = "user-space", **changes: object) -> tuple[RunningGateway, RunningGateway]:
    drivers = FakeDrivers(world, backend=backend)
    return RunningGateway(drivers, 1, 2, **changes), RunningGateway(drivers, 2, 1, **changes)


def test_dpd_notices_a_cut_and_packets_pass_after_heal() -> None:
    world = FakeWorld()
    left, right = two(world)
    left.initiate()
    number = left.charon.sas()[0].unique_id
    world.cut(*ENDS)
    assert left.events.all[-2:] == [ProbeSent(left.config.name, number), Retransmitted(left.config.name, number)]
    left.terminate()
    assert left.idle()
    assert right.up(), "the delete did not arrive"
    left.initiate()
    assert [sa.state for sa in left.charon.sas()] == ["CONNECTING"]
    world.heal(*ENDS)
    assert left.up()


def test_after_a_short_cut_the_probes_are_answered() -> None:
    world = FakeWorld()
    left, right = two(world)
    left.initiate()
    world.cut(*ENDS)
    world.heal(*ENDS)
    for running in (left, right):
        assert running.events.all[-1] == PeerSeen(running.config.name, running.charon.sas()[0].unique_id)


def test_ikev1_sends_one_probe_and_logs_its_own_response() -> None:
    world = FakeWorld()
    left, _ = two(world, ike=IkePolicy("v1", "main", "aes-128", "sha256", "group14", 3600))
    left.initiate()
    number = left.charon.sas()[0].unique_id
    world.cut(*ENDS)
    world.heal(*ENDS)
    assert left.events.all[-2:] == [ProbeSent(left.config.name, number), PeerSeen(left.config.name, number)]


@pytest.mark.parametrize(("backend", "initiates"), [("kernel", True), ("user-space", False)])
def test_traffic_for_a_trap_initiates_with_kernel_esp_only(backend: Backend, initiates: bool) -> None:
    world = FakeWorld()
    left, _ = two(world, backend)
    FakeDrivers(world).leak_guard.apply(left.gateway, pairs(left.connection))
    packet = (left.gateway.id, "10.1.0.7", "10.2.0.7")
    assert world.send(*packet) == "dropped"
    assert left.idle(), "without a trap nothing is initiated"
    left.charon.install(left.config.name, left.config.children[0].name)
    assert world.send(left.gateway.id, "10.1.0.7", "10.9.0.7") == "plaintext"
    assert left.idle(), "other traffic does not initiate"
    assert world.send(*packet) == "dropped", "the packet that initiates is lost"
    assert left.up() == initiates
    assert world.send(*packet) == ("esp" if initiates else "dropped")


def test_a_killed_peer_sends_no_delete() -> None:
    world = FakeWorld()
    left, right = two(world)
    left.initiate()
    world.kill(right.gateway.id)
    assert left.up()
    left.terminate()
    left.initiate()
    assert any(isinstance(event, Cause) and event.code == "PEER_NO_REPLY" for event in left.events.all)


def test_a_packet_is_sent_in_plaintext_dropped_or_as_esp() -> None:
    world = FakeWorld()
    left, right = two(world)
    packet = (left.gateway.id, "10.1.0.7", "10.2.0.7")
    assert world.send(*packet) == "plaintext"
    FakeDrivers(world).leak_guard.apply(left.gateway, pairs(left.connection))
    assert world.send(*packet) == "dropped"
    left.initiate()
    assert world.send(*packet) == "esp"
    assert world.send(left.gateway.id, "10.1.0.7", "192.0.2.1") == "plaintext"
    assert left.charon.sas()[0].children[0].packets_out == 1
    assert right.charon.sas()[0].children[0].packets_in == 1
    world.kill(left.gateway.id)
    assert world.send(*packet) == "dropped"


def test_a_gateway_is_sealed_until_its_guard_is_applied() -> None:
    world = FakeWorld()
    left, _ = two(world)
    world.guards.clear()
    assert world.send(left.gateway.id, "10.1.0.7", "10.2.0.7") == "dropped"
