"""The agent's side: leases, reports and their fences, and how what was deleted goes."""

from __future__ import annotations

import random
import threading

import pytest
from sqlalchemy import Engine

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state import status
from linkspan.core.state.desired import EMPTY, merge
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.store import revisions
from linkspan.store.nodes import assignment, delta, registry, reports, tombstones
from linkspan.store.rows import reading, writing
from linkspan.store.store import Conflict, Row
from linkspan.testing.fake_drivers import COMPLETE
from tests.harness.databases import Clock, open_store
from tests.store.conftest import World


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(database: Engine, clock: Clock) -> World:
    """A world whose time stands still."""
    return World(open_store(database, clock=clock))


def status_inputs(world: World, row: Row) -> status.StatusInputs:
    found = world.get(row)
    assert found is not None
    assert found.status_inputs is not None
    return found.status_inputs


def move(world: World, router: str, node: str) -> None:
    """Moves a gateway with its connections to another node and leaves tombstones for the former one."""
    with world.store.write() as tx:
        former, _ = tx.first(assignment.lock_gateway, router=router)
        revisions.add_tombstone(tx, former, "gateway", router, router)
        for (id,) in tx.rows(assignment._carried, router=router):
            revisions.add_tombstone(tx, former, "connection", id, router)
        assignment._assign_to(tx, router, node)


def test_a_token_names_its_node(world: World) -> None:
    node = world.node()
    with world.store.read() as tx:
        found = registry.node_by_token(tx, "hash-north")
        assert registry.node_by_token(tx, "other") is None
    assert found is not None
    assert (found["id"], found["name"], found["backend"]) == (node, "north", "kernel")
    assert found["lease_until"] == 1_000_000.0 + world.store.lease


def test_a_connection_becomes_active(world: World, clock: Clock) -> None:
    node = world.node()
    service = world.service()
    connection = world.connection(service["id"])
    assert status_inputs(world, connection).revision == 2
    assert status.compute(status_inputs(world, connection), clock.now)[:2] == ("PENDING_CREATE", "")
    clock.pass_(5)
    world.report(
        node,
        GatewayReport(service["router_id"], 1, 2, "ready"),
        ConnectionReport(connection["id"], 1, 2, "down", "no answer"),
    )
    assert status.compute(status_inputs(world, connection), clock.now)[:2] == ("PENDING_CREATE", "no answer")
    assert status.compute(status_inputs(world, service), clock.now)[:2] == ("ACTIVE", "")
    clock.pass_(5)
    world.report(node, ConnectionReport(connection["id"], 1, 2, "up"))
    seen = status_inputs(world, connection).observed
    assert seen is not None
    assert (seen.applied_at, seen.ready_at) == (clock.now - 5, clock.now)
    assert status.compute(status_inputs(world, connection), clock.now)[:2] == ("ACTIVE", "")


def test_the_effective_mtu_is_what_the_node_said_last(world: World) -> None:
    node = world.node("north")
    service = world.service()
    connection = world.connection(service["id"])

    def shown() -> int | None:
        with world.store.read() as tx:
            row = reading.get(tx, CONNECTION, connection["id"])
        assert row is not None
        found: int | None = row["effective_mtu"]
        return found

    assert shown() is None
    for mtu in (1400, 1438, None):
        world.report(node, ConnectionReport(connection["id"], 1, 2, "up", effective_mtu=mtu))
        assert shown() == mtu, "also where nothing else has changed"
    world.report(node, ConnectionReport(connection["id"], 1, 2, "up", effective_mtu=1400))
    move(world, service["router_id"], world.node("south"))
    assert shown() is None, "another node has not said anything yet"


def test_an_edit_keeps_that_it_was_up_until_it_is_up_again(world: World, clock: Clock) -> None:
    node = world.node()
    connection = world.connection(world.service()["id"])
    world.report(node, ConnectionReport(connection["id"], 1, 2, "up"))
    was = clock.now
    clock.pass_(30)
    world.update(connection["id"], mtu=1400)
    assert status.compute(status_inputs(world, connection), clock.now)[0] == "PENDING_UPDATE"
    world.report(node, ConnectionReport(connection["id"], 1, 3, "down"))
    seen = status_inputs(world, connection).observed
    assert seen is not None
    assert (seen.applied_at, seen.ready_at) == (clock.now, was)
    clock.pass_(10)
    world.report(node, ConnectionReport(connection["id"], 1, 3, "down", "still"))
    # Another object's change moves the node's revision on, not this one's.
    world.report(node, ConnectionReport(connection["id"], 1, 3, "up"))
    seen = status_inputs(world, connection).observed
    assert seen is not None
    assert (seen.applied_at, seen.ready_at) == (clock.now - 10, clock.now)


def test_admin_state_of_the_service_counts(world: World) -> None:
    world.node()
    service = world.service()
    connection = world.connection(service["id"])
    with world.store.write() as tx:
        writing.update(tx, SERVICE, service["id"], {"admin_state_up": False})
    assert not status_inputs(world, connection).enabled
    assert not status_inputs(world, service).enabled


