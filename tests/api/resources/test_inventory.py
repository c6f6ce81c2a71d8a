"""Networks, subnets, routers and ports: attributes, addresses, and changes that a VPN service forbids."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.authorization.policy import policy_of
from tests.api.conftest import OpenApi
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite

UNKNOWN = "3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000"
BAD = (400, "HTTPBadRequest")
INPUT = (400, "InvalidInput")


# --- networks -----------------------------------------------------------------------------------------------------


def test_a_network(api: Api) -> None:
    network = api.create("/networks", "network", name="lan")
    expected = {
        "name": "lan",
        "project_id": BLUE,
        "tenant_id": BLUE,
        "admin_state_up": True,
        "mtu": 1500,
        "status": "ACTIVE",
        "subnets": [],
        "shared": False,
        "router:external": False,
        "port_security_enabled": True,
        "is_default": False,
        "availability_zones": [],
        "availability_zone_hints": [],
        "tags": [],
    }
    assert {name: network[name] for name in expected} == expected
    subnet = api.create("/subnets", "subnet", network_id=network["id"], cidr="10.1.0.0/24")
    assert api.get(f"/networks/{network['id']}")["network"]["subnets"] == [subnet["id"]]


@pytest.mark.shows("network.router:external", "network.shared")
def test_only_an_admin_makes_networks_external_or_shared(api: Api) -> None:
    for name in ("router:external", "shared"):
        assert api.refused("POST", "/networks", {"network": {name: True}}) == (403, "PolicyNotAuthorized")
        assert api.create("/networks", "network", **{name: False})[name] is False
    own = api.create("/networks", "network", name="own")
    path = f"/networks/{own['id']}"
    assert api.refused("PUT", path, {"network": {"shared": True}}) == (403, "PolicyNotAuthorized")
    assert api.refused("PUT", path, {"network": {"router:external": True}}) == BAD
    assert api.as_("admin").update(path, "network", shared=True)["shared"] is True
    assert api.as_("bob").get(path)["network"]["id"] == own["id"]


def test_a_shared_network_is_read_only_for_other_projects(api: Api) -> None:
    outside = api.outside()
    path = f"/networks/{outside['id']}"
    assert api.get(path)["network"]["name"] == "internet"
    assert [network["id"] for network in api.get("/networks?router:external=True")["networks"]] == [outside["id"]]
    assert api.refused("PUT", path, {"network": {"name": "mine"}}) == (403, "PolicyNotAuthorized")
    assert api.refused("DELETE", path) == (403, "PolicyNotAuthorized")
    body = {"subnet": {"network_id": outside["id"], "cidr": "10.0.0.0/24"}}
    assert api.refused("POST", "/subnets", body) == (403, "PolicyNotAuthorized")


def test_a_network_is_deleted_with_its_subnets(api: Api) -> None:
    subnet = api.inside()
    api.delete(f"/networks/{subnet['network_id']}")
    assert api.refused("GET", f"/subnets/{subnet['id']}") == (404, "SubnetNotFound")


# --- subnets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "gateway", "pools", "version"),
    [
        ({"cidr": "10.1.0.0/24"}, "10.1.0.1", [("10.1.0.2", "10.1.0.254")], 4),
        ({"cidr": "10.1.0.0/24", "gateway_ip": None}, None, [("10.1.0.1", "10.1.0.254")], 4),
        (
            {"cidr": "10.1.0.0/24", "gateway_ip": "10.1.0.9", "ip_version": "4"},
            "10.1.0.9",
            [("10.1.0.1", "10.1.0.8"), ("10.1.0.10", "10.1.0.254")],
            4,
        ),
        ({"cidr": "10.1.0.0/24", "gateway_ip": "10.1.0.254"}, "10.1.0.254", [("10.1.0.1", "10.1.0.253")], 4),
        ({"cidr": "10.1.0.0/31"}, "10.1.0.0", [("10.1.0.1", "10.1.0.1")], 4),
        ({"cidr": "fd00:1::/64"}, "fd00:1::1", [("fd00:1::2", "fd00:1::ffff:ffff:ffff:ffff")], 6),
    ],
)
def test_a_subnet(
    api: Api, values: dict[str, Any], gateway: str | None, pools: list[tuple[str, str]], version: int
) -> None:
    subnet = api.inside(**values)
    assert (subnet["gateway_ip"], subnet["ip_version"], subnet["router:external"]) == (gateway, version, False)
    assert subnet["allocation_pools"] == [{"start": start, "end": end} for start, end in pools]
    assert api.get(f"/subnets/{subnet['id']}")["subnet"] == subnet


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"cidr": "10.1.0.0/24", "ip_version": 6}, INPUT),
        ({"cidr": "10.1.0.0/24", "ip_version": 5}, INPUT),
        ({"cidr": "10.1.0.0/24", "ip_version": 7}, BAD),
        ({"cidr": "10.1.0.7/24"}, BAD),
        ({"cidr": "10.1.0.0"}, BAD),
        ({"cidr": "0.0.0.0/0"}, BAD),
        ({"cidr": "127.0.0.0/8"}, BAD),
        ({"cidr": "224.0.0.0/24"}, BAD),
        ({"cidr": 7}, BAD),
        ({}, BAD),
        ({"cidr": "10.1.0.0/24", "gateway_ip": "10.2.0.1"}, INPUT),
        ({"cidr": "10.1.0.0/24", "gateway_ip": "10.1.0.0"}, INPUT),
        ({"cidr": "10.1.0.0/24", "gateway_ip": "10.1.0.255"}, INPUT),
        ({"cidr": "10.1.0.0/24", "gateway_ip": "x"}, BAD),
        ({"cidr": "10.1.0.0/24", "gateway_ip": 7}, BAD),
        ({"cidr": "fd00::/64", "gateway_ip": "fd00::1%eth0"}, BAD),
        ({"cidr": "10.1.0.0/24", "network_id": UNKNOWN}, (404, "NetworkNotFound")),
    ],
)
def test_subnets_are_refused(api: Api, values: dict[str, Any], expected: tuple[int, str]) -> None:
    network = api.create("/networks", "network", name="lan")
    body = {"subnet": {"network_id": network["id"]} | values}
    assert api.refused("POST", "/subnets", body) == expected


def test_subnets_of_a_network_do_not_overlap(api: Api) -> None:
    first = api.inside("10.1.0.0/24")
    body = {"subnet": {"network_id": first["network_id"], "cidr": "10.1.0.0/16"}}
    assert api.refused("POST", "/subnets", body) == INPUT
    api.inside("10.1.0.0/24")
    foreign = {"subnet": {"network_id": first["network_id"], "cidr": "10.2.0.0/24"}}
    assert api.as_("bob").refused("POST", "/subnets", foreign) == (404, "NetworkNotFound")


# --- routers ------------------------------------------------------------------------------------------------------


def test_a_router(api: Api) -> None:
    router = api.create("/routers", "router", name="r", admin_state_up=True)
    expected: dict[str, Any] = {
        "external_gateway_info": None,
        "status": "ACTIVE",
        "routes": [],
        "flavor_id": None,
        "name": "r",
    }
    assert {name: router[name] for name in expected} == expected
    assert api.get(f"/routers/{router['id']}")["router"] == router


def test_a_gateway_gets_the_lowest_free_address_of_every_subnet(api: Api) -> None:
    outside = api.outside("198.51.100.0/29", "2001:db8::/64")
    taken = []
    for _ in range(5):
        info = api.router(outside)["external_gateway_info"]
        taken.append([fixed_ip["ip_address"] for fixed_ip in info["external_fixed_ips"]])
        assert (info["network_id"], info["enable_snat"]) == (outside["id"], False)
    assert taken == [[f"198.51.100.{number}", f"2001:db8::{number}"] for number in range(2, 7)]
    body = {"router": {"external_gateway_info": {"network_id": outside["id"]}}}
    assert api.refused("POST", "/routers", body) == (409, "IpAddressGenerationFailure")
    routers = api.get("/routers")["routers"]
    assert len(routers) == 5
    second = routers[1]
    freed = second["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]
    api.delete(f"/routers/{second['id']}")
    again = api.create("/routers", "router", **body["router"])
    assert again["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] == freed


def test_a_gateway_is_set_moved_and_cleared(api: Api) -> None:
    outside = api.outside()
    router = api.create("/routers", "router", name="r")
    path = f"/routers/{router['id']}"
    updated = api.update(path, "router", external_gateway_info={"network_id": outside["id"]})
    assert updated["revision_number"] > router["revision_number"]
    same = api.update(path, "router", external_gateway_info=updated["external_gateway_info"])
    assert same == updated
    ports = api.get(f"/ports?device_id={router['id']}")["ports"]
    assert [(port["device_owner"], port["fixed_ips"]) for port in ports] == [
        ("network:router_gateway", updated["external_gateway_info"]["external_fixed_ips"])
    ]
    info = {"network_id": outside["id"], "external_fixed_ips": [{"ip_address": "198.51.100.9"}]}
    moved = api.as_("admin").update(path, "router", external_gateway_info=info)
    assert moved["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] == "198.51.100.9"
    nothing: tuple[Any, ...] = ({}, None)
    for empty in nothing:
        assert api.update(path, "router", external_gateway_info=empty)["external_gateway_info"] is None
    assert api.get("/ports") == {"ports": []}


def test_gateways_are_refused(api: Api) -> None:
    outside = api.outside()
    lan = api.create("/networks", "network", name="lan")
    admin = api.as_("admin")
    empty = admin.create("/networks", "network", name="empty", **{"router:external": True})
    subnet_id = api.get(f"/networks/{outside['id']}")["network"]["subnets"][0]
    api.router(outside)
    rows: list[tuple[Any, tuple[int, str]]] = [
        ("x", BAD),
        ({"network_id": "x"}, BAD),
        ({"external_fixed_ips": []}, BAD),
        ({"network_id": outside["id"], "colour": 1}, BAD),
        ({"network_id": outside["id"], "enable_snat": True}, BAD),
        ({"network_id": outside["id"], "external_fixed_ips": "x"}, BAD),
        ({"network_id": outside["id"], "external_fixed_ips": [{}]}, BAD),
        ({"network_id": outside["id"], "external_fixed_ips": [{"ip_address": 1}]}, BAD),
        ({"network_id": UNKNOWN}, (404, "NetworkNotFound")),
        ({"network_id": lan["id"]}, (400, "BadRequest")),
        ({"network_id": empty["id"]}, (409, "IpAddressGenerationFailure")),
        ({"network_id": outside["id"], "external_fixed_ips": [{"subnet_id": UNKNOWN}]}, INPUT),
        ({"network_id": outside["id"], "external_fixed_ips": [{"ip_address": "10.0.0.1"}]}, INPUT),
        ({"network_id": outside["id"], "external_fixed_ips": [{"ip_address": "rubbish"}]}, BAD),
        ({"network_id": outside["id"], "external_fixed_ips": [{"ip_address": "198.51.100.1"}]}, INPUT),
        (
            {
                "network_id": outside["id"],
                "external_fixed_ips": [{"subnet_id": subnet_id, "ip_address": "198.51.100.255"}],
            },
            INPUT,
        ),
        (
            {"network_id": outside["id"], "external_fixed_ips": [{"ip_address": "198.51.100.2"}]},
            (409, "IpAddressGenerationFailure"),
        ),
        (
            {
                "network_id": outside["id"],
                "external_fixed_ips": [{"ip_address": "198.51.100.8"}, {"ip_address": "198.51.100.8"}],
            },
            (409, "IpAddressGenerationFailure"),
        ),
    ]
    for info, expected in rows:
        assert admin.refused("POST", "/routers", {"router": {"external_gateway_info": info}}) == expected, info
    assert len(api.get("/routers")["routers"]) == 1


def test_empty_text_is_no_id(api: Api) -> None:
    """Forms send it for a field that was left empty."""
    admin, outside, subnet = api.as_("admin"), api.outside(), api.inside()
    fixed_ip = {"subnet_id": "", "ip_address": "198.51.100.9"}
    info = {"network_id": outside["id"], "external_fixed_ips": [fixed_ip], "qos_policy_id": ""}
    router = admin.create("/routers", "router", external_gateway_info=info, project_id=subnet["project_id"])
    taken = router["external_gateway_info"]["external_fixed_ips"]
    assert [row["ip_address"] for row in taken] == ["198.51.100.9"]
    added = api.send("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"], "port_id": ""})
    assert (added.status_code, added.json()["subnet_id"]) == (200, subnet["id"])
    values = {"router_id": router["id"], "subnet_id": "", "flavor_id": "", "tenant_id": ""}
    service = api.create("/vpn/vpnservices", "vpnservice", **values)
    assert (service["subnet_id"], service["flavor_id"], service["project_id"]) == (None, None, subnet["project_id"])
    # Where an id is required, it is none.
    assert api.refused("POST", "/vpn/vpnservices", {"vpnservice": values | {"router_id": ""}}) == BAD
    assert admin.refused("POST", "/routers", {"router": {"external_gateway_info": {"network_id": ""}}}) == BAD


def test_interfaces(api: Api) -> None:
    subnet = api.inside()
    router = api.create("/routers", "router", name="r")
    interface = api.plug(router, subnet)
    assert interface == {
        "id": router["id"],
        "project_id": BLUE,
        "port_id": interface["port_id"],
        "network_id": subnet["network_id"],
        "subnet_id": subnet["id"],
        "subnet_ids": [subnet["id"]],
    }
    port = api.get(f"/ports/{interface['port_id']}")["port"]
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.1.0.1"}]
    assert (port["device_owner"], port["device_id"], port["status"]) == (
        "network:router_interface",
        router["id"],
        "ACTIVE",
    )
    assert api.get("/ports?device_owner=network:router_interface")["ports"] == [port]
    assert api.get("/ports?device_owner=network:router_gateway")["ports"] == []
    assert api.as_("bob").get("/ports") == {"ports": []}
    path = f"/routers/{router['id']}/remove_router_interface"
    response = api.send("PUT", path, {"port_id": interface["port_id"]})
    assert (response.status_code, response.json()) == (200, interface)
    assert api.get("/ports") == {"ports": []}
    api.plug(router, subnet)
    assert api.send("PUT", path, {"subnet_id": subnet["id"]}).status_code == 200


def test_interfaces_are_refused(api: Api) -> None:
    outside = api.outside()
    subnet, overlapping = api.inside(), api.inside("10.1.0.0/25")
    lonely = api.inside("10.2.0.0/24", gateway_ip=None)
    clash = api.inside("198.51.100.0/25")
    router, other = api.router(outside, subnet), api.create("/routers", "router", name="other")
    port = api.get(f"/ports?device_id={router['id']}")["ports"][0]
    add, remove = (f"/routers/{router['id']}/{verb}_router_interface" for verb in ("add", "remove"))
    rows: list[tuple[str, str, Any, tuple[int, str]]] = [
        ("alice", add, {}, BAD),
        ("alice", add, {"colour": 1}, BAD),
        ("alice", add, {"subnet_id": None}, (400, "BadRequest")),
        ("alice", add, {"subnet_id": "x"}, BAD),
        ("alice", add, {"subnet_id": subnet["id"], "port_id": port["id"]}, (400, "BadRequest")),
        ("alice", add, {"subnet_id": UNKNOWN}, (404, "SubnetNotFound")),
        ("alice", add, {"port_id": UNKNOWN}, (404, "PortNotFound")),
        ("alice", add, {"port_id": port["id"]}, (400, "BadRequest")),
        ("alice", add, {"subnet_id": subnet["id"]}, (400, "BadRequest")),
        ("alice", add, {"subnet_id": overlapping["id"]}, (400, "BadRequest")),
        ("alice", add, {"subnet_id": clash["id"]}, (400, "BadRequest")),
        ("alice", add, {"subnet_id": lonely["id"]}, (400, "BadRequest")),
        (
            "alice",
            f"/routers/{other['id']}/add_router_interface",
            {"subnet_id": subnet["id"]},
            (409, "IpAddressGenerationFailure"),
        ),
        ("alice", f"/routers/{UNKNOWN}/add_router_interface", {"subnet_id": subnet["id"]}, (404, "RouterNotFound")),
        ("alice", remove, {"subnet_id": overlapping["id"]}, (404, "RouterInterfaceNotFoundForSubnet")),
        ("alice", remove, {"port_id": UNKNOWN}, (404, "PortNotFound")),
        ("bob", add, {"subnet_id": subnet["id"]}, (404, "RouterNotFound")),
        ("reader", remove, {"subnet_id": subnet["id"]}, (403, "PolicyNotAuthorized")),
    ]
    for user, path, body, expected in rows:
        assert api.as_(user).refused("PUT", path, body) == expected, (path, body)
    foreign = api.as_("bob").create("/routers", "router", name="bobs")
    path = f"/routers/{foreign['id']}/add_router_interface"
    assert api.as_("bob").refused("PUT", path, {"subnet_id": subnet["id"]}) == (404, "SubnetNotFound")


def test_a_router_with_interfaces_cannot_be_deleted(api: Api) -> None:
    subnet = api.inside()
    router = api.router(api.outside(), subnet)
    assert api.refused("DELETE", f"/routers/{router['id']}") == (409, "RouterInUse")
    assert api.refused("DELETE", f"/subnets/{subnet['id']}") == (409, "SubnetInUse")
    assert api.refused("DELETE", f"/networks/{subnet['network_id']}") == (409, "NetworkInUse")
    api.send("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    api.delete(f"/routers/{router['id']}")
    api.delete(f"/subnets/{subnet['id']}")


# --- under a VPN --------------------------------------------------------------------------------------------------


def test_objects_that_a_service_references_cannot_be_removed(site: LocalSite) -> None:
    api, router = site.api, f"/routers/{site.router['id']}"
    body = {"subnet_id": site.subnet["id"]}
    assert api.refused("PUT", f"{router}/remove_router_interface", body) == (409, "SubnetInUseByVPNService")
    assert api.refused("DELETE", f"/subnets/{site.subnet['id']}") == (409, "SubnetInUse")
    assert api.refused("PUT", router, {"router": {"external_gateway_info": {}}}) == (409, "RouterInUse")
    assert api.refused("DELETE", router) == (409, "RouterInUse")
    admin = api.as_("admin")
    assert admin.refused("DELETE", f"/networks/{site.outside['id']}") == (409, "NetworkInUse")
    assert api.get(router)["router"]["external_gateway_info"] is not None


def test_a_router_with_a_service_but_no_interface_cannot_be_deleted(api: Api) -> None:
    router = api.router(api.outside())
    api.service(router)
    assert api.refused("DELETE", f"/routers/{router['id']}") == (409, "RouterInUse")


def test_objects_that_endpoint_groups_reference_cannot_be_removed(api: Api) -> None:
    site = LocalSite(api, with_subnet=False)
    local = api.group("subnet", site.subnet["id"])
    peer = api.group("cidr", "10.20.0.0/24")
    body, path = {"subnet_id": site.subnet["id"]}, f"/routers/{site.router['id']}/remove_router_interface"
    connection = site.connection(peer_cidrs=..., local_ep_group_id=local["id"], peer_ep_group_id=peer["id"])
    assert api.refused("PUT", path, body) == (409, "SubnetInUseByIPsecSiteConnection")
    response = api.send("DELETE", f"/subnets/{site.subnet['id']}")
    assert response.json()["NeutronError"]["type"] == "SubnetInUse"
    assert f"is used by endpoint group {local['id']}" in response.json()["NeutronError"]["message"]
    api.delete(f"{CONNECTIONS}/{connection['id']}")
    assert api.send("PUT", path, body).status_code == 200
    assert api.refused("DELETE", f"/subnets/{site.subnet['id']}") == (409, "SubnetInUse")


def test_a_gateway_moves_only_to_a_network_that_fits_its_connections(api: Api) -> None:
    site = LocalSite(api, "198.51.100.0/24", "2001:db8::/64")
    site.connection(peer_address="2001:db8:9::9")
    elsewhere = api.outside("192.0.2.0/24")
    path = f"/routers/{site.router['id']}"
    body = {"router": {"external_gateway_info": {"network_id": elsewhere["id"]}}}
    assert api.refused("PUT", path, body) == (400, "ExternalNetworkHasNoSubnet")
    assert api.get(path)["router"]["external_gateway_info"]["network_id"] == site.outside["id"]


def test_a_new_address_can_cause_a_conflict(site: LocalSite) -> None:
    """One connection has the gateway's address as its local id, the other an address that the gateway gets later."""
    site.connection(psk="one")
    site.connection(psk="two", local_id="198.51.100.50", peer_cidrs=["10.8.0.0/24"])
    info = {"network_id": site.outside["id"], "external_fixed_ips": [{"ip_address": "198.51.100.50"}]}
    body = {"router": {"external_gateway_info": info}}
    expected = (409, "IPsecSiteConnectionConflict")
    assert site.api.as_("admin").refused("PUT", f"/routers/{site.router['id']}", body) == expected


