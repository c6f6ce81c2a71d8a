"""Two transactions at once, each pair in both orders: what depends on a row waits for whoever changes it.

On SQLite the second simply waits its turn; on PostgreSQL it is row locks that make it wait at the right places. In
each test the second transaction begins while the first has done its work and has not committed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, SERVICE
from linkspan.core.state.desired import EMPTY, merge
from linkspan.core.state.observed import Hello
from linkspan.store import revisions
from linkspan.store.nodes import assignment, delta, registry, tombstones
from linkspan.store.rows import reading, writing
from linkspan.store.store import Conflict, Row
from linkspan.store.transaction import Transaction
from tests.store.conftest import World

Step = Callable[[Transaction], object]


def overlap(world: World, first: Step, second: Step) -> list[BaseException]:
    """Runs both, the second while the first is open; what each of them raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with world.store.write() as tx:
                second(tx)
        except Conflict as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    try:
        with world.store.write() as tx:
            first(tx)
            thread.start()
            time.sleep(0.15)
    except Conflict as error:
        raised.append(error)
    thread.join(20)
    assert not thread.is_alive()
    return raised


def add(world: World, service: Row) -> Step:
    def step(tx: Transaction) -> None:
        row = writing.insert(tx, CONNECTION, world.values(service["id"]))
        revisions.touch(tx, connections=[row["id"]])
        reading.get(tx, CONNECTION, row["id"])

    return step


def hello(world: World) -> Step:
    with world.store.write() as tx:
        node = registry.add_node(tx, "north", "hash")["id"]
    return lambda tx: registry.hello(tx, node, Hello("kernel", "1", "6"))


def check(world: World) -> tuple[int, int]:
    """Every live object is on its gateway's node, once; how many gateways and connections that is."""
    with world.store.read() as tx:
        states = [merge(EMPTY, delta.desired_since(tx, node["id"], 0)) for node in registry.all_nodes(tx)]
        live = [row for row in reading.find(tx, CONNECTION) if not row.is_deleted]
    held = [id for state in states for id in state.connections]
    assert sorted(held) == sorted(row["id"] for row in live)
    return sum(len(state.gateways) for state in states), len(held)


def test_a_connection_while_its_gateway_gets_a_node(world: World) -> None:
    service = world.service()
    assert overlap(world, add(world, service), hello(world)) == []
    assert check(world) == (1, 1)


def test_a_gateway_gets_its_node_while_a_connection_comes(world: World) -> None:
    service = world.service()
    assert overlap(world, hello(world), add(world, service)) == []
    assert check(world) == (1, 1)


def test_two_nodes_say_hello_at_once(world: World) -> None:
    world.connection(world.service()["id"])
    with world.store.write() as tx:
        nodes = [registry.add_node(tx, name, name)["id"] for name in ("north", "south")]
    said = Hello("kernel", "1", "6")
    raised = overlap(
        world, lambda tx: registry.hello(tx, nodes[0], said), lambda tx: registry.hello(tx, nodes[1], said)
    )
    assert raised == []
    assert check(world) == (1, 1)


def test_a_connection_goes_while_its_gateway_gets_a_node(world: World) -> None:
    gone = world.connection(world.service()["id"])
    assert overlap(world, lambda tx: tombstones.soft_delete(tx, CONNECTION, gone["id"]), hello(world)) == []
    assert check(world) == (1, 0)


def test_a_gateway_gets_its_node_while_a_connection_goes(world: World) -> None:
    gone = world.connection(world.service()["id"])
    assert overlap(world, hello(world), lambda tx: tombstones.soft_delete(tx, CONNECTION, gone["id"])) == []
    assert check(world) == (1, 0)


def test_a_service_goes_while_a_connection_comes(world: World) -> None:
    world.node()
    service = world.service()
    raised = overlap(world, add(world, service), lambda tx: tombstones.soft_delete(tx, SERVICE, service["id"]))
    assert [type(each) for each in raised] == [Conflict]
    assert check(world) == (1, 1)


def test_a_connection_comes_while_its_service_goes(world: World) -> None:
    world.node()
    service = world.service()
    raised = overlap(world, lambda tx: tombstones.soft_delete(tx, SERVICE, service["id"]), add(world, service))
    assert [type(each) for each in raised] == [Conflict]
    assert check(world) == (0, 0)


def test_the_last_service_goes_while_another_comes(world: World) -> None:
    world.node()
    old = world.service()
    values = {"project_id": "blue", "router_id": old["router_id"], "subnet_id": old["subnet_id"]}

    def another(tx: Transaction) -> None:
        writing.insert(tx, SERVICE, values)
        assignment.ensure_gateway(tx, old["router_id"])

    assert overlap(world, another, lambda tx: tombstones.soft_delete(tx, SERVICE, old["id"])) == []
    assert check(world) == (1, 0)


def test_another_service_comes_while_the_last_one_goes(world: World) -> None:
    world.node()
    old = world.service()
    values = {"project_id": "blue", "router_id": old["router_id"], "subnet_id": old["subnet_id"]}

    def another(tx: Transaction) -> None:
        writing.insert(tx, SERVICE, values)
        assignment.ensure_gateway(tx, old["router_id"])

    assert overlap(world, lambda tx: tombstones.soft_delete(tx, SERVICE, old["id"]), another) == []
    assert check(world) == (1, 0)


def test_a_policy_goes_while_a_connection_comes(world: World) -> None:
    service = world.service()
    raised = overlap(world, add(world, service), lambda tx: writing.remove(tx, IKE_POLICY, world.ike["id"]))
    assert [type(each) for each in raised] == [Conflict]
    assert len(check_live(world)) == 1


def test_a_connection_comes_while_its_policy_goes(world: World) -> None:
    service = world.service()
    raised = overlap(world, lambda tx: writing.remove(tx, IKE_POLICY, world.ike["id"]), add(world, service))
    assert [type(each) for each in raised] == [Conflict]
    assert check_live(world) == []


def check_live(world: World) -> list[Row]:
    with world.store.read() as tx:
        return reading.find(tx, CONNECTION)


def test_two_edits_of_one_row_both_count(world: World) -> None:
    """`lock`: the second reads what the first wrote."""
    connection = world.connection(world.service()["id"])

    def raise_mtu(tx: Transaction) -> None:
        row = reading.get(tx, CONNECTION, connection["id"], lock=True)
        assert row is not None
        writing.update(tx, CONNECTION, connection["id"], {"mtu": row["mtu"] + 1})

    assert overlap(world, raise_mtu, raise_mtu) == []
    row = world.get(connection)
    assert row is not None
    assert (row["mtu"], row["revision_number"]) == (1502, 3)
