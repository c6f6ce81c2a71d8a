"""Hosts, bridges and the packet counter in real namespaces without gateways, where all traffic is plaintext."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.drivers.linux import interface_names, netlink, netns
from linkspan.drivers.local import sweep
from linkspan.lab import fabric
from linkspan.lab.fabric import LabError
from linkspan.lab.packet_counter import PacketCounter

pytestmark = pytest.mark.root

NETWORK = "5b1cf5a0-0000-4000-8000-000000000001"


@pytest.fixture
def instance() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces: sudo ./dev test tests/lab")
    name = secrets.token_hex(3)
    yield name
    sweep(name)
    prefix = interface_names.namespace_prefix(name)
    assert not [namespace for namespace in netns.names() if namespace.startswith(prefix)]


def bridge(instance: str) -> None:
    """Create the bridge of a network, as a gateway would."""

    def make() -> None:
        with netlink.connect() as kernel:
            kernel.add_bridge(interface_names.bridge(instance, NETWORK))
            link = kernel.link(interface_names.bridge(instance, NETWORK))
            assert link
            kernel.change(link, state="up")

    netns.run_inside(fabric.make_fabric(instance), make)


def test_hosts_ping_and_each_packet_is_counted_once(instance: str) -> None:
    bridge(instance)
    assert fabric.make_fabric(instance) == f"ls-{instance}-fabric"
    left = fabric.make_host(instance, "left", NETWORK, ("10.1.0.10/24", "fd00:1::10/64"), ("10.1.0.1", "fd00:1::1"))
    fabric.make_host(instance, "right", NETWORK, ("10.1.0.11/24", "fd00:1::11/64"), ("10.1.0.1",))
    inside = ("10.1.0.0/24", "fd00:1::/64")
    with PacketCounter(fabric.fabric_namespace(instance), interface_names.bridge(instance, NETWORK), inside) as wire:
        for destination in ("10.1.0.11", "fd00:1::11"):
            answer = fabric.ping(left.namespace, destination, 5, 0.02)
            assert (answer.sent, answer.received, answer.loss) == (5, 5, 0.0)
            assert answer.milliseconds > 0
    # Requests and replies of five pings each, and IPv6 neighbour solicitations and advertisements.
    assert 20 <= wire.tally.plaintext <= 24
    assert (wire.tally.protected, wire.tally.drops) == (0, 0)


def test_an_unanswered_ping_is_lost_and_a_failed_send_is_an_error(instance: str) -> None:
    bridge(instance)
    left = fabric.make_host(instance, "left", NETWORK, ("10.1.0.10/24",), ("10.1.0.1",))
    answer = fabric.ping(left.namespace, "10.1.0.99", 2, 0.02, 1)
    assert (answer.sent, answer.received, answer.loss) == (2, 0, 100.0)
    assert answer.lost == (0, 1)
    with pytest.raises(LabError, match="could not send: network is unreachable"):
        fabric.ping(left.namespace, "fd00:9::1", 2, 0.02, 1)


def test_a_late_answer_is_not_lost_even_the_last(instance: str) -> None:
    """The neighbour disappears before the last ping and comes back after it; the kernel resolves it once a second."""
    bridge(instance)
    left = fabric.make_host(instance, "left", NETWORK, ("10.1.0.10/24",), ("10.1.0.1",))
    right = fabric.make_host(instance, "right", NETWORK, ("10.1.0.11/24",), ("10.1.0.1",))
    with ThreadPoolExecutor(1) as pool:
        pinging = pool.submit(fabric.ping, left.namespace, "10.1.0.11", 2, 0.4)
        time.sleep(0.2)
        ip(right.namespace, "address", "del", "10.1.0.11/24", "dev", "eth0")
        ip(left.namespace, "neighbour", "flush", "dev", "eth0")
        time.sleep(0.6)
        ip(right.namespace, "address", "add", "10.1.0.11/24", "dev", "eth0")
        answer = pinging.result()
    assert (answer.received, answer.lost) == (2, ())
    assert answer.milliseconds > 200, "the second answer was not late"


def ip(namespace: str, *arguments: str) -> None:
    subprocess.run(["ip", "-n", namespace, *arguments], check=True)


def test_a_host_needs_its_bridge_and_stays_while_it_is_attached(instance: str) -> None:
    fabric.make_fabric(instance)
    with pytest.raises(LabError, match="no gateway has an interface on its network yet"):
        fabric.make_host(instance, "left", NETWORK, ("10.1.0.10/24",), ())
    bridge(instance)
    inodes: list[int] = []
    for _ in range(2):
        fabric.make_host(instance, "left", NETWORK, ("10.1.0.10/24",), ())
        fabric.remove(instance, "left")
    for _ in range(2):
        host = fabric.make_host(instance, "left", NETWORK, ("10.1.0.10/24",), ())
        inodes.append(netns.path(host.namespace).stat().st_ino)
    assert inodes[0] == inodes[1]


def test_counting_on_a_missing_bridge_is_an_error(instance: str) -> None:
    with (
        pytest.raises(OSError, match="there is no bridge"),
        PacketCounter(fabric.make_fabric(instance), "nothing", ()),
    ):
        pass
