"""Outside addresses: the gateway's addresses change; NAT in front of the peer or of the gateway."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from linkspan.lab import fabric
from linkspan.lab.fabric import ping
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.project_site import ProjectSite
from tests.harness.recorder import Recorder
from tests.harness.world import World, ping_with_retry, until
from tests.wire.conftest import Annex

pytestmark = [pytest.mark.wire, pytest.mark.root]

MASQUERADE = "table ip nat {{ chain out {{ type nat hook postrouting priority 100; oifname {} masquerade; }}; }}"


@pytest.mark.shows("service.router_id", "service.external_v4_ip", "service.external_v6_ip", "connection.vpnservice_id")
def test_tunnels_follow_the_gateways_own_addresses(
    new_site: Callable[..., ProjectSite], new_peer: Callable[[], Peer]
) -> None:
    site, four, six = new_site("mover"), new_peer(), new_peer()
    for peer, address in ((four, site.v4), (six, site.v6)):
        peer.load(address, site.psk, child={"remote_ts": [site.cidr]})
    links = [site.connect(four), site.connect(six, peer_address=six.v6, peer_id=six.v6)]
    for link in links:
        link.wait("ACTIVE")
        link.assert_pings()
    old, new = (site.v4, site.v6), ("198.51.100.77", "2001:db8:ffff::77")
    fixed = [{"ip_address": address} for address in new]
    info = {"network_id": site.world.lab["internet"]["network_id"], "external_fixed_ips": fixed}
    for peer, address in ((four, new[0]), (six, new[1])):
        peer.unload()
        peer.load(address, site.psk, name="moved", child={"remote_ts": [site.cidr]})
    site.world.admin.request("PUT", f"/v2.0/routers/{site.router_id}", {"router": {"external_gateway_info": info}})
    assert (site.service["external_v4_ip"], site.service["external_v6_ip"]) == new
    for peer, address in ((four, new[0]), (six, new[1])):
        until(lambda peer=peer, address=address: address in hosts(peer), 20.0, lambda: str(links[0].shown))  # type: ignore[misc]
    for link, address, former in zip(links, new, old, strict=True):
        link.wait("ACTIVE")
        with link.peer.recorder() as seen:
            answer = ping_with_retry(lambda link=link: site.ping(link.peer.in4, 10, 0.02))  # type: ignore[misc]
            assert ping(link.peer.namespace, former, 1, timeout=1).received == 0, "the former address is still in use"
            assert ping(link.peer.namespace, address, 1, timeout=1).received == 1, (
                "control: the new address does not answer"
            )
        assert (answer.received, seen.plaintext) == (10, 0)
        assert seen.esp >= 20
        assert not any(
            packed(former) in packet.frame for packet in seen.packets if packet.kind in ("ike", "esp", "udp_esp")
        )
        assert any(packed(address) in packet.frame for packet in seen.packets)


def hosts(peer: Peer) -> list[str]:
    """Return the remote hosts of the peer's IKE SAs with children."""
    return [sa["remote-host"] for sa in peer.sas() if sa.get("child-sas") and sa["state"] == "ESTABLISHED"]


@pytest.mark.shows("port.mac_address")
def test_neighbours_learn_the_mac_addresses_of_a_routers_ports(ours: Ours, peer: Peer, annex: Annex) -> None:
    ports = ours.world.admin.request("GET", f"/v2.0/ports?device_id={ours.router_id}")["ports"]
    macs = {fixed["ip_address"]: port["mac_address"] for port in ports for fixed in port["fixed_ips"]}
    by_network = {port["network_id"]: port["mac_address"] for port in ports}
    assert len(set(by_network.values())) == len(by_network) == 3
    neighbours = [
        (peer.namespace, ours.v4),
        (peer.namespace, ours.v6),
        (ours.host, "10.1.0.1"),
        (ours.host, "fd00:1::1"),
    ]
    for namespace, address in (*neighbours, (annex.host, "10.11.0.1"), (annex.host, "fd00:11::1")):
        ping(namespace, address, 1, timeout=1)
        known = ours.world.inside(namespace, "ip", "neighbour", "show", "to", address)
        assert f" lladdr {macs[address]} " in known


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


