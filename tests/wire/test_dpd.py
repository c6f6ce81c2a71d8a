"""Dead peer detection: the time until a dead peer is detected, the effect of each action, and the recovery.

The peer is a plain one: its packets are dropped by nftables, and its recorder is in front of that.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from linkspan.drivers.linux import esp_backend
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import INFORMATIONAL, INFORMATIONAL_V1, Recorder
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NewPeer = Callable[[], Peer]
VERSIONS = tuple(f"v{version}" for version in sorted(IKE_VERSIONS))
TIMEOUTS = {"hold": 6, "clear": 8, "restart": 6, "restart-by-peer": 9, "disabled": 6}


def dpd(action: str, interval: int, timeout: int) -> dict[str, Any]:
    return {"action": action, "interval": interval, "timeout": timeout}


def connect(ours: Ours, peer: Peer, version: str, **values: Any) -> Link:
    """Create a connection to a peer that replaces old IKE SAs on a new one from the gateway."""
    peer.load(ours.v4, ours.psk, version=version[1:], unique="replace")
    return ours.connect(peer, ike={"ike_version": version}, **values)


def probes(seen: Recorder, since: float = 0.0) -> list[float]:
    """Return the times at which the gateway sent INFORMATIONAL messages, as DPD does."""
    kinds = (INFORMATIONAL, INFORMATIONAL_V1)
    return [
        packet.at
        for packet in seen.ike(sent=False)
        if packet.ike and packet.ike.exchange in kinds and packet.at >= since
    ]


def peer_packets(seen: Recorder) -> list[float]:
    """Return the times at which the peer sent IKE or ESP."""
    return [packet.at for packet in list(seen.packets) if packet.sent and packet.kind in ("ike", "udp_esp", "esp")]


def wait_for_liveness(seen: dict[str, Recorder], links: list[Link]) -> None:
    """Wait for a packet of each peer. charon counts whole seconds, so a response may come up to a second late."""
    until(lambda: all(peer_packets(seen[link.id]) for link in links), 6.0)


@contextmanager
def recorders(links: list[Link]) -> Iterator[dict[str, Recorder]]:
    """Record at the peer of each connection; yield the recorders by the connection's id."""
    with ExitStack() as stack:
        yield {link.id: stack.enter_context(link.peer.recorder()) for link in links}


def wait_down(links: list[Link], seconds: float) -> dict[str, tuple[float, str]]:
    """Wait until the connections are DOWN, at most this time; return time and reason of those that are, by id."""
    down: dict[str, tuple[float, str]] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(down) < len(links):
        connections = links[0].ours.world.user.request("GET", f"{VPN}/{CONNECTIONS}")[CONNECTIONS.replace("-", "_")]
        for connection in connections:
            if connection["status"] == "DOWN":
                down.setdefault(connection["id"], (time.monotonic(), connection["status_reason"]))
        time.sleep(0.03)
    return {link.id: down[link.id] for link in links if link.id in down}


def up_again(link: Link, seconds: float = 40.0) -> None:
    link.wait("ACTIVE", seconds)
    link.assert_pings()


