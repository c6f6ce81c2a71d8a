"""IKE from addresses that nobody has: live tunnels go on, and a peer comes up, while the gateway gets 1,000 requests a
second. The control shows that without the limit the tunnel stops."""

from __future__ import annotations

import ipaddress
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import pytest

from linkspan.lab.fabric import Ping, ping
from tests.harness.ours import Ours
from tests.harness.peer import Peer
from tests.harness.storm import IkeStorm
from tests.harness.world import World, frozen, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

RATE = 1000


def absent(version: int) -> list[str]:
    """Addresses of the external network that nobody has: the peers of tests have those from 100 on."""
    base = ipaddress.ip_address({4: "198.51.100.0", 6: "2001:db8:ffff::1000"}[version])
    return [str(base + number) for number in (*range(20, 100), *range(150, 250))]


@contextmanager
def storm(ours: Ours, sources: list[str], port: int = 500) -> Iterator[IkeStorm]:
    world = ours.world
    link = world.inside(ours.gateway, "ip", "-o", "link", "show", "out0")
    hardware = link.partition("link/ether ")[2].split()[0]
    target = ours.v6 if ":" in sources[0] else ours.v4
    with IkeStorm(
        world.lab["fabric"], world.lab["internet"]["bridge"], hardware, target, sources, RATE, port
    ) as running:
        until(lambda: running.sent > 2 * RATE, 10.0)
        yield running


def pings(world: World) -> Ping:
    return ping(world.host("left"), "10.2.0.10", 150, 0.02, timeout=1)


@pytest.mark.security(
    "storm",
    tried="1,000 IKE requests a second from addresses that nobody has",
    control="test_without_the_limit_the_tunnel_stops",
)
@pytest.mark.parametrize(("version", "port"), [(4, 500), (4, 4500), (6, 500)])
def test_live_tunnels_go_on(ours: Ours, version: int, port: int) -> None:
    until(ours.world.one_tunnel, 40.0)
    with storm(ours, absent(version), port) as running:
        answer = pings(ours.world)
        sent = running.sent
    print(f"IPv{version}, port {port}: {answer.received} of {answer.sent} pings while {sent} requests were sent")
    assert answer.received >= answer.sent - 1


def test_live_tunnels_go_on_while_a_configured_peer_is_absent(ours: Ours) -> None:
    """Configured peers are not limited: what waits for one that is absent is."""
    until(ours.world.one_tunnel, 40.0)
    sources = absent(4)[:5]
    for number, source in enumerate(sources):
        nobody = SimpleNamespace(v4=source, net4=f"10.12{number}.0.0/24")
        ours.connect(cast("Peer", nobody), initiator="response-only")
    limits = ("nft", "list", "table", "inet", "linkspan-ike")
    until(lambda: all(source in ours.world.inside(ours.gateway, *limits) for source in sources), 10.0)
    with storm(ours, sources) as running:
        answer = pings(ours.world)
        sent = running.sent
    print(f"{len(sources)} absent peers: {answer.received} of {answer.sent} pings while {sent} requests were sent")
    assert answer.received >= answer.sent - 1


def test_a_peer_comes_up_meanwhile(ours: Ours, peer: Peer) -> None:
    link = ours.connect(peer, initiator="response-only")
    peer.load(ours.v4, ours.psk)
    until(lambda: peer.v4 in ours.world.inside(ours.gateway, "nft", "list", "table", "inet", "linkspan-ike"), 10.0)
    with storm(ours, absent(4)):
        start = time.monotonic()
        peer.initiate()
        until(lambda: link.status == "ACTIVE", 20.0)
        print(f"a peer that initiates came up after {time.monotonic() - start:.2f} s")


def limit(ours: Ours, flags: str, waiting: int) -> None:
    """Change the flags of the limit's table, and the bytes that may wait for one neighbour."""
    ours.world.inside(ours.gateway, "nft", f"add table inet linkspan-ike {flags}")
    for version in (4, 6):
        ours.world.inside(ours.gateway, "sysctl", "-qw", f"net.ipv{version}.neigh.out0.unres_qlen_bytes={waiting}")


def test_without_the_limit_the_tunnel_stops(ours: Ours) -> None:
    """The control. The agent is stopped, so that it does not put the limit back."""
    world = ours.world
    until(world.one_tunnel, 40.0)
    with frozen(world.agent_pid):
        limit(ours, "{ flags dormant; }", 212992)
        try:
            with storm(ours, absent(4)):
                answer = pings(world)
        finally:
            limit(ours, "", 8192)
    print(f"without the limit: {answer.received} of {answer.sent} pings")
    assert answer.received < answer.sent // 2
    # charon would go on for minutes to send the answers that it has queued.
    os.kill(world.charon_pid("left"), signal.SIGKILL)
    until(lambda: ping(world.host("left"), "10.2.0.10", 3, 0.02, timeout=1).received == 3, 30.0)
