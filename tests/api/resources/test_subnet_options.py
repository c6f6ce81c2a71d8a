"""What a subnet tells its hosts, name servers and host routes, and changes of its gateway_ip."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.world import Api, LocalSite

BAD = (400, "HTTPBadRequest")
INPUT = (400, "InvalidInput")
CONFLICT = (409, "GatewayConflictWithAllocationPools")
SERVERS = ["10.1.0.53", "203.0.113.53"]
ROUTES = [
    {"destination": "10.20.0.0/16", "nexthop": "10.1.0.7"},
    {"destination": "0.0.0.0/0", "nexthop": "10.1.0.7"},
]


def test_name_servers_and_host_routes_are_stored_in_their_order(api: Api) -> None:
    plain = api.inside()
    assert (plain["dns_nameservers"], plain["host_routes"]) == ([], [])
    subnet = api.inside(dns_nameservers=SERVERS, host_routes=ROUTES)
    assert (subnet["dns_nameservers"], subnet["host_routes"]) == (SERVERS, ROUTES)
    path = f"/subnets/{subnet['id']}"
    assert api.get(path)["subnet"] == subnet
    turned = api.update(path, "subnet", dns_nameservers=SERVERS[::-1], host_routes=ROUTES[1:])
    assert (turned["dns_nameservers"], turned["host_routes"]) == (SERVERS[::-1], ROUTES[1:])
    assert turned["revision_number"] == subnet["revision_number"] + 1
    nothing: tuple[Any, ...] = ([], None)
    for empty in nothing:
        cleared = api.update(path, "subnet", dns_nameservers=empty, host_routes=empty)
        assert (cleared["dns_nameservers"], cleared["host_routes"]) == ([], [])
    six = api.inside(
        "fd00:1::/64",
        dns_nameservers=["fd00:1::53"],
        host_routes=[{"destination": "fd00:2::/48", "nexthop": "fd00:1::7"}],
    )
    assert six["dns_nameservers"] == ["fd00:1::53"]


REFUSED: list[tuple[str, Any, tuple[int, str]]] = [
    ("dns_nameservers", "10.1.0.53", BAD),
    ("dns_nameservers", [7], BAD),
    ("dns_nameservers", ["resolver.example.org"], BAD),
    ("dns_nameservers", ["10.1.0.053"], BAD),
    ("dns_nameservers", ["10.1.0.53/32"], BAD),
    ("dns_nameservers", ["10.1.0.53", "10.1.0.53"], BAD),
    ("dns_nameservers", ["fd00::53"], INPUT),
    ("dns_nameservers", [f"10.1.0.{number}" for number in range(1, 7)], (400, "DNSNameServersExhausted")),
    ("host_routes", ROUTES[0], BAD),
    ("host_routes", ["10.20.0.0/16"], BAD),
    ("host_routes", [{"destination": "10.20.0.0/16"}], BAD),
    ("host_routes", [ROUTES[0] | {"metric": 1}], BAD),
    ("host_routes", [{"destination": "10.20.0.1/16", "nexthop": "10.1.0.7"}], BAD),
    ("host_routes", [{"destination": "10.20.0.0", "nexthop": "10.1.0.7"}], BAD),
    ("host_routes", [{"destination": "127.0.0.0/8", "nexthop": "10.1.0.7"}], BAD),
    ("host_routes", [{"destination": "10.20.0.0/16", "nexthop": None}], BAD),
    ("host_routes", [ROUTES[0], ROUTES[0]], BAD),
    ("host_routes", [{"destination": "fd00:2::/48", "nexthop": "10.1.0.7"}], INPUT),
    ("host_routes", [{"destination": "10.20.0.0/16", "nexthop": "fd00::7"}], INPUT),
    (
        "host_routes",
        [{"destination": f"10.20.{number}.0/24", "nexthop": "10.1.0.7"} for number in range(21)],
        (400, "HostRoutesExhausted"),
    ),
]


def test_name_servers_and_host_routes_are_refused(api: Api) -> None:
    subnet = api.inside()
    network = api.create("/networks", "network", name="lan")
    for name, value, expected in REFUSED:
        body = {name: value}
        assert api.refused("PUT", f"/subnets/{subnet['id']}", {"subnet": body}) == expected, (name, value)
        body |= {"network_id": network["id"], "cidr": "10.1.0.0/24"}
        assert api.refused("POST", "/subnets", {"subnet": body}) == expected, (name, value)
    assert api.get(f"/subnets/{subnet['id']}")["subnet"] == subnet


def test_the_gateway_moves_while_no_port_has_its_address(api: Api) -> None:
    subnet = api.inside()
    path = f"/subnets/{subnet['id']}"
    half = [{"start": "10.1.0.2", "end": "10.1.0.99"}]
    refused: list[tuple[Any, tuple[int, str]]] = [
        ("10.1.0.9", CONFLICT),
        ("10.2.0.1", INPUT),
        ("10.1.0.255", INPUT),
        ("x", BAD),
        ("", BAD),
        (7, BAD),
    ]
    for gateway, expected in refused:
        assert api.refused("PUT", path, {"subnet": {"gateway_ip": gateway}}) == expected, gateway
    moved = api.update(path, "subnet", gateway_ip="10.1.0.254", allocation_pools=half)
    assert (moved["gateway_ip"], moved["allocation_pools"]) == ("10.1.0.254", half)
    assert api.refused("PUT", path, {"subnet": {"allocation_pools": subnet["allocation_pools"]}}) == CONFLICT
    none = api.update(path, "subnet", gateway_ip=None)
    assert none["gateway_ip"] is None
    whole = api.update(path, "subnet", allocation_pools=[{"start": "10.1.0.1", "end": "10.1.0.254"}])
    assert api.refused("PUT", path, {"subnet": {"gateway_ip": "10.1.0.1"}}) == CONFLICT
    assert api.get(path)["subnet"] == whole
    # A router's interface gets the address that is there when it is added.
    api.update(path, "subnet", gateway_ip="10.1.0.100", allocation_pools=half)
    router = api.router(api.outside(), subnet)
    (port,) = api.get(f"/ports?network_id={subnet['network_id']}")["ports"]
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.1.0.100"}]
    for gateway in ("10.1.0.101", None):
        assert api.refused("PUT", path, {"subnet": {"gateway_ip": gateway}}) == (409, "GatewayIpInUse")
    # A client that sends every attribute back changes nothing.
    same = api.update(path, "subnet", gateway_ip="10.1.0.100", allocation_pools=half, name="lan")
    assert (same["name"], same["gateway_ip"]) == ("lan", "10.1.0.100")
    body = {"subnet_id": subnet["id"]}
    assert api.send("PUT", f"/routers/{router['id']}/remove_router_interface", body).status_code == 200
    assert api.update(path, "subnet", gateway_ip="10.1.0.101")["gateway_ip"] == "10.1.0.101"


@pytest.mark.shows("subnet.gateway_ip")
def test_gateways_follow_the_next_hop_of_their_external_network(site: LocalSite) -> None:
    api, admin = site.api, site.api.as_("admin")
    node = api.node()
    node.apply_desired()
    (subnet,) = admin.get(f"/subnets?network_id={site.outside['id']}")["subnets"]
    path, address = f"/subnets/{subnet['id']}", "198.51.100.2"
    assert api.get(f"/routers/{site.router['id']}")["router"]["external_gateway_info"]["external_fixed_ips"] == [
        {"subnet_id": subnet["id"], "ip_address": address}
    ]
    pools = [{"start": "198.51.100.10", "end": "198.51.100.20"}]
    body = {"gateway_ip": address, "allocation_pools": pools}
    assert admin.refused("PUT", path, {"subnet": body}) == (409, "IpAddressGenerationFailure")
    revision = node.desired()["revision"]
    admin.update(path, "subnet", gateway_ip="198.51.100.254", allocation_pools=pools)
    desired = node.desired(since=revision)
    assert [gateway["outside"]["next_hops"] for gateway in desired["gateways"]] == [["198.51.100.254"]]
    admin.update(path, "subnet", dns_nameservers=["198.51.100.53"])
    assert node.desired(since=desired["revision"])["gateways"] == []
