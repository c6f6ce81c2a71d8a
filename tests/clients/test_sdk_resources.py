"""openstacksdk against our API: the five resources, from create to delete, by every way to authenticate."""

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
Made = dict[str, Any]


class ClientResource(msgspec.Struct, frozen=True):
    """A resource as the SDK calls it; `values` of a new one may need the ids of what was made before it."""

    name: str
    plural: str
    values: Callable[[Topology, Made], dict[str, Any]]
    changes: dict[str, Any]


RESOURCES = (
    ClientResource(
        "endpoint_group",
        "endpoint_groups",
        lambda ground, made: {"type": "subnet", "endpoints": [ground.subnet], "description": "ours"},
        {"description": "our side"},
    ),
    ClientResource(
        "ike_policy",
        "ike_policies",
        lambda ground, made: {
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
        lambda ground, made: {
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
        lambda ground, made: {"router_id": ground.router, "is_admin_state_up": True},
        {"description": "of the lan"},
    ),
    ClientResource(
        "ipsec_site_connection",
        "ipsec_site_connections",
        lambda ground, made: {
            "vpnservice_id": made["service"].id,
            "ikepolicy_id": made["ike_policy"].id,
            "ipsecpolicy_id": made["ipsec_policy"].id,
            "local_ep_group_id": made["endpoint_group"].id,
            "peer_ep_group_id": made["theirs"].id,
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
def place(connect: Connect, alice: openstack.connection.Connection) -> Topology:
    return create_topology(connect("admin"), alice)


def call(cloud: openstack.connection.Connection, verb: str, noun: str, *arguments: Any, **values: Any) -> Any:
    """A call of the SDK: `create`, `ike_policy` is `create_vpn_ike_policy`."""
    return getattr(cloud.network, f"{verb}_vpn_{noun}".removeprefix("_"))(*arguments, **values)


def listed(cloud: openstack.connection.Connection, kind: ClientResource, **query: Any) -> list[str]:
    """Names."""
    return [each.name for each in call(cloud, "", kind.plural, **query)]


def create(cloud: openstack.connection.Connection, place: Topology) -> Made:
    """One of each kind, and a second endpoint group; each attribute comes back as it was sent."""
    made: Made = {
        "theirs": call(cloud, "create", "endpoint_group", name="theirs", type="cidr", endpoints=["10.9.0.0/24"])
    }
    for kind in RESOURCES:
        values = kind.values(place, made) | {"name": f"the {kind.name}"}
        made[kind.name] = call(cloud, "create", kind.name, **values)
        assert {name: made[kind.name][name] for name in values} == values
    return made


def test_the_five_resources(service: Served, alice: openstack.connection.Connection, place: Topology) -> None:
    made = create(alice, place)
    for kind in RESOURCES:
        there = made[kind.name]
        assert call(alice, "get", kind.name, there.id).to_dict() == there.to_dict()
        assert call(alice, "find", kind.name, there.name, ignore_missing=False).id == there.id
        assert call(alice, "find", kind.name, there.id, ignore_missing=False).name == there.name
        assert call(alice, "find", kind.name, "nothing of that name") is None
        assert there.name in listed(alice, kind)
        assert listed(alice, kind, name=there.name) == [there.name]
        changed = call(alice, "update", kind.name, there, name=f"{there.name}, changed", **kind.changes)
        again = call(alice, "get", kind.name, there.id)
        for seen in (changed, again):
            assert seen.name == f"the {kind.name}, changed"
            assert {name: seen[name] for name in kind.changes} == kind.changes
    for kind in reversed(RESOURCES):
        id = made[kind.name].id
        call(alice, "delete", kind.name, id, ignore_missing=False)
        assert call(alice, "delete", kind.name, id) is None
        with pytest.raises(exceptions.NotFoundException, match=NOT_FOUND):
            call(alice, "delete", kind.name, id, ignore_missing=False)
        assert call(alice, "find", kind.name, id) is None
        assert made[kind.name].name not in listed(alice, kind)


def test_waiting(service: Served, alice: openstack.connection.Connection, place: Topology) -> None:
    """For ACTIVE, and until it is gone."""
    made = create(alice, place)
    connection, network = made["ipsec_site_connection"], alice.network
    assert (made["service"].status, connection.status) == ("PENDING_CREATE", "PENDING_CREATE")
    with obedient_node(service):
        for each in (made["service"], connection):
            assert network.wait_for_status(each, "ACTIVE", ["ERROR"], interval=0.02, wait=30).status == "ACTIVE"
        network.update_vpn_ipsec_site_connection(connection, is_admin_state_up=False)
        assert network.wait_for_status(connection, "DOWN", ["ERROR"], interval=0.02, wait=30).status == "DOWN"
        network.delete_vpn_ipsec_site_connection(connection)
        network.wait_for_delete(connection, interval=0.02, wait=30)
        network.delete_vpn_service(made["service"])
        network.wait_for_delete(made["service"], interval=0.02, wait=30)
    assert list(network.vpn_services()) == []


@pytest.fixture
def asked(alice: openstack.connection.Connection) -> Iterator[list[str]]:
    """The URLs that alice's client asks for."""
    urls: list[str] = []

    def note(answer: requests.Response, **_more: Any) -> None:
        urls.append(answer.url)

    http = alice.session.session
    http.hooks["response"].append(note)
    yield urls
    http.hooks["response"].remove(note)


def test_pages_and_filters(alice: openstack.connection.Connection, place: Topology, asked: list[str]) -> None:
    numbers = [f"number {number}" for number in range(5)]
    for kind in RESOURCES[:3]:
        for name in numbers:
            call(alice, "create", kind.name, name=name, **kind.values(place, {}))
        asked.clear()
        assert sorted(listed(alice, kind, limit=2)) == numbers
        # Two, two, one, and one look past the end; each but the first where the last one's link pointed.
        assert [("limit=2" in url, "marker=" in url) for url in asked] == [(True, False)] + [(True, True)] * 3
        assert len(listed(alice, kind, limit=2, paginated=False)) == 2
    network = alice.network
    first = call(alice, "create", "service", name="one", **RESOURCES[3].values(place, {}))
    second = call(alice, "create", "service", name="two", router_id=place.router, is_admin_state_up=False)
    assert [each.id for each in network.vpn_services(is_admin_state_up=False)] == [second.id]
    assert [each.id for each in network.vpn_services(router_id=place.router, name="one")] == [first.id]
    assert list(network.vpn_services(subnet_id=place.subnet)) == []
    assert len(list(network.vpn_endpoint_groups(type="subnet"))) == 5
    assert list(network.vpn_endpoint_groups(type="cidr")) == []
    assert list(network.vpn_ike_policies(ike_version="v1")) == []
    assert [each.to_dict()["pfs"] for each in network.vpn_ike_policies(fields=["id", "name"])] == [None] * 5


def test_refusals(alice: openstack.connection.Connection, place: Topology) -> None:
    """What goes wrong is the exception that the SDK has for it, with our sentence in it."""
    made = create(alice, place)
    network = alice.network
    nobody = str(uuid.uuid4())
    for kind in RESOURCES:
        with pytest.raises(exceptions.NotFoundException, match=f"{nobody} {NOT_FOUND}"):
            call(alice, "get", kind.name, nobody)
        with pytest.raises(exceptions.NotFoundException):
            call(alice, "update", kind.name, nobody, name="nobody")
        with pytest.raises(exceptions.NotFoundException):
            call(alice, "find", kind.name, "nobody", ignore_missing=False)
        with pytest.raises(exceptions.BadRequestException, match="exceeds maximum length of 255"):
            call(alice, "update", kind.name, made[kind.name].id, name="n" * 256)
    for name in ("ike_policy", "ipsec_policy", "service"):
        with pytest.raises(exceptions.ConflictException, match="in use"):
            call(alice, "delete", name, made[name].id)
    with pytest.raises(exceptions.BadRequestException, match="in use"):
        call(alice, "delete", "endpoint_group", made["endpoint_group"].id)
    with pytest.raises(exceptions.BadRequestException, match="dpd_timeout is equal to or less than dpd_interval"):
        network.update_vpn_ipsec_site_connection(made["ipsec_site_connection"].id, dpd={"interval": 60, "timeout": 30})
    with pytest.raises(exceptions.BadRequestException, match="lifetime"):
        network.create_vpn_ike_policy(lifetime={"value": 9})
    twice = call(alice, "find", "service", "the service")
    call(alice, "create", "service", name=twice.name, router_id=place.router)
    with pytest.raises(exceptions.DuplicateResource):
        network.find_vpn_service(twice.name)
