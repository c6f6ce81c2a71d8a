"""An update that breaks a tunnel says which revision was up, and a rollback brings that one back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.lab.fabric import ping
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT, INTERVAL = 2000, 0.005


def spis(link: Link) -> list[tuple[str, str]]:
    return [(child["spi-in"], child["spi-out"]) for child in link.sas()]


@pytest.mark.shows("connection.last_good_revision")
def test_a_broken_tunnel_comes_back_and_others_go_on(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    peer, neighbour = new_peer(), new_peer()
    for loaded in (peer, neighbour):
        loaded.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    # Both have the same IPsec policy.
    other = ours.connect(neighbour, ipsecpolicy_id=link.ipsec_policy)
    for connected in (link, other):
        connected.wait_rekeyed()
    until(lambda: link.shown["last_good_revision"] == 1, 10.0)
    before = spis(other)
    with ThreadPoolExecutor(1) as pool, neighbour.recorder() as seen:
        pinging = pool.submit(ping, ours.host, neighbour.in4, COUNT, INTERVAL)
        time.sleep(0.2)
        link.set(psk="not the peer's key")
        reason = link.wait_reason("was the last that was up", 20.0)
        shown = link.shown
        assert (shown["last_good_revision"], shown["revision_number"]) == (1, 2)
        assert "revision_number 1 was the last that was up: 'linkspan connection rollback'" in reason
        assert peer.children() == []
        answer = ours.user.request("POST", f"{VPN}/{CONNECTIONS}/{link.id}/rollback", {})
        assert answer["rollback"] == {"revision": 1, "fields": ["psk"], "notes": []}
        link.wait("ACTIVE")
        pings = pinging.result()
    link.assert_pings()
    assert (pings.received, pings.sent, seen.plaintext) == (COUNT, COUNT, 0)
    assert spis(other) == before
    shown = link.shown
    assert (shown["last_good_revision"], shown["status_reason"] or "") == (3, "")


def test_a_policy_that_the_peer_refuses_is_rolled_back(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait_rekeyed()
    link.set_ipsec(encryption_algorithm="aes-256")
    # The version before carries the traffic, and the reason says what to go back to.
    reason = link.wait_reason("was the last that was up", 20.0)
    assert "refused by the peer" in reason
    command = [sys.executable, "-m", "linkspan.bootstrap", "connection", "rollback", link.id]
    options = ["--state", str(ours.world.state), "--cloud", "linkspan-demo"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "revision 3 is as revision 1 was; changed: ipsecpolicy.encryption_algorithm\n"
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 20.0, lambda: str(link.shown))
    link.assert_pings()
    assert link.shown["last_good_revision"] == 3
