"""Default routes, supernets and networks with other peers in them as peer networks, through the API and the agent.

tests/drivers/test_exempt_traffic has the leak tests, and the controls without exemptions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linkspan.cli.client import ApiError
from linkspan.lab import fabric
from linkspan.lab.fabric import ping
from tests.harness.nameserver import NameServer
from tests.harness.ours import HOST4, HOST6, LOCAL6, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import ping_with_retry, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NAME = "late.example.org"
GATEWAY = {4: "10.1.0.1", 6: "fd00:1::1"}
ANNEX = {4: ("10.61.0.0/24", "10.61.0.1", "10.61.0.10"), 6: ("fd00:61::/64", "fd00:61::1", "fd00:61::10")}
"""A second network of the router: prefix, the router's address, a host's."""


@pytest.fixture
def annex(ours: Ours) -> Iterator[Callable[[], str]]:
    """Creates a second network on the router, with a host; returns the host's namespace."""
    user, instance = ours.world.user, ours.world.lab["instance"]
    undo: list[Callable[[], object]] = []

    def make() -> str:
        network = user.request("POST", "/v2.0/networks", {"network": {"name": "annex"}})["network"]["id"]
        undo.append(functools.partial(user.request, "DELETE", f"/v2.0/networks/{network}"))
        for version, (cidr, _, _) in ANNEX.items():
            body = {"network_id": network, "cidr": cidr, "ip_version": version}
            interface = {"subnet_id": user.request("POST", "/v2.0/subnets", {"subnet": body})["subnet"]["id"]}
            user.request("PUT", f"/v2.0/routers/{ours.router_id}/add_router_interface", interface)
            path = f"/v2.0/routers/{ours.router_id}/remove_router_interface"
            undo.append(functools.partial(user.request, "PUT", path, interface))
        until(lambda: all(f"{gateway}/" in addresses_of(ours) for _, gateway, _ in ANNEX.values()), 10.0)
        addresses = (f"{ANNEX[4][2]}/24", f"{ANNEX[6][2]}/64")
        made = fabric.make_host(instance, "annex", network, addresses, (ANNEX[4][1], ANNEX[6][1]))
        undo.append(lambda: fabric.remove(instance, "annex"))
        return made.namespace

    yield make
    ours.clear()
    while undo:
        undo.pop()()


def addresses_of(ours: Ours) -> str:
    """Return the addresses of the gateway, as `ip address` lists them."""
    return ours.world.inside(ours.gateway, "ip", "-o", "address")


def wide(ours: Ours, peer: Peer, version: int, *cidrs: str, **values: Any) -> Link:
    """Connect to a peer behind these wide networks."""
    child = {"local_ts": list(cidrs)} | ({"remote_ts": [LOCAL6]} if version == 6 else {})
    peer.load(ours.v4, ours.psk, child=child)
    selectors = {"peer_cidrs": list(cidrs)} if version == 4 else {"local": (6,), "peers": cidrs}
    link = ours.connect(peer, **selectors, **values)
    link.wait("ACTIVE")
    return link


def assert_beside(*ways: tuple[str, str]) -> None:
    """Assert that pings from these namespaces to these addresses are answered."""
    for source, destination in ways:
        answer = ping_with_retry(functools.partial(ping, source, destination, 3, 0.05, 1))
        assert answer.received == 3, answer


@pytest.mark.shows("connection.peer_cidrs")
@pytest.mark.parametrize(
    ("cidr", "mtu", "version"),
    [
        ("0.0.0.0/0", 1300, "v2"),
        pytest.param("198.51.100.0/24", 1500, "v1", marks=needs_ikev1),
        pytest.param("198.51.100.64/26", 1300, "v1", marks=needs_ikev1),
    ],
)
def test_tunnels_to_peers_in_a_wide_network_stay_and_come_up(
    ours: Ours, new_peer: Callable[[], Peer], files: Path, cidr: str, mtu: int, version: str
) -> None:
    """One that is up, one that comes later over IPv6, and one by a name that a name server in that network resolves.

    With another MTU the wide network has a route in one of Linkspan's tables too.
    """
    hub, earlier, later, named = (new_peer() for _ in range(4))
    earlier.load(ours.v4, ours.psk)
    before = ours.connect(earlier)
    before.wait_rekeyed()
    # With user-space ESP charon excludes the hub's own address from its tunnel, so another one stands for the range.
    beyond = "198.51.100.77"
    hub.run("ip", "address", "add", f"{beyond}/32", "dev", "lo")
    link = wide(ours, hub, 4, cidr, mtu=mtu)
    assert before.status == "ACTIVE"
    before.assert_pings()
    later.load(ours.v6, ours.psk)
    six = ours.connect(later, peer_address=later.v6, peer_id=later.v6)
    named.load(ours.v4, ours.psk, local="keyid:the peer", remote="keyid:the gateway", version=version[1:])
    (files / "resolv.conf").write_text(f"nameserver {named.v4}\n")
    with NameServer(named.namespace, named.v4) as server:
        server.records[NAME] = [named.v4]
        ids: dict[str, Any] = {"peer_id": "the peer", "local_id": "the gateway"}
        by_name = ours.connect(named, ike={"ike_version": version}, peer_address=NAME, **ids)
        for other in (six, by_name):
            other.wait("ACTIVE")
            other.assert_pings()
    link.assert_pings(beyond)
    before.assert_pings()


@pytest.mark.shows("connection.peer_cidrs", "connection.peer_ep_group_id")
@pytest.mark.parametrize(
    ("version", "cidrs"),
    [
        (4, ["0.0.0.0/0"]),
        (4, ["10.0.0.0/8"]),
        (4, ["0.0.0.0/1", "128.0.0.0/1"]),
        (6, ["::/0"]),
        (6, ["fd00::/16"]),
    ],
)
def test_attached_networks_stay_beside_a_default_route_or_a_supernet(
    ours: Ours, peer: Peer, annex: Callable[[], str], version: int, cidrs: list[str]
) -> None:
    """Also one whose interface is added while the tunnel is up; and the tunnel carries all others."""
    peer.run("ip", "-6", "address", "add", "9000::1/128", "dev", "lo", "nodad", check=False)
    peer.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo", check=False)
    link = wide(ours, peer, version, *cidrs)
    host = HOST4 if version == 4 else HOST6
    assert_beside((ours.host, GATEWAY[version]), (ours.gateway, host))
    second = annex()
    _, gateway, address = ANNEX[version]
    # The gateway has the address before the network is exempt from the tunnel.
    until(lambda: ping(second, gateway, 1, timeout=1).received == 1, 10.0)
    until(lambda: ping(ours.host, address, 1, timeout=1).received == 1, 10.0)
    assert_beside((ours.host, address), (second, host), (ours.host, gateway), (second, GATEWAY[version]))
    link.wait_rekeyed()
    link.assert_pings(peer.in4 if version == 4 else peer.in6)


def test_an_attached_network_is_refused_in_either_order(ours: Ours, peer: Peer, annex: Callable[[], str]) -> None:
    peer.load(ours.v4, ours.psk)
    second = annex()
    cidr, _, address = ANNEX[4]
    with pytest.raises(ApiError) as caught:
        ours.connect(peer, peer_cidrs=[cidr])
    assert caught.value.status == 409
    assert_beside((ours.host, address), (second, HOST4))
