"""Connections to different peers with overlapping selectors: exactly one carries each packet, and the reasons say it.

The peers stand for two endpoints of one cloud, so both have the same network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linkspan.drivers.linux import esp_backend
from linkspan.lab.fabric import ping
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

SLOW = 4 if esp_backend.detect() == "kernel" else 1
DPD = {"action": "restart", "interval": 1, "timeout": 3}
SPARE = "spare of connection"


def _both(ours: Ours, new_peer: Callable[[], Peer], **values: Any) -> tuple[list[Peer], list[Link]]:
    """Two peers with the network of the first one, and connections that are up and settled."""
    peers = [new_peer(), new_peer()]
    peers[1].run("ip", "address", "add", f"{peers[0].in4}/24", "dev", "lo")
    links = []
    for peer in peers:
        peer.load(ours.v4, ours.psk, child={"local_ts": [peers[0].net4]}, dpd_delay="2s")
        links.append(ours.connect(peer, peer_cidrs=[peers[0].net4], dpd=DPD, **values))
    for link in links:
        link.wait_rekeyed(20.0 * SLOW)
    return peers, links


def _wait_carrier(links: list[Link], carrier: int) -> None:
    """Wait until one connection carries the traffic and the other is its spare, and both say so."""
    spare = f"{SPARE} {links[carrier].id}, which carries the traffic"
    until(
        lambda: (links[carrier].reason, links[1 - carrier].reason) == ("", spare),
        20.0 * SLOW,
        lambda: str([link.shown for link in links]),
    )


def _assert_only(links: list[Link], carrier: int, destination: str) -> None:
    """Assert that pings go through one of two peers, and none through the other."""
    with links[0].peer.recorder() as first, links[1].peer.recorder() as second:
        answer = links[0].ours.ping(destination, 20, 0.02)
    records = (first, second)
    assert (answer.received, first.plaintext, second.plaintext) == (20, 0, 0)
    assert records[carrier].esp >= 40
    assert records[1 - carrier].esp == 0


@pytest.mark.shows("connection.peer_cidrs")
def test_of_two_equal_connections_one_carries_and_the_other_takes_over(
    ours: Ours, new_peer: Callable[[], Peer]
) -> None:
    peers, links = _both(ours, new_peer)
    # The one with the lower address is preferred.
    _wait_carrier(links, 0)
    _assert_only(links, 0, peers[0].in4)
    # The other end deletes its tunnel: no packet is lost for longer than the delete takes.
    with ThreadPoolExecutor(1) as pool:
        pinging = pool.submit(ping, ours.host, peers[0].in4, 1000, 0.005)
        time.sleep(0.5)
        peers[0].unload()
        peers[0].terminate()
        answer = pinging.result()
    until(lambda: links[1].reason == "", 10.0 * SLOW, lambda: str(links[1].shown))
    assert [link.status for link in links][1] == "ACTIVE"
    assert answer.received > 900, answer
    assert ours.ping(peers[0].in4).received == 3
    # It comes back, and so does the traffic.
    peers[0].load(ours.v4, ours.psk, child={"local_ts": [peers[0].net4]})
    links[0].wait_rekeyed(60.0 * SLOW)
    _wait_carrier(links, 0)
    _assert_only(links, 0, peers[0].in4)


@pytest.mark.shows("connection.dpd")
@pytest.mark.parametrize("action", ["restart", "hold", "clear"])
def test_a_silent_peer_is_replaced_by_its_spare_at_the_dpd_timeout(
    ours: Ours, new_peer: Callable[[], Peer], action: str
) -> None:
    peers, links = _both(ours, new_peer)
    for link in links:
        link.set(dpd=DPD | {"action": action})
    _wait_carrier(links, 0)
    peers[0].cut()
    try:
        until(lambda: ours.ping(peers[0].in4, 1).received == 1, (DPD["timeout"] + 7.0) * SLOW)  # type: ignore[operator]
        until(lambda: links[0].status != "ACTIVE", 10.0 * SLOW)
        assert (links[1].status, links[1].reason) == ("ACTIVE", "")
    finally:
        peers[0].heal()
    if action == "clear":
        peers[0].restart()
        peers[0].load(ours.v4, ours.psk, child={"local_ts": [peers[0].net4]})
        peers[0].initiate()
    links[0].wait("ACTIVE", 60.0 * SLOW)
    _wait_carrier(links, 0)
