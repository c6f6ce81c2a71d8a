"""openstacksdk against the API: the five resources, from create to delete, with every authentication method."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import openstack.connection
import pytest
import requests
from openstack import exceptions

from tests.api.serving import Served
from tests.clients.conftest import SDK_WARNINGS, Connect
from tests.clients.topology import Topology, create_topology, obedient_node

pytestmark = [pytest.mark.clients, SDK_WARNINGS]

NOT_FOUND = "(not found|could not be found)"
Objects = dict[str, Any]


class ClientResource(msgspec.Struct, frozen=True):
    """A resource under its name in the SDK; `values` for a new object may refer to earlier objects."""

    name: str
    plural: str
    values: Callable[[Topology, Objects], dict[str, Any]]
    changes: dict[str, Any]


RESOURCES = (
    ClientResource(
        "endpoint_group",
        "endpoint_groups",
        lambda topology, objects: {"type": "subnet", "endpoints": [topology.subnet], "description": "ours"},
        {"description": "our side"},
    ),
    ClientResource(
        "ike_policy",
        "ike_policies",
        lambda topology, objects: {
            "auth_algorithm": "sha512",
            "encryption_algorithm": "aes-256",
            "ike_version": "v2",
            "pfs": "group20",
            "lifetime": {"units": "seconds", "value": 7200},
        },
        {"lifetime": {"units": "seconds", "value": 14400}, "pfs": "group21"},
    ),
    ClientResource(
        "ipsec_policy",
        "ipsec_policies",
        lambda topology, objects: {
            "auth_algorithm": "sha256",
            "encryption_algorithm": "aes-256-gcm-16",
            "encapsulation_mode": "tunnel",
            "transform_protocol": "esp",
            "lifetime": {"units": "kilobytes", "value": 100000},
        },
        {"encryption_algorithm": "aes-128-gcm-16", "description": "faster"},
    ),
    ClientResource(
        "service",
        "services",
        lambda topology, objects: {"router_id": topology.router, "is_admin_state_up": True},
        {"description": "of the lan"},
    ),
    ClientResource(
        "ipsec_site_connection",
        "ipsec_site_connections",
        lambda topology, objects: {
            "vpnservice_id": objects["service"].id,
            "ikepolicy_id": objects["ike_policy"].id,
            "ipsecpolicy_id": objects["ipsec_policy"].id,
            "local_ep_group_id": objects["endpoint_group"].id,
            "peer_ep_group_id": objects["theirs"].id,
            "peer_address": "203.0.113.9",
            "peer_id": "branch@example.org",
            "psk": "correct horse",
            "mtu": 1400,
            "initiator": "bi-directional",
            "dpd": {"action": "restart", "interval": 5, "timeout": 20},
            "is_admin_state_up": True,
        },
        {"dpd": {"action": "clear", "interval": 10, "timeout": 30}, "psk": "battery staple", "mtu": 1300},
    ),
)


@pytest.fixture
def alice(connect: Connect) -> openstack.connection.Connection:
    return connect("alice")


@pytest.fixture
def topology(connect: Connect, alice: openstack.connection.Connection) -> Topology:
    return create_topology(connect("admin"), alice)


def call(cloud: openstack.connection.Connection, verb: str, noun: str, *arguments: Any, **values: Any) -> Any:
    """Calls a method of the SDK: `create`, `ike_policy` is `create_vpn_ike_policy`."""
    return getattr(cloud.network, f"{verb}_vpn_{noun}".removeprefix("_"))(*arguments, **values)


def listed(cloud: openstack.connection.Connection, resource: ClientResource, **query: Any) -> list[str]:
    """Lists the names of the objects that a query finds."""
    return [item.name for item in call(cloud, "", resource.plural, **query)]


def create(cloud: openstack.connection.Connection, topology: Topology) -> Objects:
    """Creates one object of each resource, and a second endpoint group; checks that attributes are returned as sent."""
    objects: Objects = {
        "theirs": call(cloud, "create", "endpoint_group", name="theirs", type="cidr", endpoints=["10.9.0.0/24"])
    }
    for resource in RESOURCES:
        values = resource.values(topology, objects) | {"name": f"the {resource.name}"}
        objects[resource.name] = call(cloud, "create", resource.name, **values)
        assert {name: objects[resource.name][name] for name in values} == values
    return objects


def test_the_five_resources(service: Served, alice: openstack.connection.Connection, topology: Topology) -> None:
    objects = create(alice, topology)
    for resource in RESOURCES:
        item = objects[resource.name]
        assert call(alice, "get", resource.name, item.id).to_dict() == item.to_dict()
        assert call(alice, "find", resource.name, item.name, ignore_missing=False).id == item.id
        assert call(alice, "find", resource.name, item.id, ignore_missing=False).name == item.name
        assert call(alice, "find", resource.name, "nothing of that name") is None
        assert item.name in listed(alice, resource)
        assert listed(alice, resource, name=item.name) == [item.name]
        changed = call(alice, "update", resource.name, item, name=f"{item.name}, changed", **resource.changes)
        again = call(alice, "get", resource.name, item.id)
        for seen in (changed, again):
            assert seen.name == f"the {resource.name}, changed"
            assert {name: seen[name] for name in resource.changes} == resource.changes
    for resource in reversed(RESOURCES):
        id = objects[resource.name].id
        call(alice, "delete", resource.name, id, ignore_missing=False)
        assert call(alice, "delete", resource.name, id) is None
        with pytest.raises(exceptions.NotFoundException, match=NOT_FOUND):
            call(alice, "delete", resource.name, id, ignore_missing=False)
        assert call(alice, "find", resource.name, id) is None
        assert objects[resource.name].name not in listed(alice, resource)


def test_waiting_for_a_status_and_for_a_deletion(
    service: Served, alice: openstack.connection.Connection, topology: Topology
) -> None:
    """Clients wait for a status and for the end of a deletion."""
    objects = create(alice, topology)
    connection, network = objects["ipsec_site_connection"], alice.network
    assert (objects["service"].status, connection.status) == ("PENDING_CREATE", "PENDING_CREATE")
    with obedient_node(service):
        for item in (objects["service"], connection):
            assert network.wait_for_status(item, "ACTIVE", ["ERROR"], interval=0.02, wait=30).status == "ACTIVE"
        network.update_vpn_ipsec_site_connection(connection, is_admin_state_up=False)
        assert network.wait_for_status(connection, "DOWN", ["ERROR"], interval=0.02, wait=30).status == "DOWN"
        network.delete_vpn_ipsec_site_connection(connection)
        network.wait_for_delete(connection, interval=0.02, wait=30)
        network.delete_vpn_service(objects["service"])
        network.wait_for_delete(objects["service"], interval=0.02, wait=30)
    assert list(network.vpn_services()) == []


@pytest.fixture
def requested_urls(alice: openstack.connection.Connection) -> Iterator[list[str]]:
    """The URLs that alice's client has requested."""
    urls: list[str] = []

    def note(answer: requests.Response, **_more: Any) -> None:
        urls.append(answer.url)

    http = alice.session.session
    http.hooks["response"].append(note)
    yield urls
    http.hooks["response"].remove(note)


