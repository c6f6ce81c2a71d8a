"""Connections to different peers with overlapping selectors: exactly one carries each packet, and the reasons say it.

The peers stand for two endpoints of one cloud, so both have the same network.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linkspan.drivers.linux import esp_backend
from linkspan.lab.fabric import ping
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

DPD = {"action": "restart", "interval": 1, "timeout": 3}
SPARE = "spare of connection"


def _both(ours: Ours, new_peer: Callable[[], Peer], **values: Any) -> tuple[list[Peer], list[Link]]:
    """Two peers with the network of the first one, and connections that are up and settled."""
    peers = [new_peer(), new_peer()]
    peers[1].run("ip", "address", "add", f"{peers[0].in4}/24", "dev", "lo")
    links = []
    for peer in peers:
        peer.load(ours.v4, ours.psk, child={"local_ts": [peers[0].net4]}, dpd_delay="2s")
        links.append(ours.connect(peer, peer_cidrs=[peers[0].net4], **{"dpd": DPD} | values))
    for link in links:
        link.wait_rekeyed(20.0)
    return peers, links


def _carrying(links: list[Link], destination: str) -> list[bool]:
    """Tells whether a ping goes through each of two connections: charon's list does not say it."""
    with links[0].peer.recorder() as first, links[1].peer.recorder() as second:
        links[0].ours.ping(destination, 1)
    return [first.esp > 0, second.esp > 0]


def _wait_carrier(
    links: list[Link], carrier: int, destination: str, ending: str = ", which carries the traffic"
) -> None:
    """Wait until one connection carries the traffic and the other is its spare, and both say so.

    `ending`: what the spare's reason says behind the carrier's id.
    """
    said = ("", f"{SPARE} {links[carrier].id}{ending}")
    carrying = [carrier == 0, carrier == 1]

    def settled() -> bool:
        reasons = links[carrier].reason, links[1 - carrier].reason
        return reasons == said and _carrying(links, destination) == carrying

    until(settled, 20.0, lambda: f"{[link.shown for link in links]}, carrying: {_carrying(links, destination)}")


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
    _wait_carrier(links, 0, peers[0].in4)
    _assert_only(links, 0, peers[0].in4)
    # The other end deletes its tunnel: no packet is lost for longer than the delete takes.
    with ThreadPoolExecutor(1) as pool:
        pinging = pool.submit(ping, ours.host, peers[0].in4, 1000, 0.005)
        time.sleep(0.5)
        peers[0].unload()
        peers[0].terminate()
        answer = pinging.result()
    until(lambda: links[1].reason == "", 10.0, lambda: str(links[1].shown))
    assert [link.status for link in links][1] == "ACTIVE"
    assert answer.received > 900, answer
    assert ours.ping(peers[0].in4).received == 3
    # It comes back, and so does the traffic.
    peers[0].load(ours.v4, ours.psk, child={"local_ts": [peers[0].net4]})
    links[0].wait_rekeyed(60.0)
    _wait_carrier(links, 0, peers[0].in4)
    _assert_only(links, 0, peers[0].in4)


def test_a_rekey_that_was_begun_first_and_ends_last_takes_the_traffic_for_a_moment_only(
    ours: Ours, new_peer: Callable[[], Peer]
) -> None:
    """The spare's child is installed last then, although it has the lower unique id."""
    peers, links = _both(ours, new_peer, dpd={"action": "restart", "interval": 30, "timeout": 120})
    _wait_carrier(links, 0, peers[0].in4)
    preferred, spare = (max(int(child["uniqueid"]) for child in link.listed()) for link in links)
    with ours.charon() as charon:

        def states(link: Link) -> dict[int, str]:
            children = [child for sa in charon.sas() for child in sa.children]
            return {child.unique_id: child.state for child in children if child.name.startswith(link.id)}

        os.kill(peers[1].process.pid, signal.SIGSTOP)
        try:
            charon.rekey(spare)
            until(lambda: "REKEYING" in states(links[1]).values(), 10.0)
            charon.rekey(preferred)
            until(lambda: any(id > preferred for id in states(links[0])), 10.0, lambda: str(states(links[0])))
        finally:
            os.kill(peers[1].process.pid, signal.SIGCONT)
        until(lambda: max(states(links[1])) > spare, 10.0, lambda: str(states(links[1])))
    for link in links:
        link.wait_rekeyed()
    _wait_carrier(links, 0, peers[0].in4)
    _assert_only(links, 0, peers[0].in4)


