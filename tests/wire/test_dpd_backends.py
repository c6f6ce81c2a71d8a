"""Dead peer detection where the ESP backends differ: inbound traffic as liveness, and the action `hold`.

Only the kernel sends charon an acquire for traffic without an SA, which `hold` waits for. With user-space ESP `hold`
acts as `restart`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from linkspan.core.tunnel.attempts import ATTEMPT
from linkspan.drivers.linux import esp_backend
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import Recorder
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

HOLD = {"action": "hold", "interval": 1, "timeout": 4}
DROP_IKE = """\
table inet cut {
    chain deaf {
        type filter hook prerouting priority -400
        udp dport 500 drop
        udp dport 4500 @th,64,32 0 drop
    }
}
"""


def traps(ours: Ours) -> frozenset[tuple[str, str]]:
    with ours.world.charon("left") as charon:
        return charon.traps()


def half_open(ours: Ours, link: Link) -> int:
    """Return the number of half-open IKE SAs with the peer."""
    with ours.world.charon("left") as charon:
        return sum(sa.state == "CONNECTING" and sa.remote_address == link.peer.v4 for sa in charon.sas())


def send_blocked_traffic(link: Link) -> None:
    """Send traffic that must not pass, neither as ESP nor in plaintext."""
    with link.peer.recorder() as seen:
        assert link.ours.ping(link.peer.in4, 2, 0.1).received == 0
    assert seen.plaintext == 0, "traffic left in plaintext"


@contextmanager
def dead_peer(ours: Ours, peer: Peer) -> Iterator[tuple[Link, Recorder]]:
    """Provide a connection whose peer has just been declared dead."""
    peer.load(ours.v4, ours.psk, unique="replace")
    link = ours.connect(peer, dpd=HOLD)
    link.wait("ACTIVE")
    link.assert_pings()
    with peer.recorder() as seen, ours.world.next_hop():
        peer.cut()
        link.wait_reason("did not answer for 4 s", 12.0)
        yield link, seen


@pytest.mark.shows("connection.dpd.action")
def test_hold_initiates_on_traffic(ours: Ours, peer: Peer) -> None:
    with dead_peer(ours, peer) as (link, seen):
        if esp_backend.detect() == "user-space":
            until(lambda: seen.attempts() > 0, 3.0)
            send_blocked_traffic(link)
            peer.heal()
            link.wait("ACTIVE", 40.0)
            link.assert_pings()
            return
        assert "waits for traffic" in link.reason
        assert len(traps(ours)) == 1
        time.sleep(5.0)
        assert (seen.attempts(), link.status) == (0, "DOWN"), "there is no traffic"
        send_blocked_traffic(link)
        start = time.monotonic()
        until(lambda: seen.attempts() == 1, 5.0)
        time.sleep(ATTEMPT - 3.0)
        assert half_open(ours, link) == 1, "an attempt that traffic initiated lasts its full time"
        until(lambda: half_open(ours, link) == 0, 10.0)
        assert time.monotonic() - start < ATTEMPT + 3.0, "the attempt lasted longer"
        assert len(traps(ours)) == 1
        time.sleep(3.0)
        assert seen.attempts() == 1, "without traffic nothing is initiated"
        send_blocked_traffic(link)
        until(lambda: seen.attempts() == 2, 5.0)
        peer.heal()
        link.wait("ACTIVE")
        assert traps(ours) == frozenset()
        link.assert_pings()


@pytest.mark.shows("connection.dpd.action")
def test_an_update_ends_hold(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    with dead_peer(ours, new_peer()) as (link, seen):
        before = seen.attempts()
        link.set(initiator="response-only")
        until(lambda: traps(ours) == frozenset(), 5.0)
        # charon takes up to 1 s to delete an attempt: with user-space ESP hold has initiated.
        time.sleep(1.0)
        before = seen.attempts()
        send_blocked_traffic(link)
        time.sleep(2.0)
        assert seen.attempts() == before, "response-only has no traps"
        link.set(initiator="bi-directional")
        until(lambda: seen.attempts() > before, 3.0)
        link.peer.heal()
        link.wait("ACTIVE", 40.0)
        link.assert_pings()


@pytest.mark.shows("connection.dpd.action")
@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_traffic_does_not_initiate_a_disabled_or_deleted_connection(ours: Ours, peer: Peer, how: str) -> None:
    with dead_peer(ours, peer) as (link, seen):
        if how == "disabled":
            link.set(admin_state_up=False)
            link.wait_reason("admin_state_up is false")
        else:
            ours.delete("ipsec-site-connections", link.id)
        until(lambda: traps(ours) == frozenset() and half_open(ours, link) == 0, 5.0)
        before = seen.attempts()
        send_blocked_traffic(link)
        time.sleep(2.0)
        assert seen.attempts() == before


@pytest.mark.shows("connection.dpd.timeout")
def test_inbound_traffic_counts_as_liveness(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk, unique="replace")
    link = ours.connect(peer, dpd={"action": "restart", "interval": 1, "timeout": 5})
    link.wait_rekeyed()
    peer.run("nft", DROP_IKE)
    end = time.monotonic() + 11.0
    while time.monotonic() < end:
        link.assert_pings(count=2)
        assert link.status == "ACTIVE"
        time.sleep(0.2)
    last = time.monotonic()
    link.wait("DOWN", 10.0)
    assert 0.8 * 5 <= time.monotonic() - last + 0.2 <= 1.2 * 5
    assert "did not answer for 5 s" in link.reason
    peer.heal()
    link.wait("ACTIVE", 40.0)
    link.assert_pings()
