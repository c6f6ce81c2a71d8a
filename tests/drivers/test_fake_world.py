"""What the fakes can do beside the contract: break in the ways that tests of the agent need."""

from __future__ import annotations

from linkspan.core.facts import Alive, Cause, Unanswered
from linkspan.core.selectors import pairs
from linkspan.drivers.fake import FakeDrivers
from linkspan.drivers.fake_world import FakeWorld
from tests.drivers.conftest import Site

ENDS = ("203.0.113.1", "203.0.113.2")


def two(world: FakeWorld) -> tuple[Site, Site]:
    drivers = FakeDrivers(world)
    return Site(drivers, 1, 2), Site(drivers, 2, 1)


def test_a_cut_wire_is_noticed_by_who_watches_and_heals() -> None:
    world = FakeWorld()
    left, right = two(world)
    left.initiate()
    world.cut(*ENDS)
    assert Unanswered(left.config.name) in left.facts.all
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
    assert left.facts.all[-1] == Alive(left.config.name)
    assert right.facts.all[-1] == Alive(right.config.name)


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