@pytest.mark.shows("connection.dpd.action", "connection.dpd.timeout")
def test_every_action_when_the_peer_becomes_unreachable(ours: Ours, new_peer: NewPeer) -> None:
    links = {
        (version, action): connect(ours, new_peer(), version, dpd=dpd(action, 2, timeout))
        for version in VERSIONS
        for action, timeout in TIMEOUTS.items()
    }
    watched = [link for (_, action), link in links.items() if action != "disabled"]
    for link in links.values():
        link.wait_rekeyed()
    with recorders(list(links.values())) as seen:
        for (version, _), link in links.items():
            if version == "v2":
                link.assert_pings()  # the last packet of the peer is ESP, else an IKE response
        time.sleep(2.0)
        wait_for_liveness(seen, watched)
        for link in links.values():
            link.peer.cut()
        cut = time.monotonic()
        down = wait_down(watched, 14.0)
        time.sleep(1.5)
        for (version, action), link in links.items():
            case = f"{version} {action}"
            if action == "disabled":
                assert (link.status, probes(seen[link.id])) == ("ACTIVE", []), case
                continue
            assert link.id in down, f"{case}: not down {time.monotonic() - cut:.1f} s after the cut"
            at, reason = down[link.id]
            after, timeout = at - max(peer_packets(seen[link.id])), TIMEOUTS[action]
            print(f"{case}: DOWN {after:.2f} s after the peer's last packet")
            assert 0.8 * timeout <= after <= 1.2 * timeout, case
            assert f"did not answer for {timeout} s" in reason, case
            tries = seen[link.id].initiations(at - 0.5)
            assert bool(tries) == initiates(action), f"{case}: {tries} first IKE messages"
        healed = time.monotonic()
        for link in links.values():
            link.peer.heal()
        for (_, action), link in links.items():
            if action == "disabled":
                link.assert_pings()
            elif initiates(action):
                up_again(link)
        for version in VERSIONS:
            assert links[version, "clear"].status == "DOWN"
            assert seen[links[version, "clear"].id].initiations(healed) == 0
    waits = links["v2", "clear"].peer
    waits.restart()
    waits.load(ours.v4, ours.psk)
    waits.initiate()  # initiated by the peer
    links[VERSIONS[0], "clear"].set(dpd=dpd("clear", 2, 7))  # initiated by an update
    for version in VERSIONS:
        up_again(links[version, "clear"])


def initiates(action: str) -> bool:
    """True if the gateway initiates by itself after the peer was declared dead."""
    return action in ("restart", "restart-by-peer") or (action == "hold" and esp_backend.detect() == "user-space")


@pytest.mark.shows("connection.dpd.interval", "connection.dpd.action")
def test_probes_are_sent_at_the_interval(ours: Ours, new_peer: NewPeer) -> None:
    links = [connect(ours, new_peer(), version, dpd=dpd("restart", 1, 60)) for version in VERSIONS]
    quiet = [connect(ours, new_peer(), version, dpd=dpd("disabled", 1, 60)) for version in VERSIONS]
    wait_settled(links + quiet)
    assert_probes(links + quiet, 5.5, intervals={link.id: 1 for link in links})
    for link in links:
        link.set(dpd={"interval": 3})
    for link in quiet:
        link.set(dpd={"action": "restart"})
    wait_settled(links + quiet)
    assert_probes(links + quiet, 9.0, intervals={link.id: 1 if link in quiet else 3 for link in links + quiet})
    for link in links + quiet:
        link.set(dpd={"action": "disabled"})
    wait_settled(links + quiet)
    assert_probes(links + quiet, 5.0, intervals={})


def wait_settled(links: list[Link]) -> None:
    """Wait until the newest version of each connection is up and the previous one is deleted at both ends."""
    for link in links:
        link.wait_rekeyed()
        until(lambda link=link: len(link.sas()) == len(link.peer.children()) == 1, 10.0)  # type: ignore[misc]


def assert_probes(links: list[Link], seconds: float, intervals: dict[str, int]) -> None:
    """Assert that probes are sent at the interval of each connection, and none for connections without an interval.

    charon counts whole seconds, so two probes are an interval and up to a second apart (strongSwan:
    src/libcharon/sa/ike_sa.c, send_dpd).
    """
    with recorders(links) as seen:
        time.sleep(seconds)
    for link in links:
        times = probes(seen[link.id])
        if link.id not in intervals:
            assert times == []
            continue
        interval = intervals[link.id]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert gaps, f"only {len(times)} probes in {seconds} s"
        assert all(interval - 0.2 <= gap <= interval + 1.5 for gap in gaps), gaps


