"""Concurrent requests: invariants that hold in every order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.api.world import CONNECTIONS, Api, LocalSite

AT_ONCE = 8


def together(send: Callable[[int], Any], count: int = AT_ONCE) -> list[Any]:
    """Sends requests concurrently and returns their results."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


def test_of_conflicting_connections_one_is_created(site: LocalSite) -> None:
    def send(number: int) -> int:
        body = {"ipsec_site_connection": site.values(psk=f"key {number}", peer_cidrs=[f"10.{20 + number}.0.0/24"])}
        return site.api.send("POST", CONNECTIONS, body).status_code

    assert Counter(together(send)) == {201: 1, 409: AT_ONCE - 1}
    assert len(site.api.get(CONNECTIONS)["ipsec_site_connections"]) == 1


def test_gateways_never_share_an_address(api: Api) -> None:
    outside = api.outside("198.51.100.0/24", "2001:db8::/64")

    def send(_number: int) -> list[str]:
        body = {"router": {"name": "router", "external_gateway_info": {"network_id": outside["id"]}}}
        # Of many writers that conflict, one may be asked to try again.
        while (response := api.send("POST", "/routers", body)).status_code == 503:
            pass
        info = response.json()["router"]["external_gateway_info"]
        return [fixed_ip["ip_address"] for fixed_ip in info["external_fixed_ips"]]

    taken = [address for addresses in together(send) for address in addresses]
    assert len(set(taken)) == len(taken) == 2 * AT_ONCE


def test_a_policy_is_deleted_or_used_but_not_both(site: LocalSite) -> None:
    for number in range(5):
        ike = site.api.ike()
        values = {"ikepolicy_id": ike["id"], "peer_id": f"peer-{number}"}

        def send(number: int, ike: Any = ike, values: Any = values) -> int:
            if number:
                return site.api.send("DELETE", f"/vpn/ikepolicies/{ike['id']}").status_code
            return site.api.send("POST", CONNECTIONS, {"ipsec_site_connection": site.values(**values)}).status_code

        assert tuple(together(send, 2)) in {(201, 409), (404, 204)}


def test_concurrent_updates_are_not_lost(site: LocalSite) -> None:
    connection = site.connection()
    path = f"{CONNECTIONS}/{connection['id']}"

    def send(number: int) -> int:
        body = {"ipsec_site_connection": {"dpd": {"interval": 10 + number}, "description": f"{number}"}}
        return site.api.send("PUT", path, body).status_code

    assert together(send) == [200] * AT_ONCE
    now = site.api.get(path)["ipsec_site_connection"]
    assert now["revision_number"] == connection["revision_number"] + AT_ONCE
    assert now["dpd"]["interval"] == 10 + int(now["description"])


def test_a_service_is_deleted_once(site: LocalSite) -> None:
    path = f"/vpn/vpnservices/{site.service['id']}"
    codes = Counter(together(lambda _number: site.api.send("DELETE", path).status_code))
    assert codes == {204: 1, 404: AT_ONCE - 1}
