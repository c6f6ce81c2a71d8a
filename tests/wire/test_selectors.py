"""Traffic selectors: a service's subnet or endpoint groups, pairs of networks, both IP versions, host bits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from linkspan.lab.fabric import ping
from tests.harness.ours import LOCAL4, LOCAL6, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import ping_with_retry, until
from tests.wire.conftest import ANNEX4, Annex

pytestmark = [pytest.mark.wire, pytest.mark.root]


def group(ours: Ours, type: str, *endpoints: str) -> str:
    return ours.create("endpoint-groups", type=type, endpoints=list(endpoints))


def second(peer: Peer) -> tuple[str, str]:
    """Add a second network behind a peer; return it and the peer's address there."""
    prefix = peer.net4.removesuffix(".0.0/24")
    peer.run("ip", "address", "add", f"{prefix}.1.1/24", "dev", "lo", check=False)
    return f"{prefix}.1.0/24", f"{prefix}.1.1"


def assert_passes(peer: Peer, *ways: tuple[str, str]) -> None:
    """Assert that pings from these namespaces to these addresses pass, only as ESP."""
    for source, destination in ways:
        with peer.recorder() as seen:
            answer = ping_with_retry(functools.partial(ping, source, destination, 3, 0.02, 1))
        assert (answer.received, seen.plaintext) == (3, 0), answer
        assert seen.esp >= 6, "the pings were not carried by ESP"


def assert_blocked(peer: Peer, *ways: tuple[str, str]) -> None:
    for source, destination in ways:
        with peer.recorder() as seen:
            answer = ping(source, destination, 2, 0.02, 1)
        assert (answer.received, seen.esp, seen.plaintext) == (0, 0, 0), answer


def selectors(peer: Peer) -> list[tuple[list[str], list[str]]]:
    """Return the selectors of the peer's child SAs, local ones first."""
    return sorted((sorted(child["local-ts"]), sorted(child["remote-ts"])) for child in peer.children())


def wait_selectors(link: Link, *wanted: tuple[list[str], list[str]]) -> None:
    """Wait until the peer's child SAs have exactly these selectors, before and after the first rekey."""
    matches = lambda: selectors(link.peer) == sorted(wanted)  # noqa: E731 # used before and after the rekey
    until(matches, 15.0, lambda: f"{selectors(link.peer)} {link.shown}")
    link.wait_rekeyed(10.0)
    until(matches, 10.0, lambda: f"{selectors(link.peer)} {link.shown}")


WIDE = {"local_ts": ["10.0.0.0/8", "fd00::/16"], "remote_ts": ["10.0.0.0/8", "fd00::/16"]}
"""A peer that accepts any selectors, so that it shows the gateway's proposal."""


@pytest.mark.shows("connection.peer_cidrs", "service.subnet_id", "connection.vpnservice_id")
def test_a_services_subnet_and_the_peers_networks(ours: Ours, peer: Peer, annex: Annex) -> None:
    """Host bits are masked in selectors and shown as given; an update changes the selectors."""
    peer.load(ours.v4, ours.psk, child=WIDE)
    more, beyond = second(peer)
    given = [peer.net4.replace(".0/24", ".77/24")]
    link = ours.connect(peer, peer_cidrs=given)
    assert link.shown["peer_cidrs"] == given
    wait_selectors(link, ([peer.net4], [LOCAL4]))
    assert_passes(peer, (ours.host, peer.in4))
    assert_blocked(peer, (ours.host, beyond))
    given = [more.replace(".0/24", ".5/24"), *given]
    assert link.set(peer_cidrs=given)["peer_cidrs"] == given
    wait_selectors(link, (sorted([peer.net4, more]), [LOCAL4]))
    assert_passes(peer, (ours.host, peer.in4), (ours.host, beyond))
    link.set(peer_cidrs=more)
    wait_selectors(link, ([more], [LOCAL4]))
    assert_passes(peer, (ours.host, beyond))
    assert_blocked(peer, (ours.host, peer.in4))
    ours.delete("ipsec-site-connections", link.id)
    # Another service of the same router, for its second subnet.
    service = ours.create("vpnservices", router_id=ours.router_id, subnet_id=annex.subnets[4])
    link = ours.connect(peer, vpnservice_id=service)
    wait_selectors(link, ([peer.net4], [ANNEX4]))
    assert_passes(peer, (annex.host, peer.in4))
    assert_blocked(peer, (ours.host, peer.in4))


@pytest.mark.shows("network.admin_state_up")
def test_a_connection_names_the_network_that_is_down(ours: Ours, peer: Peer, annex: Annex) -> None:
    """Its other networks go on; the network that is down reaches neither the peer nor the router's other network."""
    peer.load(ours.v4, ours.psk, child=WIDE)
    service = ours.create("vpnservices", router_id=ours.router_id)
    local = group(ours, "subnet", ours.subnets[4], annex.subnets[4])
    remote = group(ours, "cidr", peer.net4)
    link = ours.connect(peer, vpnservice_id=service, local_ep_group_id=local, peer_ep_group_id=remote, peer_cidrs=[])
    link.wait_rekeyed()
    own, other = (ours.host, peer.in4), (annex.host, peer.in4)
    assert_passes(peer, own, other)
    beside = [functools.partial(ping, ours.host, address, 3, 0.02, 1) for address in ("10.11.0.10", "fd00:11::10")]
    assert [send().received for send in beside] == [3, 3]
    before = link.sas()
    network = ours.user.request("GET", f"/v2.0/subnets/{annex.subnets[4]}")["subnet"]["network_id"]
    ours.set_admin_state("networks", network, False)
    link.wait_reason(f"admin_state_up of the network of {ANNEX4} is false", 5.0)
    assert link.status == "ACTIVE"
    with ours.world.next_hop():
        assert_blocked(peer, other)
    assert [send().received for send in beside] == [0, 0]
    # What the peer sends there is carried to the gateway, and goes no further.
    with peer.recorder() as seen:
        peer.run("ping", "-c", "2", "-W", "1", "-I", peer.in4, "10.11.0.10", check=False)
    assert (seen.count("esp", "udp_esp", sent=True), seen.count("esp", "udp_esp", sent=False)) == (2, 0)
    assert_passes(peer, own)
    assert link.sas() == before, "the admin state of one network touched the tunnel"
    ours.set_admin_state("networks", network, True)
    until(lambda: not link.reason, 5.0)
    assert_passes(peer, own, other)
    assert [send().received for send in beside] == [3, 3]