@pytest.mark.shows("connection.dpd.action", "connection.dpd.timeout")
def test_an_update_of_action_and_timeout_applies_at_once(ours: Ours, new_peer: NewPeer) -> None:
    shorter = [connect(ours, new_peer(), version, dpd=dpd("restart", 2, 60)) for version in VERSIONS]
    longer = [connect(ours, new_peer(), version, dpd=dpd("clear", 2, 4)) for version in VERSIONS]
    for link in shorter + longer:
        link.wait_rekeyed()
    before = [link.sas() for link in shorter + longer]
    for link in shorter:
        link.set(dpd={"action": "clear", "timeout": 5})
    for link in longer:
        link.set(dpd={"action": "restart", "timeout": 9})
    for link in shorter + longer:
        link.wait("ACTIVE")
    assert [link.sas() for link in shorter + longer] == before, "the update must not change any SA"
    with recorders(shorter + longer) as seen:
        wait_for_liveness(seen, shorter + longer)
        for link in shorter + longer:
            link.peer.cut()
        down = wait_down(shorter + longer, 13.0)
        time.sleep(1.0)
        for link in shorter + longer:
            timeout, again = (5, False) if link in shorter else (9, True)
            assert link.id in down
            at, reason = down[link.id]
            assert 0.8 * timeout <= at - max(peer_packets(seen[link.id])) <= 1.2 * timeout
            assert f"did not answer for {timeout} s" in reason
            assert bool(seen[link.id].initiations(at - 0.5)) == again


def two_to_one_peer(ours: Ours, peer: Peer, first: dict[str, Any], second: dict[str, Any]) -> tuple[Link, Link]:
    """Create two connections that share an IKE SA with the peer, one to each half of the peer's network."""
    halves = [peer.net4.replace("0/24", half) for half in ("0/25", "128/25")]
    children = {
        f"net{number}": {
            "local_ts": [half],
            "remote_ts": ["10.1.0.0/24"],
            "esp_proposals": ["aes128-sha256-modp2048"],
        }
        for number, half in enumerate(halves)
    }
    peer.run("ip", "address", "add", peer.in4.replace(".0.1", ".0.129") + "/32", "dev", "lo")
    peer.load(ours.v4, ours.psk, children=children, unique="replace")
    links = [
        ours.connect(peer, local=(4,), peers=[half], dpd=values)
        for half, values in zip(halves, (first, second), strict=True)
    ]
    for link in links:
        link.wait_rekeyed()
    until(lambda: len({sa["uniqueid"] for link in links for sa in link.sas()}) == 1, 20.0)
    return links[0], links[1]


def assert_both_pings(first: Link, second: Link) -> None:
    first.assert_pings(first.peer.in4)
    second.assert_pings(first.peer.in4.replace(".0.1", ".0.129"))


@pytest.mark.shows("connection.dpd.timeout")
def test_connections_that_share_an_ike_sa_have_their_own_timeouts(ours: Ours, peer: Peer) -> None:
    hasty, patient = two_to_one_peer(ours, peer, dpd("restart", 1, 4), dpd("restart", 1, 14))
    before = patient.sas()
    peer.cut()
    assert hasty.id in wait_down([hasty], 8.0)
    assert patient.status == "ACTIVE"
    time.sleep(1.0)
    peer.heal()
    hasty.wait("ACTIVE")
    assert (patient.status, patient.sas()) == ("ACTIVE", before), (
        "the timeout of one connection must not affect the other"
    )
    assert_both_pings(hasty, patient)
    peer.cut()
    assert len(wait_down([hasty, patient], 20.0)) == 2
    until(lambda: not hasty.sas() and not patient.sas(), 5.0, lambda: str((hasty.sas(), patient.sas())))
    peer.heal()
    for link in (hasty, patient):
        link.wait("ACTIVE", 40.0)
    assert_both_pings(hasty, patient)


@pytest.mark.shows("connection.dpd.action")
def test_restart_by_peer_restarts_all_connections_to_the_peer(ours: Ours, peer: Peer) -> None:
    first, second = two_to_one_peer(ours, peer, dpd("restart-by-peer", 1, 4), dpd("clear", 1, 60))
    peer.cut()
    down = wait_down([first, second], 8.0)
    assert down.keys() == {first.id, second.id}
    assert "restart-by-peer" in down[second.id][1]
    peer.heal()
    for link in (first, second):
        link.wait("ACTIVE", 40.0)
    assert_both_pings(first, second)
