"""IPv4 and IPv6 inside, with endpoint groups too; pings pass as ESP."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.lab.fabric import ping
from tests.harness.world import World, ping_with_retry, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

PINGS = 20


def create(world: World, path: str, singular: str, **values: Any) -> dict[str, Any]:
    created: dict[str, Any] = world.user.request("POST", f"/v2.0/vpn/{path}", {singular: values})[singular]
    return created


def join(world: World, side: str, other: str) -> str:
    """Create a second connection of a site, for IPv6, between the same gateways; return its id."""
    site, peer_site = world.lab["sites"][side], world.lab["sites"][other]
    existing = world.connection(site["connection_id"])
    service = create(world, "vpnservices", "vpnservice", name=f"{side}-v6", router_id=site["router_id"])
    local = create(
        world, "endpoint-groups", "endpoint_group", type="subnet", endpoints=[site["subnet_ids"][1]], name=f"{side}-v6"
    )
    peer = create(
        world,
        "endpoint-groups",
        "endpoint_group",
        type="cidr",
        endpoints=[{"left": "fd00:1::/64", "right": "fd00:2::/64"}[other]],
        name=f"{other}-v6",
    )
    connection = create(
        world,
        "ipsec-site-connections",
        "ipsec_site_connection",
        name=f"{side}-v6",
        vpnservice_id=service["id"],
        ikepolicy_id=existing["ikepolicy_id"],
        ipsecpolicy_id=existing["ipsecpolicy_id"],
        peer_address=peer_site["gateway"]["outside_address"],
        peer_id=peer_site["gateway"]["outside_address"],
        local_ep_group_id=local["id"],
        peer_ep_group_id=peer["id"],
        psk=existing["psk"],
    )
    id: str = connection["id"]
    return id


@pytest.mark.parametrize(("source", "destination"), [("left", "10.2.0.10"), ("right", "10.1.0.10")])
def test_ipv4_is_carried_both_ways(world: World, source: str, destination: str) -> None:
    assert_pings(world, source, destination)


def test_ipv6_is_carried_beside_ipv4(world: World) -> None:
    ids = [join(world, "left", "right"), join(world, "right", "left")]
    for id in ids:
        world.wait_status(id, "ACTIVE")
    assert_pings(world, "left", "fd00:2::10")
    assert_pings(world, "right", "fd00:1::10")
    assert_pings(world, "left", "10.2.0.10")


def assert_pings(world: World, source: str, destination: str) -> None:
    until(world.rekeyed, 20.0)
    with world.wire() as wire:
        answer = ping_with_retry(lambda: ping(world.host(source), destination, PINGS, 0.02))
    assert answer.received == PINGS
    assert wire.tally.protected >= 2 * PINGS
    assert wire.tally.plaintext == 0
