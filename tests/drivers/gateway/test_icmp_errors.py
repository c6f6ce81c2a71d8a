"""ICMP errors about a silent peer, between two real namespaces; and what else arrives says nothing."""

from __future__ import annotations

import socket
import subprocess
from contextlib import closing

import pytest

from linkspan.drivers.gateway.icmp_errors import IcmpErrors, parse
from linkspan.drivers.linux import netns
from tests.drivers.gateway.icmp_ends import NETWORKS, ends, send
from tests.drivers.machine import eventually

__all__ = ["ends"]


@pytest.mark.root
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_closed_port_and_a_refusal_on_the_way_are_told_apart(ends: tuple[str, str], kind: str) -> None:
    near, far = ends
    ours, peer = NETWORKS[kind]
    with closing(netns.run_inside(near, IcmpErrors)) as errors:
        send(near, peer, 9)
        send(near, peer, 500)
        eventually(lambda: errors.about(peer) is not None)
        assert errors.about(peer) == ("PEER_PORT_CLOSED", peer)
        assert errors.about(ours) is None
        family = "ip" if kind == "ipv4" else "ip6"
        reject = f"table {family} no {{ chain in {{ type filter hook input priority 0; udp dport 500 reject with "
        reject += ("icmp admin-prohibited" if kind == "ipv4" else "icmpv6 admin-prohibited") + "; }; }"
        subprocess.run(["ip", "netns", "exec", far, "nft", reject], check=True)
        send(near, peer, 500)
        eventually(lambda: errors.about(peer) == ("PEER_UNREACHABLE_ICMP", peer))


@pytest.mark.root
def test_what_is_not_about_ike_says_nothing(ends: tuple[str, str]) -> None:
    """The control: the same error about another port."""
    near, _ = ends
    peer = NETWORKS["ipv4"][1]
    with closing(netns.run_inside(near, IcmpErrors)) as errors:
        send(near, peer, 9)
        send(near, NETWORKS["ipv6"][1], 500)
        eventually(lambda: errors.about(NETWORKS["ipv6"][1]) is not None)
        assert errors.about(peer) is None


@pytest.mark.parametrize("packet", [b"", b"E", bytes(19), b"\x45" + bytes(30), bytes(range(256))])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_what_is_cut_off_is_no_error(family: socket.AddressFamily, packet: bytes) -> None:
    assert parse(family, packet, "192.0.2.9") is None