@pytest.mark.shows("connection.dpd")
@pytest.mark.parametrize("action", ["restart", "hold", "clear"])
def test_a_silent_peer_is_replaced_by_its_spare_at_the_dpd_timeout(
    ours: Ours, new_peer: Callable[[], Peer], action: str
) -> None:
    peers, links = _both(ours, new_peer)
    for link in links:
        link.set(dpd=DPD | {"action": action})
    _wait_carrier(links, 0, peers[0].in4)
    peers[0].cut()
    try:
        until(lambda: ours.ping(peers[0].in4, 1).received == 1, DPD["timeout"] + 7.0)  # type: ignore[operator]
        until(lambda: links[0].status != "ACTIVE", 10.0)
        assert (links[1].status, links[1].reason) == ("ACTIVE", "")
    finally:
        peers[0].heal()
    if action == "clear":
        peers[0].restart()
        peers[0].load(ours.v4, ours.psk, child={"local_ts": [peers[0].net4]})
        peers[0].initiate()
    links[0].wait("ACTIVE", 60.0)
    _wait_carrier(links, 0, peers[0].in4)


KINDS: dict[str, dict[str, Any]] = {
    "IKEv1": {"ike": {"ike_version": "v1"}},
    "response-only": {"initiator": "response-only"},
    "IPv6 inside": {"family": 6},
    "some pairs of a list that comes last": {"more": True, "order": (0, 1)},
    "some pairs of a list that comes first": {"more": True, "order": (1, 0)},
    "different IKE policies": {"other_ike": {"lifetime": {"value": 7200}}},
}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs_ikev1) if kind == "IKEv1" else kind for kind in KINDS])
def test_each_kind_of_connection_has_a_spare(ours: Ours, new_peer: Callable[[], Peer], kind: str) -> None:
    options = KINDS[kind]
    family: int = options.get("family", 4)
    peers, by_number = [new_peer(), new_peer()], dict[int, Link]()
    network, target = (peers[0].net4, peers[0].in4) if family == 4 else (peers[0].net6, peers[0].in6)
    length = network.rpartition("/")[2]
    peers[1].run("ip", "address", "add", f"{target}/{length}", "dev", "lo", *(["nodad"] if family == 6 else []))
    ike = options.get("ike", {})
    order: tuple[int, ...] = options.get("order", (0, 1))
    for number in order:
        peer = peers[number]
        networks = [network] if not (number and options.get("more")) else [network, peer.net4]
        remote = "10.1.0.0/24" if family == 4 else "fd00:1::/64"
        child = {"local_ts": networks, "remote_ts": [remote]}
        peer.load(ours.v4, ours.psk, child=child, version=ike.get("ike_version", "v2")[1:])
        inside: dict[str, Any] = {"peer_cidrs": networks} if family == 4 else {"local": [6], "peers": networks}
        values = {"initiator": options.get("initiator", "bi-directional")} | inside
        link = by_number[number] = ours.connect(peer, ike=options.get("other_ike", ike) if number else ike, **values)
        if "initiator" in options:
            link.wait_reason("waits for the peer")
            peer.initiate()
        if "order" in options:
            link.wait("ACTIVE", 30.0)
    links = [by_number[number] for number in range(2)]
    for link in links:
        # In IKEv1 the first key exchange is the child's own, and a rekeyed child stays listed.
        link.wait("ACTIVE", 30.0) if kind == "IKEv1" else link.wait_rekeyed(30.0)
    # In user space no rekey changes the order of different lists.
    carrier = order[-1] if "order" in options and esp_backend.detect() == "user-space" else 0
    _wait_carrier(
        links, carrier, target, *([" for 1 of 2 selector pairs"] if options.get("more") and not carrier else [])
    )
    assert ours.ping(target, 10).received == 10
    links[carrier].set(admin_state_up=False)
    until(lambda: links[carrier].status == "DOWN" and links[1 - carrier].reason == "", 10.0)
    with peers[1 - carrier].recorder() as used:
        assert ours.ping(target, 10).received == 10
    assert (used.esp >= 20, used.plaintext) == (True, 0)


