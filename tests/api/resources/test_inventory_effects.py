"""The effect of each attribute of the inventory: what clients see, and what reaches the node that runs the gateway."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.state.observed import ConnectionReport, GatewayReport
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite, Node

SERVICES = "/vpn/vpnservices"
LABELS = ("name", "description")


@pytest.fixture
def node(api: Api) -> Node:
    """A registered node."""
    return api.node()


@pytest.mark.shows(
    "network.description",
    "subnet.name",
    "subnet.description",
    "router.name",
    "router.description",
    "port.name",
    "port.description",
    "network.tags",
    "subnet.tags",
    "router.tags",
    "port.tags",
)
def test_labels_are_filters_and_reach_no_node(node: Node, site: LocalSite) -> None:
    site.connection()
    before = node.desired()["revision"]
    for key, id in (
        ("network", site.subnet["network_id"]),
        ("subnet", site.subnet["id"]),
        ("router", site.router["id"]),
    ):
        labels = {"description": "other"} if key == "network" else {"name": "new", "description": "other"}
        site.api.update(f"/{key}s/{id}", key, **labels)
        query = "&".join(f"{name}={value}" for name, value in labels.items())
        assert [each["id"] for each in site.api.get(f"/{key}s?{query}")[f"{key}s"]] == [id]
    for key in ("network", "subnet", "router", "port"):
        (item, *_) = site.api.get(f"/{key}s?project_id={BLUE}")[f"{key}s"]
        assert site.api.send("PUT", f"/{key}s/{item['id']}/tags/north").status_code == 201
        assert [each["id"] for each in site.api.get(f"/{key}s?tags=north")[f"{key}s"]] == [item["id"]]
    assert {tuple(port[name] for name in LABELS) for port in site.api.get("/ports")["ports"]} == {("", "")}
    assert node.desired()["revision"] == before


@pytest.mark.shows("network.name")
def test_a_networks_name_selects_the_bridge_of_the_node(node: Node, site: LocalSite) -> None:
    site.api.as_("admin").update(f"/networks/{site.outside['id']}", "network", name="public")
    assert node.desired()["gateways"][0]["outside"]["network_name"] == "public"


@pytest.mark.shows("network.id", "subnet.id", "router.id", "port.id")
def test_an_id_selects_one_of_two_namesakes(node: Node, site: LocalSite) -> None:
    api = site.api
    twins = [api.inside("10.7.0.0/24"), api.inside("10.7.0.0/24")]
    router = api.create("/routers", "router", name=site.router["name"])
    port = api.plug(router, twins[1])
    assert (port["network_id"], port["subnet_id"]) == (twins[1]["network_id"], twins[1]["id"])
    assert [each["id"] for each in api.get(f"/ports?device_id={router['id']}")["ports"]] == [port["port_id"]]
    action = f"/routers/{router['id']}/remove_router_interface"
    assert api.send("PUT", action, {"port_id": port["port_id"]}).status_code == 200
    assert api.get(f"/ports?device_id={router['id']}")["ports"] == []
    assert [gateway["id"] for gateway in node.desired()["gateways"]] == [site.router["id"]]


@pytest.mark.shows("network.project_id", "subnet.project_id", "router.project_id", "port.project_id")
def test_another_projects_objects_are_not_found(site: LocalSite) -> None:
    (port, *_) = site.api.get(f"/ports?device_id={site.router['id']}")["ports"]
    stranger = site.api.as_("bob")
    for key, id, type in (
        ("network", site.subnet["network_id"], "NetworkNotFound"),
        ("subnet", site.subnet["id"], "SubnetNotFound"),
        ("router", site.router["id"], "RouterNotFound"),
        ("port", port["id"], "PortNotFound"),
    ):
        assert stranger.refused("GET", f"/{key}s/{id}") == (404, type)
        assert stranger.get(f"/{key}s?id={id}")[f"{key}s"] == []


@pytest.mark.shows(
    "router.external_gateway_info",
    "subnet.cidr",
    "subnet.gateway_ip",
    "subnet.ip_version",
    "subnet.network_id",
    "subnet.allocation_pools",
    "network.subnets",
    "port.network_id",
    "port.device_id",
    "port.device_owner",
    "port.fixed_ips",
    "port.mac_address",
)
def test_addresses_reach_the_node(node: Node, api: Api) -> None:
    """The interfaces of the gateway are its ports: their networks, addresses, prefix lengths and MAC addresses."""
    outside = api.outside("198.51.100.0/29", "2001:db8::/64")
    inside = api.inside("10.1.0.0/22", gateway_ip="10.1.2.3")
    six = api.create("/subnets", "subnet", network_id=inside["network_id"], cidr="fd00:1::/56")
    assert (inside["ip_version"], six["ip_version"]) == (4, 6)
    router = api.router(outside, inside, six)
    api.service(router)
    (gateway,) = node.desired()["gateways"]
    info = router["external_gateway_info"]
    own = [fixed["ip_address"] for fixed in info["external_fixed_ips"]]
    path = f"/subnets/{info['external_fixed_ips'][0]['subnet_id']}"
    (pool,) = api.as_("admin").get(path)["subnet"]["allocation_pools"]
    assert own == [pool["start"], "2001:db8::2"]
    assert gateway["outside"]["network_id"] == outside["id"] == info["network_id"]
    assert gateway["outside"]["addresses"] == [f"{own[0]}/29", f"{own[1]}/64"]
    (network,) = gateway["inside"]
    assert (network["network_id"], network["addresses"]) == (inside["network_id"], ["10.1.2.3/22", "fd00:1::1/56"])
    assert set(api.get(f"/networks/{inside['network_id']}")["network"]["subnets"]) == {inside["id"], six["id"]}
    ports = api.get(f"/ports?device_id={router['id']}")["ports"]
    assert {(port["device_owner"], port["network_id"]) for port in ports} == {
        ("network:router_gateway", outside["id"]),
        ("network:router_interface", inside["network_id"]),
    }
    shown = {fixed["ip_address"] for port in ports for fixed in port["fixed_ips"]}
    assert shown == {*own, "10.1.2.3", "fd00:1::1"}
    macs = {(port["network_id"], port["mac_address"]) for port in ports}
    assert macs == {(part["network_id"], part["mac_address"]) for part in (gateway["outside"], network)}
    (other,) = api.get(f"/ports?device_id={api.router(outside)['id']}")["ports"]
    assert len({other["mac_address"], *(mac for _, mac in macs)}) == 3
    for first, *_ in (bytes.fromhex(mac.replace(":", "")) for _, mac in macs):
        assert first & 3 == 2, "locally administered, of one station"


@pytest.mark.shows("router.admin_state_up", "network.admin_state_up", "network.status", "router.status")
@pytest.mark.parametrize(
    ("key", "states", "reason"),
    [
        ("router", (False, True, True), "of the router"),
        ("external", (True, False, True), "of the external network"),
        ("network", (True, True, False), "of the network of 10.1.0.0/24"),
    ],
)
def test_admin_states_reach_the_node_and_its_reasons_the_user(
    node: Node, site: LocalSite, key: str, states: tuple[bool, bool, bool], reason: str
) -> None:
    api, connection = site.api.as_("admin"), site.connection()
    path, id = {
        "router": ("routers", site.router["id"]),
        "external": ("networks", site.outside["id"]),
        "network": ("networks", site.subnet["network_id"]),
    }[key]
    node.apply_desired()
    singular = path.removesuffix("s")

    def change(up: bool) -> Any:
        seen = node.desired()["revision"]
        shown = api.update(f"/{path}/{id}", singular, admin_state_up=up)
        assert (shown["admin_state_up"], shown["status"]) == (up, "ACTIVE"), "as in Neutron, status does not follow"
        return node.desired(seen)

    def shown(path: str) -> tuple[str, str]:
        (values,) = api.get(path).values()
        return values["status"], values["status_reason"] or ""

    own, service = f"{CONNECTIONS}/{connection['id']}", f"{SERVICES}/{site.service['id']}"
    assert change(True)["gateways"] == [], "true is always taken, and changes nothing"
    delta = change(False)
    (gateway,), (stamped,) = delta["gateways"], delta["connections"]
    assert (gateway["enabled"], gateway["outside"]["enabled"], gateway["inside"][0]["enabled"]) == states
    assert (stamped["id"], stamped["enabled"]) == (connection["id"], True), "the node applies it"
    assert shown(own)[0] == "PENDING_UPDATE"
    words, revision = f"admin_state_up {reason} is false", delta["revision"]
    node.report(
        GatewayReport(gateway["id"], gateway["generation"], revision, "disabled", words),
        ConnectionReport(connection["id"], gateway["generation"], revision, "disabled", words),
    )
    assert shown(own) == shown(service) == ("DOWN", words)
    (gateway,) = change(True)["gateways"]
    assert (gateway["enabled"], gateway["outside"]["enabled"], gateway["inside"][0]["enabled"]) == (True, True, True)
    node.apply_desired()
    assert shown(own) == shown(service) == ("ACTIVE", "")


def test_objects_can_be_made_with_an_admin_state_of_false(node: Node, api: Api) -> None:
    admin = api.as_("admin")
    outside = api.outside()
    network = api.create("/networks", "network", name="lan", admin_state_up=False)
    subnet = api.create("/subnets", "subnet", network_id=network["id"], cidr="10.1.0.0/24")
    router = api.router(outside, subnet, admin_state_up="False")
    api.service(router)
    (gateway,) = node.desired()["gateways"]
    assert (gateway["enabled"], gateway["outside"]["enabled"], gateway["inside"][0]["enabled"]) == (False, True, False)
    assert admin.refused("PUT", f"/routers/{router['id']}", {"router": {"admin_state_up": None}})[0] == 400