@contextmanager
def nat(world: World, peer: Peer, address: str, inside: str, masked: str) -> Iterator[Callable[[], Recorder]]:
    """Provide a NAT box with this address on the external network, and the peer behind it at .2 of `inside`.

    It masquerades packets that leave by the interface `masked`. Yields a function that returns a recorder of the box's
    outside link.
    """
    instance = world.lab["instance"]
    box = fabric.make_host(instance, "box", world.lab["internet"]["network_id"], (f"{address}/24",), ())
    try:
        peer.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "in0")
        peer.run("ip", "link", "set", "in0", "netns", box.namespace)
        peer.run("ip", "link", "set", "eth0", "down")
        peer.run("ip", "address", "add", f"{inside}.2/24", "dev", "eth1")
        peer.run("ip", "link", "set", "eth1", "up")
        peer.run("ip", "route", "replace", "default", "via", f"{inside}.1")
        for command in (
            ("ip", "address", "add", f"{inside}.1/24", "dev", "in0"),
            ("ip", "link", "set", "in0", "up"),
            ("sysctl", "-q", "net.ipv4.ip_forward=1"),
            ("nft", MASQUERADE.format(masked)),
        ):
            world.inside(box.namespace, *command)
        yield lambda: Recorder(world.lab["fabric"], fabric._port(instance, "box"))
    finally:
        fabric.remove(instance, "box")


@pytest.mark.shows("connection.peer_address", "connection.peer_id")
def test_a_peer_behind_nat(ours: Ours, peer: Peer) -> None:
    """The peer initiates from the NAT's address with its own identity."""
    public = "198.51.100.200"
    with nat(ours.world, peer, public, "192.168.77", "eth0") as recorder:
        peer.load(ours.v4, ours.psk, local="fqdn:behind.example.org", local_addrs=["192.168.77.2"])
        link = ours.connect(peer, peer_address=public, peer_id="behind.example.org", initiator="response-only")
        until(lambda: public in peer_addresses(ours), 10.0, lambda: str(link.shown))
        peer.initiate()
        link.wait_rekeyed()
        assert_pings_in_udp(link, recorder)
        ((sa),) = peer.sas()
        assert sa["nat-local"] == "yes"
        # With another peer address the peer is refused; with the former one it is accepted again.
        link.set(peer_address="198.51.100.201")
        peer.wait_down()
        until(lambda: public not in peer_addresses(ours), 10.0, lambda: str(link.shown))
        link.set(peer_address=public)
        until(lambda: public in peer_addresses(ours), 10.0, lambda: str(link.shown))
        peer.initiate()
        link.wait("ACTIVE")
        assert_pings_in_udp(link, recorder)
        ours.clear()


def peer_addresses(ours: Ours) -> list[str]:
    """Return the peer addresses that are configured in the gateway's charon."""
    with ours.charon() as charon:
        return [connection.peer_address for connection in charon.loaded().values()]


def test_the_gateway_is_behind_nat(ours: Ours, peer: Peer) -> None:
    """The gateway's next hop translates its packets: the peer sees the NAT's address and the gateway's identity."""
    with nat(ours.world, peer, "198.51.100.1", "203.0.113", "in0") as recorder:
        peer.load(
            ours.v4, ours.psk, local="203.0.113.2", remote=ours.v4, local_addrs=["203.0.113.2"], remote_addrs=["%any"]
        )
        link = ours.connect(peer, peer_address="203.0.113.2", peer_id="203.0.113.2")
        link.wait_rekeyed()
        assert_pings_in_udp(link, recorder)
        ((sa),) = peer.sas()
        assert (sa["remote-host"], sa["remote-id"], sa["nat-remote"]) == ("203.0.113.1", ours.v4, "yes")
        ours.clear()


def assert_pings_in_udp(link: Link, recorder: Callable[[], Recorder]) -> None:
    """Assert that pings pass, only as ESP in UDP (RFC 3948)."""
    with recorder() as seen:
        answer = ping_with_retry(lambda: link.ours.ping(link.peer.in4, 10, 0.02))
    assert (answer.received, seen.plaintext, seen.count("esp")) == (10, 0, 0)
    assert seen.count("udp_esp") >= 20