@pytest.mark.parametrize(
    ("generation", "revision"), [(0, 2), (2, 2), (1, 3)], ids=["old", "future", "no such revision"]
)
def test_a_report_at_the_wrong_generation_or_revision_is_dropped(world: World, generation: int, revision: int) -> None:
    node = world.node()
    service = world.service()
    connection = world.connection(service["id"])
    world.report(
        node,
        ConnectionReport(connection["id"], generation, revision, "up"),
        GatewayReport(service["router_id"], generation, revision, "ready"),
    )
    assert status_inputs(world, connection).observed is None
    assert status_inputs(world, service).observed is None
    # Negative control: the right one counts.
    world.report(node, ConnectionReport(connection["id"], 1, 2, "up"))
    assert status_inputs(world, connection).observed is not None


def test_an_older_report_does_not_replace_a_newer_one(world: World) -> None:
    node = world.node()
    connection = world.connection(world.service()["id"])
    world.update(connection["id"], mtu=1400)
    world.report(node, ConnectionReport(connection["id"], 1, 3, "up"))
    world.report(node, ConnectionReport(connection["id"], 1, 2, "down"))
    seen = status_inputs(world, connection).observed
    assert seen is not None
    assert seen.state == "up"


def test_a_node_that_lost_its_gateway_is_not_heard(world: World) -> None:
    north, south = world.node("north"), world.node("south")
    service = world.service()
    connection = world.connection(service["id"])
    world.report(north, ConnectionReport(connection["id"], 1, 2, "up"))
    move(world, service["router_id"], south)
    late = ConnectionReport(connection["id"], 1, 2, "up", "late")
    world.report(north, late)
    seen = status_inputs(world, connection).observed
    assert seen is not None
    assert (seen.state, seen.revision, seen.ready_at is None) == ("down", 0, False)
    with world.store.read() as tx:
        left = merge(EMPTY, delta.desired_since(tx, north, 0))
        gone = {each.id for each in delta.desired_since(tx, north, 2).gone}
        new = merge(EMPTY, delta.desired_since(tx, south, 0))
    assert (left.gateways, left.connections) == ({}, {})
    assert gone == {service["router_id"], connection["id"]}
    assert new.gateways[service["router_id"]].generation == 2
    world.report(north, ConnectionReport(connection["id"], 1, 3, "gone"))
    assert world.get(connection) is not None
    world.report(south, ConnectionReport(connection["id"], 2, 1, "up"))
    after = status_inputs(world, connection)
    assert after.observed is not None
    assert after.observed.state == "up"


def test_a_deleted_connection_waits_for_its_node(world: World) -> None:
    node = world.node()
    service = world.service()
    connection = world.connection(service["id"])
    assert world.delete(connection["id"]) is False
    assert world.delete(connection["id"]) is False
    assert status_inputs(world, connection).deleted
    with world.store.read() as tx:
        assert reading.is_present(tx, CONNECTION, connection["id"])
        assert [row["id"] for row in reading.find(tx, CONNECTION)] == [connection["id"]]
    world.report(node, ConnectionReport(connection["id"], 1, 2, "gone"))  # older than the tombstone
    assert world.get(connection) is not None
    world.report(node, ConnectionReport(connection["id"], 1, 3, "gone"))
    with world.store.read() as tx:
        assert not reading.is_present(tx, CONNECTION, connection["id"])
        assert [gone.gateway_id for gone in delta.desired_since(tx, node, 0).gone] == [service["router_id"]]


def test_gone_without_a_tombstone_removes_nothing(world: World) -> None:
    node = world.node()
    service = world.service()
    connection = world.connection(service["id"])
    world.report(
        node,
        ConnectionReport(connection["id"], 1, 2, "gone"),
        GatewayReport(service["router_id"], 1, 2, "gone"),
    )
    assert world.get(connection) is not None
    assert world.get(service) is not None


def test_a_deletion_without_a_node_is_done_at_once(world: World) -> None:
    service = world.service()
    connection = world.connection(service["id"])
    assert world.delete(connection["id"]) is True
    with world.store.write() as tx:
        assert tombstones.soft_delete(tx, SERVICE, service["id"]) is True
    assert world.get(connection) is None
    assert world.get(service) is None
    node = world.node()
    with world.store.read() as tx:
        assert delta.desired_since(tx, node, 0).count == 0


def test_a_lost_node_holds_nothing_back(world: World, clock: Clock) -> None:
    node = world.node()
    service = world.service()
    connections = [world.connection(service["id"]) for _ in range(2)]
    world.delete(connections[0]["id"])
    clock.pass_(world.store.lease + 1)
    assert world.get(connections[0]) is None
    with world.store.read() as tx:
        assert not reading.is_present(tx, CONNECTION, connections[0]["id"])
        assert [row["id"] for row in reading.find(tx, CONNECTION)] == [connections[1]["id"]]
    assert world.delete(connections[1]["id"]) is True
    # It comes back: nothing reappears, and it hears of both tombstones.
    world.report(node)
    assert world.get(connections[0]) is None
    with world.store.read() as tx:
        assert {gone.id for gone in delta.desired_since(tx, node, 0).gone} == {each["id"] for each in connections}


