"""Rows: what goes in comes out, on both databases."""

from __future__ import annotations

import time
import uuid
from datetime import UTC

import pytest

from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, NETWORK, PORT, RESOURCES, ROUTER, SERVICE, SUBNET
from linkspan.core.secret import Secret
from linkspan.store import revisions
from linkspan.store.nodes import tombstones
from linkspan.store.rows import dependencies, ports, reading, writing
from linkspan.store.rows.mapping import MAPPERS
from linkspan.store.store import Conflict, Store
from tests.store.conftest import World


def test_defaults_and_common_attributes(store: Store) -> None:
    with store.write() as tx:
        made = writing.insert(tx, IKE_POLICY, {"project_id": "blue", "name": "strong"})
    with store.read() as tx:
        row = reading.get(tx, IKE_POLICY, made["id"])
    assert row == made
    assert row["lifetime"] == {"units": "seconds", "value": 3600}
    assert row["revision_number"] == 1
    assert row["created_at"] == row["updated_at"]
    assert row["created_at"].tzinfo is UTC


def test_ids_follow_time_but_for_the_inventory(world: World) -> None:
    """Neighbours in time are neighbours in every index; interfaces are named by a network's first eight digits."""
    made = []
    for _ in range(3):
        with world.store.write() as tx:
            made.append(writing.insert(tx, IKE_POLICY, {"project_id": "blue"})["id"])
        time.sleep(0.002)
    with world.store.write() as tx:
        networks = [writing.insert(tx, NETWORK, {"project_id": "blue"})["id"] for _ in range(3)]
    assert made == sorted(made)
    assert {uuid.UUID(id).version for id in made} == {7}
    assert len({id[:8] for id in networks}) == 3


def test_a_row_has_the_attributes_of_the_registry(world: World) -> None:
    service = world.service()
    connection = world.connection(service["id"])
    with world.store.read() as tx:
        row = reading.get(tx, CONNECTION, connection["id"])
        assert row is not None
    stored = {attribute.name for attribute in CONNECTION.attributes if attribute.stored}
    own = {"revision_number", "created_at", "updated_at", "effective_mtu", "last_good_revision"}
    assert set(row) == stored | own
    assert row.status_inputs is not None
    assert row.router_id == service["router_id"]
    assert row["psk"] == Secret(connection["psk"].reveal())
    assert row["peer_cidrs"] == connection["peer_cidrs"]
    assert row["admin_state_up"] is True


def test_update_bumps_the_revision_number_and_merges(world: World) -> None:
    connection = world.connection(world.service()["id"])
    with world.store.write() as tx:
        row = writing.update(tx, CONNECTION, connection["id"], {"name": "renamed", "psk": Secret("another")})
    assert row["revision_number"] == 2
    assert row["updated_at"] >= row["created_at"]
    assert (row["name"], row["psk"], row["mtu"]) == ("renamed", Secret("another"), 1500)


def test_unknown_attributes_and_rows_are_refused(store: Store) -> None:
    with pytest.raises(KeyError, match="no attribute colour"), store.write() as tx:
        writing.insert(tx, IKE_POLICY, {"project_id": "blue", "colour": "green"})
    with pytest.raises(KeyError, match="not there"), store.write() as tx:
        writing.update(tx, IKE_POLICY, "nowhere", {"name": "x"})
    with pytest.raises(ValueError, match="softly"), store.write() as tx:
        writing.remove(tx, CONNECTION, "x")


