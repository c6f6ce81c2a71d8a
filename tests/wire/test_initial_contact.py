"""INITIAL_CONTACT (RFC 7296 2.4): the end that has lost its IKE SAs says so, and the other one deletes them at once.

The peers have charon's default `unique = no`, unlike those of other tests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest
import vici

from tests.harness.ours import CONNECTIONS, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NET, BEYOND = "10.211.0.0/24", "10.211.0.1"
ESP = ["aes128-sha256-modp2048"]


def established(peer: Peer) -> list[str]:
    return [sa["uniqueid"] for sa in peer.sas() if sa["state"] == "ESTABLISHED"]


@pytest.mark.parametrize("version", [f"v{version}" for version in IKE_VERSIONS])
def test_a_peer_keeps_nothing_of_before_our_charon_was_restarted(ours: Ours, peer: Peer, version: str) -> None:
    peer.load(ours.v4, ours.psk, version=version[1:], unique="no")
    link = ours.connect(peer, ike={"ike_version": version})
    link.wait("ACTIVE")
    before = established(peer)
    os.kill(ours.world.charon_pid("left"), signal.SIGKILL)
    until(lambda: established(peer) != before and bool(link.sas()), 20.0, lambda: str(peer.sas()))
    until(lambda: len(established(peer)) == 1, 5.0, lambda: str(peer.sas()))
    assert not set(before) & set(established(peer))
    link.wait("ACTIVE")
    link.assert_pings()
    ours.delete(CONNECTIONS, link.id)
    until(lambda: not peer.sas(), 10.0, lambda: str(peer.sas()))


def test_a_peer_that_ignores_it_keeps_both(ours: Ours, peer: Peer) -> None:
    """The control of the test above: without the notify only a timeout would end the old IKE SA."""
    peer.load(ours.v4, ours.psk, unique="never")
    link = ours.connect(peer)
    link.wait("ACTIVE")
    before = established(peer)
    os.kill(ours.world.charon_pid("left"), signal.SIGKILL)
    until(lambda: len(established(peer)) == 2, 20.0, lambda: str(peer.sas()))
    assert set(before) < set(established(peer))


def test_a_peer_keeps_nothing_of_before_our_dead_peer_detection(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk, unique="no")
    link = ours.connect(peer, dpd={"action": "restart", "interval": 1, "timeout": 3})
    link.wait("ACTIVE")
    before = established(peer)
    peer.cut()
    link.wait_reason("did not answer", 30.0)
    peer.heal()
    until(lambda: bool(link.sas()), 40.0, lambda: str(link.shown))
    until(lambda: len(established(peer)) == 1, 5.0, lambda: str(peer.sas()))
    assert not set(before) & set(established(peer))


def test_a_peer_that_sends_it_with_every_ike_sa_does_not_make_two_connections_flap(ours: Ours, peer: Peer) -> None:
    """Two connections with different IKE policies have an IKE SA each, and every one of the peer's claims to be alone.

    charon sends the notify if it knows no IKE SA with the other end, so the peer loses what it has before it initiates.
    """
    peer.run("ip", "address", "add", f"{BEYOND}/24", "dev", "lo")
    nets = {"one": peer.net4, "two": NET}
    for name, proposal in (("one", "aes128-sha256-modp2048"), ("two", "aes256-sha256-modp2048")):
        child = {"local_ts": [nets[name]], "remote_ts": ["10.1.0.0/24"], "esp_proposals": ESP}
        peer.load(ours.v4, ours.psk, name=name, children={name: child}, proposals=[proposal], unique="no")
    one = ours.connect(peer, ike={"encryption_algorithm": "aes-128"})
    two = ours.connect(peer, ike={"encryption_algorithm": "aes-256"}, peer_cidrs=[NET])
    for link in (one, two):
        link.wait("ACTIVE")
    for name in ("two", "one"):
        forget_all(peer)
        marker = peer.log.count("N(INIT_CONTACT)")
        until(lambda name=name: initiated(peer, name, name), 10.0)  # type: ignore[misc]
        assert peer.log.count("N(INIT_CONTACT)") > marker, "the peer does not claim to be alone"
        for link in (one, two):
            link.wait("ACTIVE")
    until(lambda: len(established(peer)) == 2, 20.0, lambda: str(peer.sas()))
    # A rekey that checks pfs follows a new child.
    for link in (one, two):
        link.wait_rekeyed()
    # What both ends have initiated at once goes within some seconds.
    until(lambda: len(one.sas()) == len(two.sas()) == 1, 20.0, lambda: f"{one.sas()}\n{two.sas()}")
    settled = one.sas(), two.sas()
    time.sleep(3.0)
    assert [[sa["ike"] for sa in sas] for sas in settled] == [[sa["ike"] for sa in link.sas()] for link in (one, two)]
    assert ours.ping(peer.in4).received == ours.ping(BEYOND).received == 3


def forget_all(peer: Peer) -> None:
    """The peer loses all of its SAs and notifies nobody."""
    peer.cut()
    for sa in peer.sas():
        with contextlib.suppress(vici.exception.CommandException):
            peer.terminate(ike_id=sa["uniqueid"])
    peer.heal()


def initiated(peer: Peer, child: str, ike: str) -> bool:
    try:
        peer.initiate(child, ike, seconds=4.0)
    except vici.exception.CommandException:
        return False
    return True


def test_a_restarted_peer_is_believed_at_once(ours: Ours, peer: Peer) -> None:
    """It initiates before our dead peer detection notices."""
    peer.load(ours.v4, ours.psk, unique="no")
    link = ours.connect(peer, initiator="response-only")
    until(lambda: initiated(peer, "net", "ours"), 10.0)
    link.wait("ACTIVE")
    (before,) = link.sas()
    peer.restart()
    peer.load(ours.v4, ours.psk, unique="no")
    peer.initiate()
    until(lambda: [sa["uniqueid"] for sa in link.sas()] not in ([], [before["uniqueid"]]), 10.0)
    (after,) = link.sas()
    assert after["ike"] == before["ike"]
    link.assert_pings()
