"""API and node together: writes change the desired state, reports change the status, and DELETE waits for a report."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from linkspan.core.state.observed import ConnectionReport, GatewayReport
from tests.api.conftest import OpenApi
from tests.api.world import CONNECTIONS, Api, LocalSite, Node
from tests.harness.databases import Clock

SERVICES = "/vpn/vpnservices"


@pytest.fixture
def node(api: Api) -> Node:
    """A registered node."""
    return api.node()


def status_of(api: Api, path: str) -> str:
    """Returns the status of an object."""
    response = api.get(path)
    status: str = next(iter(response.values()))["status"]
    return status


def test_status_follows_the_nodes_reports(node: Node, site: LocalSite) -> None:
    api = site.api
    service_path, connection = f"{SERVICES}/{site.service['id']}", site.connection()
    connection_path = f"{CONNECTIONS}/{connection['id']}"
    assert (status_of(api, service_path), status_of(api, connection_path)) == ("PENDING_CREATE", "PENDING_CREATE")
    node.apply_desired()
    assert (status_of(api, service_path), status_of(api, connection_path)) == ("ACTIVE", "ACTIVE")
    assert api.get(f"{CONNECTIONS}?status=ACTIVE")["ipsec_site_connections"][0]["id"] == connection["id"]
    assert api.get(f"{CONNECTIONS}?status=DOWN")["ipsec_site_connections"] == []
    changed = api.update(connection_path, "ipsec_site_connection", mtu=1300)
    assert changed["status"] == "PENDING_UPDATE"
    node.apply_desired()
    assert status_of(api, connection_path) == "ACTIVE"
    down = api.update(connection_path, "ipsec_site_connection", admin_state_up=False)
    assert down["status"] in ("PENDING_UPDATE", "DOWN")
    node.apply_desired()
    assert status_of(api, connection_path) == "DOWN"


def test_a_node_tells_the_routers_of_its_gateways(node: Node, site: LocalSite) -> None:
    site.api.node("idle")
    admin = site.api.as_("admin")
    ids = {item["name"]: item["id"] for item in admin.get("/linkspan/nodes")["nodes"]}
    assert admin.get(f"/linkspan/nodes/{ids[node.name]}")["node"]["routers"] == [site.router["id"]]
    assert admin.get(f"/linkspan/nodes/{ids['idle']}")["node"]["routers"] == []


def test_a_second_service_is_active_at_once(node: Node, site: LocalSite) -> None:
    site.connection()
    node.apply_desired()
    assert site.api.service(site.router)["status"] == "ACTIVE"


def test_the_grace_period_is_configurable(open_api: OpenApi) -> None:
    clock = Clock()
    with open_api(grace=7.0, store={"clock": clock, "lease": 1000.0}) as api:
        node, site = api.node(), LocalSite(api)
        connection = site.connection()
        desired = node.desired()
        generation = desired["gateways"][0]["generation"]
        node.report(ConnectionReport(connection["id"], generation, desired["revision"], "down", "no answer"))
        path = f"{CONNECTIONS}/{connection['id']}"
        read = api.get(path)["ipsec_site_connection"]
        assert (read["status"], read["status_reason"]) == ("PENDING_CREATE", "no answer")
        clock.pass_(8.0)
        read = api.get(path)["ipsec_site_connection"]
        assert (read["status"], read["status_reason"]) == ("DOWN", "no answer")


def test_the_effective_mtu_is_shown_once_a_node_has_reported_it(api: Api, node: Node, site: LocalSite) -> None:
    path = f"{CONNECTIONS}/{site.connection(mtu=1500)['id']}"

    def shown() -> tuple[int, int | None]:
        read = api.get(path)["ipsec_site_connection"]
        return read["mtu"], read["effective_mtu"]

    assert shown() == (1500, None)
    desired = node.desired()
    generation, id = desired["gateways"][0]["generation"], path.rpartition("/")[2]
    node.report(ConnectionReport(id, generation, desired["revision"], "up", effective_mtu=1438))
    assert shown() == (1500, 1438)
    listed = api.get(f"{CONNECTIONS}?effective_mtu=1438&fields=id&fields=effective_mtu")
    assert listed["ipsec_site_connections"] == [{"id": id, "effective_mtu": 1438}]
    assert api.get(f"{CONNECTIONS}?effective_mtu=")["ipsec_site_connections"] == []
    # The previous version of the agent does not report it.
    node.report(ConnectionReport(id, generation, desired["revision"], "up"))
    assert shown() == (1500, None)


# --- what reaches the node ----------------------------------------------------------------------------------------


def test_effective_changes_reach_the_node_and_labels_do_not(node: Node, site: LocalSite) -> None:
    api, connection = site.api, site.connection()
    seen = node.desired()["revision"]

    def changed_ids(path: str, key: str, **values: Any) -> set[str]:
        nonlocal seen
        api.update(path, key, **values)
        delta = node.desired(seen)
        seen = delta["revision"]
        return {row["id"] for row in (*delta["connections"], *delta["gateways"])}

    connection_path = f"{CONNECTIONS}/{connection['id']}"
    for path, key in (
        (connection_path, "ipsec_site_connection"),
        (f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy"),
        (f"{SERVICES}/{site.service['id']}", "vpnservice"),
        (f"/routers/{site.router['id']}", "router"),
        (f"/subnets/{site.subnet['id']}", "subnet"),
    ):
        assert changed_ids(path, key, name="new", description="other") == set(), path
    assert changed_ids(connection_path, "ipsec_site_connection", mtu=1500, psk="correct horse") == set()
    assert changed_ids(connection_path, "ipsec_site_connection", psk="other") == {connection["id"]}
    assert changed_ids(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", pfs="group19") == {connection["id"]}
    assert changed_ids(f"/vpn/ipsecpolicies/{site.ipsec['id']}", "ipsecpolicy", pfs="group19") == {connection["id"]}
    assert changed_ids(f"{SERVICES}/{site.service['id']}", "vpnservice", admin_state_up=False) == {connection["id"]}
    assert node.desired()["connections"][0]["enabled"] is False


def test_interface_changes_of_a_gateway_reach_the_node(node: Node, site: LocalSite) -> None:
    api, connection = site.api, site.connection()
    seen = node.desired()["revision"]
    six = api.inside("fd00:7::/64")
    api.plug(site.router, six)
    delta = node.desired(seen)
    assert [gateway["id"] for gateway in delta["gateways"]] == [site.router["id"]]
    assert {"fd00:7::1/64"} in [set(interface["addresses"]) for interface in delta["gateways"][0]["inside"]]
    info = {
        "network_id": site.outside["id"],
        "external_fixed_ips": [{"ip_address": "198.51.100.77"}],
    }
    api.as_("admin").update(f"/routers/{site.router['id']}", "router", external_gateway_info=info)
    delta = node.desired(delta["revision"])
    assert delta["gateways"][0]["outside"]["addresses"] == ["198.51.100.77/24"]
    assert [(row["id"], row["local_address"]) for row in delta["connections"]] == [(connection["id"], "198.51.100.77")]
    assert api.get(f"{SERVICES}/{site.service['id']}")["vpnservice"]["external_v4_ip"] == "198.51.100.77"


# --- DELETE -------------------------------------------------------------------------------------------------------


def test_without_a_node_a_delete_completes_at_once(open_api: OpenApi) -> None:
    with open_api(delete_wait=5.0) as api:
        site = LocalSite(api)
        connection = site.connection()
        started = time.monotonic()
        api.delete(f"{CONNECTIONS}/{connection['id']}")
        api.delete(f"{SERVICES}/{site.service['id']}")
        assert time.monotonic() - started < 2.0
        assert api.refused("GET", f"{CONNECTIONS}/{connection['id']}") == (404, "IPsecSiteConnectionNotFound")
        assert api.refused("GET", f"{SERVICES}/{site.service['id']}") == (404, "VPNServiceNotFound")


def test_delete_waits_for_the_nodes_report(open_api: OpenApi) -> None:
    with open_api(delete_wait=10.0) as api:
        node, site = api.node(), LocalSite(api)
        connection = site.connection()
        node.apply_desired()

        for path, kind in (
            (f"{CONNECTIONS}/{connection['id']}", "connection"),
            (f"{SERVICES}/{site.service['id']}", ""),
        ):
            deleted = threading.Event()

            def confirm(path: str = path, deleted: threading.Event = deleted) -> None:
                while not deleted.is_set():
                    time.sleep(0.05)
                    node.apply_desired()

            thread = threading.Thread(target=confirm)
            thread.start()
            started = time.monotonic()
            api.delete(path)
            took = time.monotonic() - started
            deleted.set()
            thread.join()
            assert took < 5.0, kind
            assert api.send("GET", path).status_code == 404
        assert api.get(CONNECTIONS) == {"ipsec_site_connections": []}


def test_delete_waits_for_a_silent_node_only_briefly(node: Node, site: LocalSite) -> None:
    api, connection = site.api, site.connection()
    node.apply_desired()
    path = f"{CONNECTIONS}/{connection['id']}"
    started = time.monotonic()
    api.delete(path)
    assert 0.25 < time.monotonic() - started < 3.0
    read = api.get(path)["ipsec_site_connection"]
    assert read["status"] == "PENDING_DELETE"
    assert api.get(CONNECTIONS)["ipsec_site_connections"] == [read]
    # It can only be read and deleted: nothing can use or update it.
    assert api.refused("PUT", path, {"ipsec_site_connection": {"mtu": 1300}}) == (404, "IPsecSiteConnectionNotFound")
    again = site.connection()
    api.delete(f"{CONNECTIONS}/{again['id']}")
    api.delete(f"/vpn/ikepolicies/{site.ike['id']}")
    api.delete(path)
    node.apply_desired()
    assert api.refused("GET", path) == (404, "IPsecSiteConnectionNotFound")


def test_a_service_being_deleted_cannot_be_used(node: Node, site: LocalSite) -> None:
    node.apply_desired()
    path = f"{SERVICES}/{site.service['id']}"
    site.api.delete(path)
    assert status_of(site.api, path) == "PENDING_DELETE"
    assert site.refused() == (404, "VPNServiceNotFound")
    gateway = node.desired()["gone"][0]
    assert gateway["kind"] == "gateway"
    node.report(GatewayReport(gateway["id"], 1, node.desired()["revision"], "gone"))
    assert site.api.refused("GET", path) == (404, "VPNServiceNotFound")
    site.api.delete(f"/vpn/ikepolicies/{site.ike['id']}")


def test_a_waiting_delete_holds_no_thread(open_api: OpenApi) -> None:
    with open_api(delete_wait=1.5) as api:
        node, site = api.node(), LocalSite(api)
        ids = [site.connection(peer_id=f"peer-{number}")["id"] for number in range(30)]
        node.apply_desired()
        started = time.monotonic()
        threads = [threading.Thread(target=api.delete, args=(f"{CONNECTIONS}/{id}",)) for id in ids]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        listed = time.monotonic()
        api.get(CONNECTIONS)
        assert time.monotonic() - listed < 0.7
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 6.0
