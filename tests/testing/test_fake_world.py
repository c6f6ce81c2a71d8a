"""What the fakes can do beside the contract: break in the ways that tests of the agent need."""

from __future__ import annotations

import pytest

from linkspan.core.ipsec.selectors import pairs
from linkspan.core.state.desired import IkePolicy
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.charon_events import Cause, PeerSeen, ProbeSent, Retransmitted
from linkspan.testing.fake_drivers import FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.drivers.conftest import Site

ENDS = ("203.0.113.1", "203.0.113.2")


def two(world: FakeWorld, backend: Backend = "user-space", **changes: object) -> tuple[Site, Site]:
    drivers = FakeDrivers(world, backend=backend)
    return Site(drivers, 1, 2, **changes), Site(drivers, 2, 1, **changes)


def test_a_cut_wire_is_noticed_by_who_watches_and_heals() -> None:
    world = FakeWorld()
    left, right = two(world)
    left.initiate()
    number = left.charon.sas()[0].unique_id
    world.cut(*ENDS)
    assert left.facts.all[-2:] == [ProbeSent(left.config.name, number), Retransmitted(left.config.name, number)]
    left.end()
    assert left.idle()
    assert right.up(), "nobody told it"
    left.initiate()
    assert [sa.state for sa in left.charon.sas()] == ["CONNECTING"]
    world.heal(*ENDS)
    assert left.up()


def test_a_wire_that_was_cut_for_a_moment() -> None:
    world = FakeWorld()
    left, right = two(world)
    left.initiate()
    world.cut(*ENDS)
    world.heal(*ENDS)
    for site in (left, right):
        assert site.facts.all[-1] == PeerSeen(site.config.name, site.charon.sas()[0].unique_id)


def test_ikev1_asks_once_and_is_answered_in_its_own_words() -> None:
    world = FakeWorld()
    left, _ = two(world, ike=IkePolicy("v1", "main", "aes-128", "sha256", "group14", 3600))
    left.initiate()
    number = left.charon.sas()[0].unique_id
    world.cut(*ENDS)
    world.heal(*ENDS)
    assert left.facts.all[-2:] == [ProbeSent(left.config.name, number), PeerSeen(left.config.name, number)]


@pytest.mark.parametrize(("backend", "comes"), [("kernel", True), ("user-space", False)])
def test_traffic_that_meets_a_trap_begins_an_attempt_where_the_kernel_asks(backend: Backend, comes: bool) -> None:
    world = FakeWorld()
    left, _ = two(world, backend)
    FakeDrivers(world).guard.apply(left.gateway, pairs(left.connection))
    packet = (left.gateway.id, "10.1.0.7", "10.2.0.7")
    assert world.send(*packet) == "dropped"
    assert left.idle(), "without a trap nothing begins"
    left.charon.install(left.config.name, left.config.children[0].name)
    assert world.send(left.gateway.id, "10.1.0.7", "10.9.0.7") == "clear"
    assert left.idle(), "other traffic is no reason"
    assert world.send(*packet) == "dropped", "the packet that begins it is lost"
    assert left.up() == comes
    assert world.send(*packet) == ("esp" if comes else "dropped")


def test_a_killed_peer_is_not_told_of() -> None:
    world = FakeWorld()
    left, right = two(world)
    left.initiate()
    world.kill(right.gateway.id)
    assert left.up()
    left.end()
    left.initiate()
    assert any(isinstance(fact, Cause) and fact.code == "no-answer" for fact in left.facts.all)


def test_what_becomes_of_a_packet() -> None:
    world = FakeWorld()
    left, right = two(world)
    packet = (left.gateway.id, "10.1.0.7", "10.2.0.7")
    assert world.send(*packet) == "clear"
    FakeDrivers(world).guard.apply(left.gateway, pairs(left.connection))
    assert world.send(*packet) == "dropped"
    left.initiate()
    assert world.send(*packet) == "esp"
    assert world.send(left.gateway.id, "10.1.0.7", "192.0.2.1") == "clear"
    assert left.charon.sas()[0].children[0].packets_out == 1
    assert right.charon.sas()[0].children[0].packets_in == 1
    world.kill(left.gateway.id)
    assert world.send(*packet) == "dropped"


def test_a_gateway_that_was_never_guarded_is_sealed() -> None:
    world = FakeWorld()
    left, _ = two(world)
    world.guards.clear()
    assert world.send(left.gateway.id, "10.1.0.7", "10.2.0.7") == "dropped"
