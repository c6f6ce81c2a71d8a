"""ICMP errors about a silent peer, between two real namespaces; and what else arrives says nothing."""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from linkspan.drivers.gateway.icmp_errors import IcmpErrors, parse
from linkspan.drivers.linux import netns
from tests.drivers.machine import eventually

NETWORKS = {"ipv4": ("192.0.2.1", "192.0.2.2"), "ipv6": ("2001:db8::1", "2001:db8::2")}
LENGTHS = {"ipv4": 24, "ipv6": 64}


@pytest.fixture
def ends() -> Iterator[tuple[str, str]]:
    """Two namespaces with a link between them."""
    tag = secrets.token_hex(3)
    names = (f"ls-icmp-{tag}-a", f"ls-icmp-{tag}-b")
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        near = ["ip", "-n", names[0]]
        subprocess.run(
            [*near, "link", "add", "out0", "type", "veth", "peer", "name", "out0", "netns", names[1]], check=True
        )
        for number, name in enumerate(names):
            inside = ["ip", "-n", name]
            for kind, addresses in NETWORKS.items():
                address = f"{addresses[number]}/{LENGTHS[kind]}"
                nodad = ["nodad"] if kind == "ipv6" else []
                subprocess.run([*inside, "address", "add", address, "dev", "out0", *nodad], check=True)
            for link in ("lo", "out0"):
                subprocess.run([*inside, "link", "set", link, "up"], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=True)


def send(name: str, address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def run() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", (address, port))

    netns.run_inside(name, run)


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