# --- a more specific tunnel inside a wider one --------------------------------------------------------------------


def around(peer: Peer) -> str:
    """A network that holds the peer's and its neighbours' networks, and none of ours."""
    return str(ipaddress.ip_network(f"{peer.in4}/10", strict=False))


@pytest.fixture
def nested(ours: Ours, new_peer: Callable[[], Peer]) -> tuple[Link, Link]:
    """A connection to a network, and one to another peer that has a wider network around it; both are up.

    The wider one's peer would answer for the network too.
    """
    narrow, wide = new_peer(), new_peer()
    if around(narrow) != around(wide):
        narrow, wide = wide, new_peer()
    wide.run("ip", "address", "add", f"{narrow.in4}/24", "dev", "lo")
    narrow.load(ours.v4, ours.psk)
    wide.load(ours.v4, ours.psk, child={"local_ts": [around(narrow)]})
    links = ours.connect(narrow, dpd=DPD), ours.connect(wide, peer_cidrs=[around(narrow)])
    for link in links:
        link.wait_rekeyed(20.0)
    return links


def _assert_blocked(narrow: Link, wide: Link, elsewhere: str) -> None:
    """Assert that pings to the narrow connection's network go nowhere, and pings to another address pass."""
    with narrow.peer.recorder() as first, wide.peer.recorder() as second:
        answer = narrow.ours.ping(narrow.peer.in4, 20, 0.02)
    assert (answer.received, first.plaintext, second.plaintext, second.esp) == (0, 0, 0, 0)
    assert narrow.ours.ping(elsewhere).received == 3


@pytest.mark.shows("connection.peer_cidrs")
def test_the_more_specific_connection_wins_and_is_not_replaced_while_it_is_down(
    ours: Ours, nested: tuple[Link, Link]
) -> None:
    narrow, wide = nested
    assert (narrow.reason, wide.reason) == ("", "")
    for link, target in ((narrow, narrow.peer.in4), (wide, wide.peer.in4)):
        with link.peer.recorder() as used:
            assert ours.ping(target, 10, 0.02).received == 10
        assert used.esp >= 20
    # Its peer deletes the tunnel and has no configuration for it any more.
    narrow.peer.unload()
    narrow.peer.terminate()
    until(lambda: narrow.status != "ACTIVE", 10.0)
    _assert_blocked(narrow, wide, wide.peer.in4)
    narrow.peer.load(ours.v4, ours.psk)
    narrow.peer.initiate()
    narrow.wait("ACTIVE", 40.0)
    assert ours.ping(narrow.peer.in4).received == 3
    # Its peer is dead.
    narrow.peer.kill()
    until(lambda: narrow.status != "ACTIVE", 20.0)
    _assert_blocked(narrow, wide, wide.peer.in4)
    # It is disabled.
    narrow.set(admin_state_up=False)
    until(lambda: narrow.reason == "admin_state_up is false", 10.0)
    _assert_blocked(narrow, wide, wide.peer.in4)
    # It is deleted: now the wider one has the whole network.
    ours.delete("ipsec-site-connections", narrow.id)
    until(lambda: ours.ping(narrow.peer.in4, 1).received == 1, 10.0)


def test_a_connection_that_was_never_up_is_blocked_and_one_inside_it_passes(
    ours: Ours, nested: tuple[Link, Link], new_peer: Callable[[], Peer]
) -> None:
    narrow, wide = nested
    silent, host = new_peer(), new_peer()
    network = f"{wide.peer.in4.rpartition('.')[0]}.0/24"
    never = ours.connect(silent, peer_cidrs=[network])
    never.wait_reason("refused", 20.0)
    assert ours.ping(wide.peer.in4, 3).received == 0
    assert ours.ping(narrow.peer.in4).received == 3
    host.run("ip", "address", "add", f"{wide.peer.in4}/32", "dev", "lo")
    host.load(ours.v4, ours.psk, child={"local_ts": [f"{wide.peer.in4}/32"]})
    ours.connect(host, peer_cidrs=[f"{wide.peer.in4}/32"]).wait("ACTIVE", 20.0)
    with host.recorder() as used:
        until(lambda: ours.ping(wide.peer.in4, 1).received == 1, 10.0)
    assert used.esp >= 2