def test_the_last_service_waits_for_its_gateway(world: World) -> None:
    node = world.node()
    service = world.service()
    second = world.service((service["router_id"], service["subnet_id"]))
    with world.store.write() as tx:
        assert tombstones.soft_delete(tx, SERVICE, second["id"]) is True
    with world.store.write() as tx:
        assert tombstones.soft_delete(tx, SERVICE, service["id"]) is False
    assert status_inputs(world, service).deleted
    world.report(node, GatewayReport(service["router_id"], 1, 2, "gone"))
    assert world.get(service) is None
    with world.store.read() as tx:
        assert registry.all_nodes(tx)[0]["gateways"] == 0


def test_a_gateway_that_comes_back_has_another_generation(world: World) -> None:
    node = world.node()
    service = world.service()
    world.report(node, GatewayReport(service["router_id"], 1, 1, "ready"))
    with world.store.write() as tx:
        tombstones.soft_delete(tx, SERVICE, service["id"])
    again = world.service((service["router_id"], service["subnet_id"]))
    assert world.get(service) is None  # there is no gateway's end to wait for
    world.report(node, GatewayReport(service["router_id"], 1, 2, "gone"))
    with world.store.read() as tx:
        state = merge(EMPTY, delta.desired_since(tx, node, 0))
    assert state.gateways[service["router_id"]].generation == 2
    assert status.compute(status_inputs(world, again), 1_000_000.0)[:2] == ("PENDING_CREATE", "")
    with world.store.write() as tx:
        tombstones.soft_delete(tx, SERVICE, again["id"])
    world.report(node, GatewayReport(service["router_id"], 1, 4, "gone"))  # of the first life
    assert world.get(again) is not None
    world.report(node, GatewayReport(service["router_id"], 2, 4, "gone"))
    assert world.get(again) is None


def test_hello_renews_a_lease_and_says_who(world: World, clock: Clock) -> None:
    node = world.node()
    clock.pass_(1000)
    with world.store.write() as tx:
        assert registry.hello(tx, node, Hello("user-space", "2.0", "6.1", COMPLETE)) == 0
    with world.store.read() as tx:
        row = registry.all_nodes(tx)[0]
    assert (row["backend"], row["capabilities"]) == ("user-space", COMPLETE)
    assert row["lease_until"] == clock.now + world.store.lease


def test_a_lost_node_gets_no_new_gateway(world: World, clock: Clock) -> None:
    world.node()
    clock.pass_(world.store.lease + 1)
    service = world.service()
    assert status_inputs(world, service).node is None


def test_tombstones_are_kept_for_thirty_days(world: World, clock: Clock) -> None:
    node = world.node()
    connection = world.connection(world.service()["id"])
    world.delete(connection["id"])
    for days, left in ((29, 1), (2, 0)):
        clock.pass_(days * 86_400)
        with world.store.write() as tx:
            registry.hello(tx, node, Hello("kernel", "1", "6"))
            assert len(delta.desired_since(tx, node, 0).gone) == left


def test_a_known_report_writes_only_the_lease(world: World) -> None:
    node = world.node()
    connection = world.connection(world.service()["id"])
    said = ConnectionReport(connection["id"], 1, 2, "up")
    world.report(node, said)
    with world.store.write() as tx:
        reports.report(tx, node, Report((), (said,)))
        assert tx.statements == 3  # who it is, its lease, what is known


def test_everything_at_once(database: Engine) -> None:
    """Services, connections, nodes, all by several threads: every live connection ends up on its gateway's node."""
    world = World(open_store(database))
    first = [world.service() for _ in range(3)]
    faults: list[BaseException] = []

    def act(seed: int) -> None:
        dice = random.Random(seed)
        connections: list[Row] = []
        services: list[Row] = []
        try:
            for turn in range(25):
                try:
                    match dice.randrange(6):
                        case 0:
                            base = dice.choice(first)
                            services.append(world.service((base["router_id"], base["subnet_id"])))
                        case 1 if services:
                            with world.store.write() as tx:
                                tombstones.soft_delete(tx, SERVICE, services[-1]["id"])
                            services.pop()
                        case 2 if connections:
                            world.delete(connections[-1]["id"])
                            connections.pop()
                        case 3 if turn % 3 == 0:
                            world.node(f"node-{seed}-{turn}")
                        case _:
                            service = dice.choice([*first, *services])
                            connections.append(world.connection(service["id"]))
                except Conflict:
                    continue
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=act, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    world.node("the last one")
    held: list[str] = []
    with world.store.read() as tx:
        for node in registry.all_nodes(tx):
            state = merge(EMPTY, delta.desired_since(tx, node["id"], 0))
            held += state.connections
            assert {connection.gateway_id for connection in state.connections.values()} <= set(state.gateways)
        live = [row["id"] for row in reading.find(tx, CONNECTION) if not row.is_deleted]
    assert sorted(held) == sorted(live)
    assert len(live) > 5