def test_pages_and_filters(
    alice: openstack.connection.Connection, topology: Topology, requested_urls: list[str]
) -> None:
    numbers = [f"number {number}" for number in range(5)]
    for resource in RESOURCES[:3]:
        for name in numbers:
            call(alice, "create", resource.name, name=name, **resource.values(topology, {}))
        requested_urls.clear()
        assert sorted(listed(alice, resource, limit=2)) == numbers
        # Pages of two, two, one, and an empty one; each URL but the first comes from the link to the next page.
        assert [("limit=2" in url, "marker=" in url) for url in requested_urls] == [(True, False)] + [(True, True)] * 3
        assert len(listed(alice, resource, limit=2, paginated=False)) == 2
    network = alice.network
    first = call(alice, "create", "service", name="one", **RESOURCES[3].values(topology, {}))
    second = call(alice, "create", "service", name="two", router_id=topology.router, is_admin_state_up=False)
    assert [item.id for item in network.vpn_services(is_admin_state_up=False)] == [second.id]
    assert [item.id for item in network.vpn_services(router_id=topology.router, name="one")] == [first.id]
    assert list(network.vpn_services(subnet_id=topology.subnet)) == []
    assert len(list(network.vpn_endpoint_groups(type="subnet"))) == 5
    assert list(network.vpn_endpoint_groups(type="cidr")) == []
    assert list(network.vpn_ike_policies(ike_version="v1")) == []
    assert [item.to_dict()["pfs"] for item in network.vpn_ike_policies(fields=["id", "name"])] == [None] * 5


def test_refusals(alice: openstack.connection.Connection, topology: Topology) -> None:
    """Each status code is an exception of the SDK, with the API's message in its text."""
    objects = create(alice, topology)
    network = alice.network
    missing_id = str(uuid.uuid4())
    for resource in RESOURCES:
        with pytest.raises(exceptions.NotFoundException, match=f"{missing_id} {NOT_FOUND}"):
            call(alice, "get", resource.name, missing_id)
        with pytest.raises(exceptions.NotFoundException):
            call(alice, "update", resource.name, missing_id, name="missing")
        with pytest.raises(exceptions.NotFoundException):
            call(alice, "find", resource.name, "missing", ignore_missing=False)
        with pytest.raises(exceptions.BadRequestException, match="exceeds maximum length of 255"):
            call(alice, "update", resource.name, objects[resource.name].id, name="n" * 256)
    for name in ("ike_policy", "ipsec_policy", "service"):
        with pytest.raises(exceptions.ConflictException, match="in use"):
            call(alice, "delete", name, objects[name].id)
    with pytest.raises(exceptions.BadRequestException, match="in use"):
        call(alice, "delete", "endpoint_group", objects["endpoint_group"].id)
    with pytest.raises(exceptions.BadRequestException, match="dpd_timeout is equal to or less than dpd_interval"):
        network.update_vpn_ipsec_site_connection(
            objects["ipsec_site_connection"].id, dpd={"interval": 60, "timeout": 30}
        )
    with pytest.raises(exceptions.BadRequestException, match="lifetime"):
        network.create_vpn_ike_policy(lifetime={"value": 9})
    service = call(alice, "find", "service", "the service")
    call(alice, "create", "service", name=service.name, router_id=topology.router)
    with pytest.raises(exceptions.DuplicateResource):
        network.find_vpn_service(service.name)