# --- what a project can take of the external network --------------------------------------------------------------


def test_only_admins_choose_external_addresses(api: Api) -> None:
    outside = api.outside()
    admin, denied = api.as_("admin"), (403, "PolicyNotAuthorized")
    subnet_id = api.get(f"/networks/{outside['id']}")["network"]["subnets"][0]
    router = api.router(outside)
    path = f"/routers/{router['id']}"
    choices: list[list[dict[str, str]]] = [
        [{"ip_address": "198.51.100.77"}],
        [{"subnet_id": subnet_id}],
        [{"subnet_id": subnet_id, "ip_address": "198.51.100.77"}],
        [{"ip_address": f"198.51.100.{number}"} for number in range(20, 36)],
        [*router["external_gateway_info"]["external_fixed_ips"], {"ip_address": "198.51.100.77"}],
    ]
    for choice in choices:
        info = {"network_id": outside["id"], "external_fixed_ips": choice}
        body = {"router": {"external_gateway_info": info}}
        assert api.refused("POST", "/routers", body) == denied
        if choice[0].keys() != {"subnet_id"}:
            assert api.refused("PUT", path, body) == denied
        assert api.as_("reader").refused("POST", "/routers", body) == denied
        # The control; the last choice has an address that is in use.
        answer = admin.send("POST", "/routers", body)
        assert answer.status_code == (409 if choice is choices[-1] else 201)
        if answer.status_code == 201:
            admin.delete(f"/routers/{answer.json()['router']['id']}")
    # What a project has it may send back, and no choice is none.
    for same in (router["external_gateway_info"], {"network_id": outside["id"], "external_fixed_ips": []}):
        assert api.update(path, "router", external_gateway_info=same)["external_gateway_info"]["network_id"]
    assert api.get(path)["router"]["external_gateway_info"] == router["external_gateway_info"]