def test_ipv6_host_bits(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk, child=WIDE)
    given = peer.net6.replace("::/64", "::a5/64")
    link = ours.connect(peer, local=[6], peers=[given])
    id = link.shown["peer_ep_group_id"]
    shown = ours.world.user.request("GET", f"/v2.0/vpn/endpoint-groups/{id}")["endpoint_group"]
    assert shown["endpoints"] == [given]
    wait_selectors(link, ([peer.net6], [LOCAL6]))
    assert_passes(peer, (ours.host, peer.in6))


@pytest.mark.shows(
    "connection.local_ep_group_id",
    "connection.peer_ep_group_id",
    "endpoint_group.type",
    "endpoint_group.endpoints",
)
@pytest.mark.parametrize("version", IKE_VERSIONS)
def test_two_local_and_two_peer_networks(ours: Ours, peer: Peer, annex: Annex, version: str) -> None:
    """IKEv2 has one child with two lists, IKEv1 a child for each pair. The groups change while the tunnel is up."""
    more, beyond = second(peer)
    theirs, mine = [peer.net4, more], [LOCAL4, ANNEX4]
    pairs = [([left], [right]) for left in theirs for right in mine]
    children: dict[str, Any] = {
        f"net{number}": {"local_ts": left, "remote_ts": right, "esp_proposals": ["aes128-sha256-modp2048"]}
        for number, (left, right) in enumerate([(theirs, mine)] if version == "2" else pairs)
    }
    peer.load(ours.v4, ours.psk, version=version, children=children)
    # Created before the connection that uses them, so that they are removed after it.
    local, remote = group(ours, "subnet", ours.subnets[4], annex.subnets[4]), group(ours, "cidr", *theirs)
    local_less, remote_less = group(ours, "subnet", annex.subnets[4]), group(ours, "cidr", more)
    link = ours.connect(
        peer,
        ike={"ike_version": f"v{version}"},
        local=[4],
        peers=theirs,
        local_ep_group_id=local,
        peer_ep_group_id=remote,
    )
    wait_selectors(link, *([(sorted(theirs), sorted(mine))] if version == "2" else pairs))
    ways = [(host, address) for host in (ours.host, annex.host) for address in (peer.in4, beyond)]
    assert_passes(peer, *ways)
    link.set(peer_ep_group_id=remote_less)
    wait_selectors(link, *([([more], sorted(mine))] if version == "2" else pairs[2:]))
    assert_passes(peer, ways[1], ways[3])
    assert_blocked(peer, ways[0], ways[2])
    link.set(local_ep_group_id=local_less)
    wait_selectors(link, ([more], [ANNEX4]))
    assert_passes(peer, ways[3])
    assert_blocked(peer, *ways[:3])
    link.set(local_ep_group_id=local, peer_ep_group_id=remote)
    wait_selectors(link, *([(sorted(theirs), sorted(mine))] if version == "2" else pairs))
    assert_passes(peer, *ways)


@pytest.mark.shows("connection.local_ep_group_id", "connection.peer_ep_group_id")
def test_each_ip_version_inside_each(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    """4in4, 6in6, 4in6 and 6in4 concurrently, then each with the IP versions exchanged."""
    cases = [(inner, outer) for inner in (4, 6) for outer in (4, 6)]
    local = {version: group(ours, "subnet", ours.subnets[version]) for version in (4, 6)}
    links, others = [], []
    for inner, outer in cases:
        peer = new_peer()
        # Created before the connection that uses it, so that it is removed after it.
        others.append(group(ours, "cidr", peer.net6 if inner == 4 else peer.net4))
        address = peer.v4 if outer == 4 else peer.v6
        net = peer.net4 if inner == 4 else peer.net6
        peer.load(ours.v4 if outer == 4 else ours.v6, ours.psk, child=WIDE)
        links.append(ours.connect(peer, local=[inner], peers=[net], peer_address=address, peer_id=address))
    for (inner, outer), link in zip(cases, links, strict=True):
        of_version(link, inner, outer)
    for (inner, outer), link, remote in zip(cases, links, others, strict=True):
        peer = link.peer
        peer.load(ours.v4 if outer == 6 else ours.v6, ours.psk, child=WIDE)
        address = peer.v4 if outer == 6 else peer.v6
        link.set(peer_address=address, peer_id=address, local_ep_group_id=local[10 - inner], peer_ep_group_id=remote)
    for (inner, outer), link in zip(cases, links, strict=True):
        of_version(link, 10 - inner, 10 - outer)


def of_version(link: Link, inner: int, outer: int) -> None:
    peer = link.peer
    wait_selectors(link, ([peer.net4 if inner == 4 else peer.net6], [LOCAL4 if inner == 4 else LOCAL6]))
    assert_passes(peer, (link.ours.host, peer.in4 if inner == 4 else peer.in6))
    ((sa),) = [established for established in peer.sas() if established["state"] == "ESTABLISHED"]
    assert sa["remote-host"] == (link.ours.v4 if outer == 4 else link.ours.v6)
