"""pfs of the IPsec policy: a mismatch is reported when the tunnel comes up, not at the first scheduled rekey."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linkspan.lab.fabric import ping
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import CREATE_CHILD_SA
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

SAME = "aes128-sha256-modp2048"
OTHER = "aes128-sha256-ecp256"
REFUSED = "the peer refuses pfs group14 at a rekey"


def groups(peer: Peer) -> list[str]:
    return [child.get("dh-group", "") for child in peer.children()]


@pytest.mark.shows("ipsec_policy.pfs")
@pytest.mark.parametrize("initiator", ["ours", "theirs"])
def test_the_first_rekey_verifies_the_pfs_group(ours: Ours, peer: Peer, initiator: str) -> None:
    """It happens once, and only packets that the peer sends too early are lost.

    A child that is created in IKE_AUTH has no key exchange of its own: with a group, it has been rekeyed.
    """
    peer.load(ours.v4, ours.psk, child={"esp_proposals": [OTHER]})
    with peer.recorder() as seen:
        link = ours.connect(
            peer, ipsec={"pfs": "group19"}, initiator="bi-directional" if initiator == "ours" else "response-only"
        )
        if initiator == "theirs":
            until(lambda: "waits for the peer" in link.reason, 10.0, lambda: str(link.shown))
            peer.initiate()
        peer.wait_up()
        with ThreadPoolExecutor(1) as pool:
            # Pings continue during the rekey, which is after 0.3 s at the initiator, else after 3 s.
            count = 750 if initiator == "ours" else 2500
            pinging = pool.submit(ping, ours.host, peer.in4, count, 0.002)
            until(lambda: groups(peer) == ["ECP_256"], 10.0, lambda: f"{peer.sas()}")
            answer = pinging.result()
        time.sleep(0.5)
    rekeys = [packet for packet in seen.ike(sent=True) if packet.ike and packet.ike.exchange == CREATE_CHILD_SA]
    assert len(rekeys) == 1, "there must be exactly one rekey"
    # The first ones may precede the end of IKE_AUTH at our end.
    up = min(set(range(answer.sent)) - set(answer.lost))
    assert sum(number > up for number in answer.lost) <= 1 + seen.sent_too_early(2), answer
    assert (seen.esp >= 2 * answer.received, seen.plaintext) == (True, 0)
    assert (link.status, link.reason) == ("ACTIVE", "")


@pytest.mark.shows("ipsec_policy.pfs")
@pytest.mark.parametrize("initiator", ["ours", "theirs"])
def test_a_mismatch_is_reported_at_once_until_it_is_corrected(ours: Ours, peer: Peer, initiator: str) -> None:
    peer.load(ours.v4, ours.psk, child={"esp_proposals": [OTHER]})
    link = ours.connect(peer, initiator="bi-directional" if initiator == "ours" else "response-only")
    if initiator == "theirs":
        until(lambda: "waits for the peer" in link.reason, 10.0, lambda: str(link.shown))
        peer.initiate()
    link.wait("ACTIVE")
    link.wait_reason(REFUSED, 6.0)
    assert (link.status, groups(peer)) == ("ACTIVE", [""])
    link.assert_pings()
    link.set_ipsec(pfs="group19")
    if initiator == "theirs":
        link.wait_reason("waits for the peer; revision")
        peer.terminate()
        peer.initiate()
    until(lambda: link.status == "ACTIVE" and groups(peer) == ["ECP_256"], 12.0, lambda: str(link.shown))
    assert link.reason == ""
    link.assert_pings()


def test_the_reason_disappears_once_the_peer_is_corrected(ours: Ours, peer: Peer) -> None:
    """The reason disappears with the next successful key exchange."""
    peer.load(ours.v4, ours.psk, child={"esp_proposals": [OTHER]})
    link = ours.connect(peer)
    link.wait("ACTIVE")
    link.wait_reason(REFUSED, 6.0)
    peer.load(ours.v4, ours.psk, child={"esp_proposals": [OTHER, SAME]})
    peer.terminate()
    until(lambda: groups(peer) == ["MODP_2048"], 20.0, lambda: f"{peer.sas()}")
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 5.0, lambda: str(link.shown))


@needs_ikev1
def test_ikev1_negotiates_the_group_at_once(ours: Ours, peer: Peer) -> None:
    """Quick mode has a key exchange from the start, so there is no early rekey."""
    peer.load(ours.v4, ours.psk, version="1", child={"esp_proposals": [OTHER]})
    link = ours.connect(peer, ike={"ike_version": "v1"})
    link.wait_reason("IPsec polic", 10.0)
    assert peer.children() == []
    link.set_ipsec(pfs="group19")
    link.wait("ACTIVE", 15.0)
    before = link.sas()
    assert groups(peer) == ["ECP_256"]
    time.sleep(1.0)
    assert link.sas() == before


def _spis(link: Link) -> list[Any]:
    return sorted((child["spi-in"], child["spi-out"]) for child in link.sas())


def test_a_restarted_agent_does_not_verify_again(ours: Ours, peer: Peer) -> None:
    import os
    import signal

    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    until(lambda: groups(peer) == ["MODP_2048"] and len(link.sas()) == 1, 15.0)
    before, pid = _spis(link), ours.world.agent_pid
    with peer.recorder() as seen:
        os.kill(pid, signal.SIGKILL)
        until(lambda: ours.world.agent_pid not in (0, pid), 15.0)
        until(lambda: link.status == "ACTIVE", 15.0)
        time.sleep(4.0)
    assert _spis(link) == before
    assert not [packet for packet in seen.ike(sent=False) if packet.ike and packet.ike.exchange == CREATE_CHILD_SA]
