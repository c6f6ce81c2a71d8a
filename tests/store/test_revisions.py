"""Revisions: whoever follows them holds the same set as whoever reads everything, whatever was written meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from linkspan.core.schema.node_relevance import differences, matters
from linkspan.core.schema.resources import CONNECTION, ENDPOINT_GROUP, IKE_POLICY, NETWORK, PORT, SERVICE, SUBNET
from linkspan.core.state.desired import EMPTY, Mismatch, NodeState, merge
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.store import revisions
from linkspan.store.nodes import assignment, connection_state, registry, reports, tombstones
from linkspan.store.nodes import delta as stored_delta
from linkspan.store.rows import dependencies, ports, reading, writing
from linkspan.store.store import Conflict, Row, Store
from tests.harness.databases import Clock, open_store
from tests.harness.examples import examples
from tests.store.conftest import World


class Agent:
    """A node that follows its revisions."""

    def __init__(self, store: Store, node: str) -> None:
        self.store = store
        self.node = node
        self.state: NodeState = EMPTY

    def poll(self) -> None:
        """Reads what is new, and compares with all there is."""
        with self.store.read() as tx:
            delta = stored_delta.desired_since(tx, self.node, self.state.revision)
            fresh = merge(EMPTY, stored_delta.desired_since(tx, self.node, 0))
        self.state = merge(self.state, delta)
        assert self.state == fresh

    def confirm(self) -> None:
        """Reports everything as applied, and every tombstone as gone."""
        with self.store.write() as tx:
            delta = stored_delta.desired_since(tx, self.node, 0)
            reports.report(
                tx,
                self.node,
                Report(
                    tuple(GatewayReport(g.id, g.generation, delta.revision, "ready") for g in delta.gateways)
                    + tuple(
                        GatewayReport(gone.id, 1, delta.revision, "gone")
                        for gone in delta.gone
                        if gone.kind == "gateway"
                    ),
                    tuple(ConnectionReport(c.id, 1, delta.revision, "up") for c in delta.connections)
                    + tuple(
                        ConnectionReport(gone.id, 1, delta.revision, "gone")
                        for gone in delta.gone
                        if gone.kind == "connection"
                    ),
                ),
            )


WRITES = (
    "service",
    "service on a router that has one",
    "connection",
    "connection",
    "edit",
    "edit twice",
    "policy",
    "gateway port",
    "delete connection",
    "delete connection",
    "delete service",
    "poll",
    "confirm",
    "lose the node",
    "find the node",
)


@pytest.mark.timeout(600)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(script=st.lists(st.tuples(st.sampled_from(WRITES), st.integers(0, 5)), min_size=5, max_size=30))
def test_a_follower_equals_a_fresh_reader(database: Engine, script: list[tuple[str, int]]) -> None:
    clock = Clock()
    store = open_store(database, clock=clock)
    with store.read() as tx:
        name = f"node-{len(registry.all_nodes(tx))}"
    # Nodes of earlier examples are long dead.
    clock.pass_(1_000_000.0 * (1 + int(name.rpartition("-")[2])))
    world = World(store, project=name)
    agent = Agent(store, world.node(name))
    services = [world.service()]
    connections = [world.connection(services[0]["id"]) for _ in range(2)]
    for what, which in script:
        service = services[which % len(services)] if services else None
        connection = connections[which % len(connections)] if connections else None
        _write(world, agent, clock, what, services, service, connections, connection)
    with store.write() as tx:
        registry.hello(tx, agent.node, Hello("kernel", "1", "6"))
    agent.poll()
    agent.confirm()
    agent.poll()
    with store.read() as tx:
        mine = {row["id"] for row in reading.find(tx, CONNECTION, project=name) if not row.is_deleted}
        everybody = {row["id"] for row in reading.find(tx, CONNECTION) if not row.is_deleted}
    assert mine == {each["id"] for each in connections}
    assert mine <= set(agent.state.connections)
    assert {service["router_id"] for service in services} <= set(agent.state.gateways)
    # A gateway that an earlier example left waiting may have come to this node.
    assert everybody >= set(agent.state.connections)


def _write(
    world: World,
    agent: Agent,
    clock: Clock,
    what: str,
    services: list[Row],
    service: Row | None,
    connections: list[Row],
    connection: Row | None,
) -> None:
    store = world.store
    match what:
        case "service":
            services.append(world.service())
        case "service on a router that has one" if service:
            services.append(world.service((service["router_id"], service["subnet_id"])))
        case "connection" if service:
            connections.append(world.connection(service["id"]))
        case "edit" if connection:
            world.update(connection["id"], mtu=1400)
        case "edit twice" if connection:
            with store.write() as tx:
                for mtu in (1300, 1200):
                    writing.update(tx, CONNECTION, connection["id"], {"mtu": mtu})
                    revisions.touch(tx, connections=[connection["id"]])
                    reading.get(tx, CONNECTION, connection["id"])
        case "policy":
            with store.write() as tx:
                writing.update(tx, IKE_POLICY, world.ike["id"], {"pfs": "group15"})
                revisions.touch_users(tx, "ikepolicy_id", world.ike["id"])
        case "gateway port" if service:
            port = world.gateway_port(service["router_id"])
            with store.write() as tx:
                affected = dependencies.affected_by(tx, SERVICE, service["id"])[0]
                address = (
                    "198.51.7.7" if "198.51.7.7" not in ports.used_addresses(tx, world.outside_subnet["id"]) else ""
                )
                if address:
                    values = {"fixed_ips": [{"subnet_id": world.outside_subnet["id"], "ip_address": address}]}
                    writing.update(tx, PORT, port["id"], values)
                    connections_, gateways = dependencies.affected_by(tx, PORT, port["id"])
                    assert set(affected) <= set(connections_)
                    revisions.touch(tx, connections=connections_, gateways=gateways)
        case "delete connection" if connection:
            world.delete(connection["id"])
            connections.remove(connection)
        case "delete service" if service:
            try:
                with store.write() as tx:
                    tombstones.soft_delete(tx, SERVICE, service["id"])
            except Conflict:
                assert any(each["vpnservice_id"] == service["id"] for each in connections)
            else:
                services.remove(service)
        case "poll":
            agent.poll()
        case "confirm":
            agent.confirm()
        case "lose the node":
            clock.pass_(store.lease + 1)
        case "find the node":
            with store.write() as tx:
                registry.hello(tx, agent.node, Hello("kernel", "1", "6"))
        case _:
            pass


def test_one_transaction_is_one_revision(world: World) -> None:
    node = world.node()
    told: list[dict[str, int]] = []
    world.store._on_commit = told.append
    service = world.service()
    assert told == [{node: 1}]
    with world.store.write() as tx:
        for _ in range(3):
            row = writing.insert(tx, CONNECTION, world.values(service["id"]))
            revisions.touch(tx, connections=[row["id"]])
            reading.get(tx, CONNECTION, row["id"])
        revisions.touch(tx, gateways=[service["router_id"]])
    assert told == [{node: 1}, {node: 2}]
    with world.store.read() as tx:
        delta = stored_delta.desired_since(tx, node, 1)
    assert {connection.revision for connection in delta.connections} == {2}
    assert [gateway.revision for gateway in delta.gateways] == [2]


def test_nothing_is_told_without_a_node_or_after_a_failure(world: World) -> None:
    told: list[dict[str, int]] = []
    world.store._on_commit = told.append
    service = world.service()
    world.connection(service["id"])
    world.node()
    told.clear()

    def fail() -> None:
        with world.store.write() as tx:
            revisions.touch(tx, gateways=[service["router_id"]])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert told == []


def test_waiting_gateways_go_to_the_node_that_comes(world: World) -> None:
    service = world.service()
    connection = world.connection(service["id"])
    row = world.get(connection)
    assert row is not None
    assert row.status_inputs is not None
    assert row.status_inputs.node is None
    node = world.node()
    with world.store.read() as tx:
        delta = stored_delta.desired_since(tx, node, 0)
    assert [gateway.id for gateway in delta.gateways] == [service["router_id"]]
    assert [each.id for each in delta.connections] == [connection["id"]]
    assert merge(EMPTY, delta).revision == 1


def test_gateways_are_spread(world: World) -> None:
    north, south = world.node("north"), world.node("south")
    for _ in range(4):
        world.service()
    with world.store.read() as tx:
        assert {row["id"]: row["gateways"] for row in registry.all_nodes(tx)} == {north: 2, south: 2}


def test_an_unknown_or_future_revision_reads_everything(world: World) -> None:
    node = world.node()
    world.service()
    with world.store.read() as tx:
        assert (
            stored_delta.desired_since(tx, node, 99)
            == stored_delta.desired_since(tx, node, 0)
            == stored_delta.desired_since(tx, node, -1)
        )
        idle = stored_delta.desired_since(tx, node, 1)
    assert (idle.gateways, idle.connections, idle.gone, idle.count) == ((), (), (), 1)


def test_what_a_connection_resolves_to(world: World) -> None:
    node = world.node()
    service = world.service()
    world.connection(service["id"], peer_address="vpn.example.org", admin_state_up=False)
    with world.store.write() as tx:
        router = world.router(tx)
        groups = [
            writing.insert(tx, ENDPOINT_GROUP, {"project_id": "blue", "type": type_, "endpoints": ends})
            for type_, ends in (("subnet", [router[1]]), ("cidr", ["172.20.5.1/16", "172.21.0.0/24"]))
        ]
        bare = writing.insert(tx, SERVICE, {"project_id": "blue", "router_id": router[0]})
        assignment.ensure_gateway(tx, router[0])
        assert [row["id"] for row in dependencies.endpoint_groups_with(tx, router[1])] == [groups[0]["id"]]
    grouped = world.connection(
        bare["id"],
        peer_cidrs=[],
        peer_address="2001:db8::1",
        local_ep_group_id=groups[0]["id"],
        peer_ep_group_id=groups[1]["id"],
    )
    with world.store.read() as tx:
        first, second = sorted(
            stored_delta.desired_since(tx, node, 0).connections, key=lambda each: each.id == grouped["id"]
        )
        assert dependencies.affected_by(tx, ENDPOINT_GROUP, groups[1]["id"]) == ([grouped["id"]], [])
        assert dependencies.affected_by(tx, SUBNET, router[1]) == ([grouped["id"]], [router[0]])
        assert set(dependencies.affected_by(tx, NETWORK, world.outside["id"])[1]) == {router[0], service["router_id"]}
        assert connection_state.live_connections(tx, [grouped["id"]]) == [msgspec.structs.replace(second, revision=0)]
    assert (first.local_cidrs, first.enabled, first.local_address) == (("10.1.0.0/24",), False, "198.51.1.1")
    with world.store.read() as tx:
        inside = reading.get(tx, SUBNET, router[1])
    assert inside is not None
    assert second.local_cidrs == (inside["cidr"],)
    assert second.peer_cidrs == ("172.20.0.0/16", "172.21.0.0/24")
    assert second.local_address == ""  # the gateway has no IPv6 address


def test_deltas_cost_the_same_number_of_statements_for_any_size(world: World) -> None:
    node = world.node()
    costs = []
    for _ in range(2):
        for _ in range(3):
            service = world.service()
            world.connection(service["id"])
        with world.store.read() as tx:
            stored_delta.desired_since(tx, node, 0)
            costs.append(tx.statements)
    assert costs[0] == costs[1] <= 5


def test_what_matters_to_a_node(world: World) -> None:
    connection = world.connection(world.service()["id"])
    same = differences(connection, dict(connection))
    assert same == {}
    assert differences(connection, {"name": "new", "psk": connection["psk"]}) == {"name": "new"}
    assert not matters(CONNECTION, {"name", "description"})
    assert matters(CONNECTION, {"psk"})
    assert matters(IKE_POLICY, {"name", "lifetime"})
    assert not matters(SERVICE, {"name"})
    assert matters(NETWORK, {"name"})


def test_writers_at_once_lose_no_event(world: World) -> None:
    """Threads write connections of one node, a reader follows: at the end it holds all of them."""
    node = world.node()
    services = [world.service() for _ in range(4)]
    made: list[str] = []
    faults: list[BaseException] = []

    def write(service: dict[str, Any]) -> None:
        try:
            for turn in range(15):
                row = world.connection(service["id"])
                if turn % 5 == 4:
                    world.delete(row["id"])
                else:
                    made.append(row["id"])
        except BaseException as error:
            faults.append(error)

    agent = Agent(world.store, node)
    threads = [threading.Thread(target=write, args=(service,)) for service in services]
    for thread in threads:
        thread.start()
    polls = 0
    while any(thread.is_alive() for thread in threads):
        agent.poll()
        polls += 1
    for thread in threads:
        thread.join()
    agent.poll()
    assert faults == []
    assert polls > 1
    assert set(agent.state.connections) == set(made)
    assert len(made) == 4 * 12


def test_a_lost_event_would_be_noticed(world: World) -> None:
    """Negative control: a follower that skipped one delta is refused by the digest."""
    node = world.node()
    service = world.service()
    agent = Agent(world.store, node)
    agent.poll()
    world.connection(service["id"])
    with world.store.read() as tx:
        skipped = stored_delta.desired_since(tx, node, 1)
    agent.state = NodeState(skipped.revision, agent.state.gateways, agent.state.connections)
    world.connection(service["id"])
    with pytest.raises(Mismatch):
        agent.poll()
