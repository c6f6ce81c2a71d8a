"""IPv4 and IPv6 inside, over endpoint groups too: each pinged, each seen as ESP on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.lab.fabric import ping
from tests.harness.world import World, ping_with_retry, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

PINGS = 20


def create(world: World, path: str, singular: str, **values: Any) -> dict[str, Any]:
    made: dict[str, Any] = world.user.request("POST", f"/v2.0/vpn/{path}", {singular: values})[singular]
    return made


def join(world: World, side: str, other: str) -> str:
    """A second connection of a site, for IPv6, between the same gateways; its id."""
    here, there = world.lab["sites"][side], world.lab["sites"][other]
    existing = world.connection(here["connection_id"])
    service = create(world, "vpnservices", "vpnservice", name=f"{side}-v6", router_id=here["router_id"])
    local = create(
        world, "endpoint-groups", "endpoint_group", type="subnet", endpoints=[here["subnet_ids"][1]], name=f"{side}-v6"
    )
    peer = create(
        world,
        "endpoint-groups",
        "endpoint_group",
        type="cidr",
        endpoints=[{"left": "fd00:1::/64", "right": "fd00:2::/64"}[other]],
        name=f"{other}-v6",
    )
    made = create(
        world,
        "ipsec-site-connections",
        "ipsec_site_connection",
        name=f"{side}-v6",
        vpnservice_id=service["id"],
        ikepolicy_id=existing["ikepolicy_id"],
        ipsecpolicy_id=existing["ipsecpolicy_id"],
        peer_address=there["gateway"]["outside_address"],
        peer_id=there["gateway"]["outside_address"],
        local_ep_group_id=local["id"],
        peer_ep_group_id=peer["id"],
        psk=existing["psk"],
    )
    id: str = made["id"]
    return id


@pytest.mark.parametrize(("source", "destination"), [("left", "10.2.0.10"), ("right", "10.1.0.10")])
def test_ipv4(world: World, source: str, destination: str) -> None:
    pinged(world, source, destination)


def test_ipv6(world: World) -> None:
    ids = [join(world, "left", "right"), join(world, "right", "left")]
    for id in ids:
        world.wait_status(id, "ACTIVE")
    pinged(world, "left", "fd00:2::10")
    pinged(world, "right", "fd00:1::10")
    pinged(world, "left", "10.2.0.10")


def pinged(world: World, source: str, destination: str) -> None:
    until(world.rekeyed, 20.0)
    with world.wire() as wire:
        answer = ping_with_retry(lambda: ping(world.host(source), destination, PINGS, 0.02))
    assert answer.received == PINGS
    assert wire.tally.protected >= 2 * PINGS
    assert wire.tally.plaintext == 0
