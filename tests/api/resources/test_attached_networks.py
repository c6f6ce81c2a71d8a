"""A peer network is never one of the networks attached to the same router, whichever is created first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.resources.test_races import together
from tests.api.world import CONNECTIONS, Api, LocalSite

CONFLICT = (409, "IPsecSiteConnectionConflict")
IN_USE = (409, "SubnetInUseByIPsecSiteConnection")
DUAL = ("198.51.100.0/24", "2001:db8::/64")


def plug(site: LocalSite, subnet: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The request that adds an interface."""
    return "PUT", f"/routers/{site.router['id']}/add_router_interface", {"subnet_id": subnet["id"]}


def test_a_connection_to_an_attached_network_is_refused(site: LocalSite) -> None:
    dmz = site.api.inside("10.60.0.0/24")
    site.api.plug(site.router, dmz)
    for cidr in ("10.60.0.0/24", "10.60.0.128/25", "10.60.0.7/32", "10.60.0.9/24"):
        assert site.refused(peer_cidrs=["10.9.0.0/24", cidr]) == CONFLICT, cidr
    body = {"ipsec_site_connection": site.values(peer_cidrs=["10.60.0.0/25"])}
    message = site.api.send("POST", CONNECTIONS, body).json()["NeutronError"]["message"]
    assert message == (
        f"Peer network '10.60.0.0/25' equals or is inside '10.60.0.0/24' of subnet {dmz['id']}, which is attached to "
        "the same router: its hosts would be cut off; use other or wider peer networks"
    )
    assert site.refused(peer_cidrs=["10.1.0.0/24"]) == (400, "HTTPBadRequest"), "the connection's own local network"
    assert site.api.get(CONNECTIONS)["ipsec_site_connections"] == []


def test_wider_ones_and_the_external_network_are_accepted(site: LocalSite) -> None:
    site.api.plug(site.router, site.api.inside("10.60.0.0/24"))
    wide = ("0.0.0.0/0", "10.0.0.0/8", "10.60.0.0/16", "198.51.100.0/24", "198.51.0.0/16")
    for number, cidr in enumerate([[cidr] for cidr in wide] + [["0.0.0.0/1", "128.0.0.0/1"]]):
        created = site.connection(peer_address=f"203.0.113.{number + 10}", peer_id=f"{number}", peer_cidrs=cidr)
        assert created["peer_cidrs"] == cidr


def test_an_update_to_an_attached_network_is_refused(site: LocalSite) -> None:
    connection = site.connection()
    site.api.plug(site.router, site.api.inside("10.60.0.0/24"))
    path = f"{CONNECTIONS}/{connection['id']}"
    body = {"ipsec_site_connection": {"peer_cidrs": ["10.60.0.0/24"]}}
    assert site.api.refused("PUT", path, body) == CONFLICT
    assert site.api.get(path)["ipsec_site_connection"]["peer_cidrs"] == ["10.9.0.0/24"]
    site.api.update(path, "ipsec_site_connection", peer_cidrs=["10.0.0.0/8"])


def test_an_interface_on_a_peers_network_is_refused(site: LocalSite) -> None:
    connection = site.connection(peer_cidrs=["10.9.0.0/25"], admin_state_up=False)
    for cidr in ("10.9.0.0/25", "10.9.0.0/24", "10.8.0.0/15"):
        assert site.api.refused(*plug(site, site.api.inside(cidr))) == IN_USE, cidr
    subnet = site.api.inside("10.9.0.0/25")
    message = site.api.send(*plug(site, subnet)[:2], plug(site, subnet)[2]).json()["NeutronError"]["message"]
    assert connection["id"] in message
    assert "'10.9.0.0/25'" in message
    for cidr in ("10.9.0.0/26", "10.7.0.0/24"):
        site.api.plug(site.router, site.api.inside(cidr))
    # Another router is not affected, and this one is free once the connection is gone.
    other = site.api.router(site.outside)
    site.api.plug(other, subnet)
    site.api.delete(f"{CONNECTIONS}/{connection['id']}")
    site.api.plug(site.router, site.api.inside("10.9.0.128/25"))


@pytest.mark.parametrize(
    ("inside", "attached", "held", "wide"),
    [
        ("10.1.0.0/24", "10.60.0.0/24", "10.60.0.64/26", "10.0.0.0/8"),
        ("fd00:1::/64", "fd00:60::/64", "fd00:60::7/128", "::/0"),
    ],
)
def test_endpoint_groups_in_either_order(api: Api, inside: str, attached: str, held: str, wide: str) -> None:
    site = LocalSite(api, *DUAL, inside=inside, with_subnet=False)
    local = api.group("subnet", site.subnet["id"])["id"]
    groups = {cidr: api.group("cidr", cidr)["id"] for cidr in (held, wide)}
    values = {"peer_cidrs": ..., "local_ep_group_id": local}
    subnet = api.inside(attached, ip_version=6 if ":" in attached else 4)
    narrow = site.connection(**values, peer_ep_group_id=groups[held])
    assert api.refused(*plug(site, subnet)) == IN_USE
    api.update(f"{CONNECTIONS}/{narrow['id']}", "ipsec_site_connection", peer_ep_group_id=groups[wide])
    api.plug(site.router, subnet)
    body = {"ipsec_site_connection": {"peer_ep_group_id": groups[held]}}
    assert api.refused("PUT", f"{CONNECTIONS}/{narrow['id']}", body) == CONFLICT
    assert site.refused(**values, peer_id="another", peer_ep_group_id=groups[held]) == CONFLICT


def test_bulk_creation_is_refused_as_a_whole(site: LocalSite) -> None:
    site.api.plug(site.router, site.api.inside("10.60.0.0/24"))
    entries = [site.values(), site.values(peer_id="two", peer_cidrs=["10.60.0.0/24"])]
    assert site.api.refused("POST", CONNECTIONS, {"ipsec_site_connections": entries}) == CONFLICT
    assert site.api.get(CONNECTIONS)["ipsec_site_connections"] == []


def test_of_an_interface_and_a_connection_at_once_one_is_made(site: LocalSite) -> None:
    for number in range(5):
        cidr = f"10.{60 + number}.0.0/24"
        interface = plug(site, site.api.inside(cidr))
        body = {"ipsec_site_connection": site.values(peer_id=f"peer-{number}", peer_cidrs=[cidr])}
        requests: list[Callable[[], Any]] = [
            lambda interface=interface: site.api.send(*interface),  # type: ignore[misc]
            lambda body=body: site.api.send("POST", CONNECTIONS, body),  # type: ignore[misc]
        ]
        statuses = Counter(together(lambda index, requests=requests: requests[index]().status_code, 2))  # type: ignore[misc]
        assert statuses in ({200: 1, 409: 1}, {201: 1, 409: 1}), cidr
