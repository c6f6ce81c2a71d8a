"""Two namespaces with a link between them, whose ends send each other what has no taker."""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Iterator

import pytest

from linkspan.drivers.linux import netns

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