def test_an_exception_rolls_everything_back(store: Store) -> None:
    def fail() -> None:
        with store.write() as tx:
            writing.insert(tx, IKE_POLICY, {"project_id": "blue"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.read() as tx:
        assert reading.find(tx, IKE_POLICY) == []


def test_projects_see_their_own_rows_and_common_networks(store: Store) -> None:
    with store.write() as tx:
        mine = writing.insert(tx, IKE_POLICY, {"project_id": "blue"})
        writing.insert(tx, IKE_POLICY, {"project_id": "red"})
        for name, more in (("own", {}), ("shared", {"shared": True}), ("ext", {"router:external": True})):
            writing.insert(tx, NETWORK, {"project_id": "red", "name": name, **more})
    with store.read() as tx:
        assert [row["id"] for row in reading.find(tx, IKE_POLICY, project="blue")] == [mine["id"]]
        assert len(reading.find(tx, IKE_POLICY)) == 2
        assert reading.get(tx, IKE_POLICY, mine["id"], "red") is None
        assert [row["name"] for row in reading.find(tx, NETWORK, project="blue")] == ["ext", "shared"]
        assert reading.count(tx, IKE_POLICY, "blue") == 1


def test_services_carry_the_outside_addresses(world: World) -> None:
    with world.store.write() as tx:
        router = world.router(tx)
    service = world.service(router)
    row = world.get(service)
    assert row is not None
    assert (row["external_v4_ip"], row["external_v6_ip"]) == ("198.51.1.1", None)
    port = world.gateway_port(router[0])
    v6 = {"subnet_id": world.outside_subnet["id"], "ip_address": "2001:db8::7"}
    with world.store.write() as tx:
        writing.remove(tx, PORT, port["id"])
        writing.insert(
            tx,
            PORT,
            world.port(
                router[0], "network:router_gateway", world.outside["id"], world.outside_subnet["id"], "198.51.9.9"
            )
            | {"fixed_ips": [{"subnet_id": world.outside_subnet["id"], "ip_address": "198.51.9.9"}, v6]},
        )
    row = world.get(service)
    assert row is not None
    assert (row["external_v4_ip"], row["external_v6_ip"]) == ("198.51.9.9", "2001:db8::7")


def test_networks_and_routers_carry_what_hangs_on_them(world: World) -> None:
    with world.store.write() as tx:
        router, subnet = world.router(tx)
    with world.store.read() as tx:
        row = reading.get(tx, ROUTER, router)
        inside = reading.get(tx, SUBNET, subnet)
        assert row is not None
        assert inside is not None
        assert row["external_gateway_info"] == {
            "network_id": world.outside["id"],
            "external_fixed_ips": [{"subnet_id": world.outside_subnet["id"], "ip_address": "198.51.1.1"}],
        }
        network = reading.get(tx, NETWORK, inside["network_id"])
        assert network is not None
        assert network["subnets"] == [subnet]
        assert ports.used_addresses(tx, world.outside_subnet["id"]) == {"198.51.1.1"}
        assert [port["device_owner"] for port in ports.ports_of(tx, router)] == [
            "network:router_gateway",
            "network:router_interface",
        ]


def test_an_address_is_taken_once(world: World) -> None:
    with world.store.write() as tx:
        router, _ = world.router(tx)
        other = writing.insert(tx, ROUTER, {"project_id": "blue"})["id"]
    same = world.port(other, "network:router_gateway", world.outside["id"], world.outside_subnet["id"], "198.51.1.1")
    with pytest.raises(Conflict), world.store.write() as tx:
        writing.insert(tx, PORT, same)
    with world.store.write() as tx:
        writing.remove(tx, PORT, ports.ports_of(tx, router)[0]["id"])
        writing.insert(tx, PORT, same)


def test_what_is_referred_to_stays(world: World) -> None:
    service = world.service()
    connection = world.connection(service["id"])
    for resource, id in ((IKE_POLICY, world.ike["id"]), (ROUTER, service["router_id"])):
        with pytest.raises(Conflict), world.store.write() as tx:
            writing.remove(tx, resource, id)
    with pytest.raises(Conflict), world.store.write() as tx:
        tombstones.soft_delete(tx, SERVICE, service["id"])
    with world.store.read() as tx:
        assert dependencies.connections_using(tx, ike_policy=world.ike["id"]) == [connection["id"]]
        assert dependencies.connections_using(tx, service=service["id"]) == [connection["id"]]
        assert dependencies.connections_using(tx, endpoint_group="none") == []


def test_a_deleted_connection_lets_its_policies_go(world: World) -> None:
    node = world.node()
    connection = world.connection(world.service()["id"])
    assert world.delete(connection["id"]) is False
    with world.store.write() as tx:
        assert dependencies.connections_using(tx, ike_policy=world.ike["id"]) == []
        writing.remove(tx, IKE_POLICY, world.ike["id"])
    row = world.get(connection)
    assert row is not None
    assert row.is_deleted
    assert row["ikepolicy_id"] == world.ike["id"]
    assert node


def test_every_resource_fits_its_table() -> None:
    for resource in RESOURCES:
        assert MAPPERS[resource.name].names[0] == "id"


def test_find_costs_one_statement(world: World) -> None:
    service = world.service()
    for _ in range(5):
        world.connection(service["id"])
    with world.store.read() as tx:
        assert tx.now
        for run in (
            lambda: reading.find(tx, CONNECTION, Query(filters={"name": ("connection-2",)}, limit=2), "blue"),
            lambda: reading.get(tx, CONNECTION, service["id"], "blue"),
            lambda: reading.find(tx, SERVICE, project="blue"),
            lambda: reading.find(tx, NETWORK, project="blue"),
        ):
            before = tx.statements
            run()
            assert tx.statements == before + 1


def test_creating_a_connection_costs_few_statements(world: World) -> None:
    world.node()
    service = world.service()
    with world.store.write() as tx:
        before = tx.statements
        row = writing.insert(tx, CONNECTION, world.values(service["id"]))
        revisions.touch(tx, connections=[row["id"]])
        reading.get(tx, CONNECTION, row["id"])
        # The row; who carries it, the node's revision, the stamp; the row again with its status.
        assert tx.statements == before + 5