def test_a_policy_file_can_let_members_choose(open_api: OpenApi) -> None:
    rules = {"create_router:external_gateway_info:external_fixed_ips": "rule:admin_or_project_member"}
    with open_api(policy=policy_of(rules)) as api:
        outside = api.outside()
        info = {"network_id": outside["id"], "external_fixed_ips": [{"ip_address": "198.51.100.77"}]}
        router = api.create("/routers", "router", external_gateway_info=info)
        assert router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] == "198.51.100.77"


def test_allocation_pools_reserve_the_rest(api: Api) -> None:
    admin = api.as_("admin")
    network = admin.create("/networks", "network", name="internet", **{"router:external": True})
    pools = [{"start": "198.51.100.20", "end": "198.51.100.21"}, {"start": "198.51.100.10", "end": "198.51.100.10"}]
    values = {"network_id": network["id"], "cidr": "198.51.100.0/24"}
    subnet = admin.create("/subnets", "subnet", **values, allocation_pools=pools)
    assert subnet["allocation_pools"] == pools
    taken = [api.router(network) for _ in range(3)]
    addresses = [router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] for router in taken]
    assert addresses == ["198.51.100.20", "198.51.100.21", "198.51.100.10"]
    body = {"router": {"external_gateway_info": {"network_id": network["id"]}}}
    assert api.refused("POST", "/routers", body) == (409, "IpAddressGenerationFailure")
    # Narrower pools take nothing away from those who have an address.
    narrow = [{"start": "198.51.100.30", "end": "198.51.100.30"}]
    path = f"/subnets/{subnet['id']}"
    assert admin.update(path, "subnet", allocation_pools=narrow)["allocation_pools"] == narrow
    assert api.get(f"/routers/{taken[0]['id']}")["router"] == taken[0]
    assert api.router(network)["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] == "198.51.100.30"
    assert api.refused("PUT", path, {"subnet": {"allocation_pools": pools}})[0] in (403, 404)
    # An admin reaches the reserved ones.
    info = {"network_id": network["id"], "external_fixed_ips": [{"ip_address": "198.51.100.99"}]}
    admin.create("/routers", "router", external_gateway_info=info)


POOLS: list[tuple[Any, tuple[int, str]]] = [
    ("x", BAD),
    (None, BAD),
    ([{}], BAD),
    ([{"start": "10.1.0.5"}], BAD),
    ([{"start": "10.1.0.5", "end": "10.1.0.6", "color": 1}], BAD),
    ([{"start": "10.1.0.5", "end": "10.1.0.06"}], BAD),
    ([{"start": "10.1.0.5%a", "end": "10.1.0.6"}], BAD),
    ([{"start": "10.1.0.5", "end": 7}], BAD),
    ([{"start": "10.1.0.5", "end": "10.1.0.5"}] * 65, BAD),
    ([{"start": "10.1.0.6", "end": "10.1.0.5"}], (400, "InvalidAllocationPool")),
    ([{"start": "10.1.0.5", "end": "fd00::7"}], (400, "InvalidAllocationPool")),
    ([{"start": "10.1.0.5", "end": "10.1.1.5"}], (400, "OutOfBoundsAllocationPool")),
    ([{"start": "10.1.0.0", "end": "10.1.0.5"}], (400, "OutOfBoundsAllocationPool")),
    ([{"start": "10.1.0.5", "end": "10.1.0.255"}], (400, "OutOfBoundsAllocationPool")),
    ([{"start": "10.1.0.1", "end": "10.1.0.5"}], (409, "GatewayConflictWithAllocationPools")),
    (
        [{"start": "10.1.0.9", "end": "10.1.0.12"}, {"start": "10.1.0.5", "end": "10.1.0.9"}],
        (409, "OverlappingAllocationPools"),
    ),
]


def test_allocation_pools_are_refused(api: Api) -> None:
    subnet = api.inside("10.1.0.0/24", allocation_pools=[])
    assert subnet["allocation_pools"] == []
    network = api.create("/networks", "network", name="lan")
    for pools, expected in POOLS:
        body: dict[str, Any] = {"allocation_pools": pools}
        assert api.refused("PUT", f"/subnets/{subnet['id']}", {"subnet": body}) == expected, pools
        body |= {"network_id": network["id"], "cidr": "10.1.0.0/24"}
        assert api.refused("POST", "/subnets", {"subnet": body}) == expected, pools


def test_by_default_a_project_has_ten_routers_and_ten_services(api: Api) -> None:
    outside = api.outside()
    routers = [api.router(outside) for _ in range(10)]
    body = {"router": {"external_gateway_info": {"network_id": outside["id"]}}}
    assert api.refused("POST", "/routers", body) == (409, "OverQuota")
    for _ in range(10):
        api.service(routers[0])
    service: dict[str, Any] = {"vpnservice": {"router_id": routers[0]["id"], "subnet_id": None}}
    assert api.refused("POST", "/vpn/vpnservices", service) == (409, "OverQuota")
    # Others have their own, and an admin gives more.
    api.as_("bob").router(outside)
    api.as_("admin").update(f"/quotas/{BLUE}", "quota", router=-1, vpnservice=11)
    api.router(outside)
    api.service(routers[0])
