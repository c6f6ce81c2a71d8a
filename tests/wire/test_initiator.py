"""initiator: response-only never initiates and comes up by its peer; bi-directional does both."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

DPD = {"action": "restart", "interval": 1, "timeout": 4}
WATCHED = 30.0


def spis(link: Link) -> list[tuple[str, str]]:
    return [(sa["spi-in"], sa["spi-out"]) for sa in link.sas()]


def agent_is_killed(ours: Ours) -> None:
    pid = ours.world.agent_pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: ours.world.agent_pid not in (0, pid), 10.0)


def charon_is_killed(ours: Ours) -> None:
    pid = ours.world.charon_pid("left")
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in charons(ours), 10.0)


def charons(ours: Ours) -> list[int]:
    try:
        return [ours.world.charon_pid("left")]
    except (AssertionError, OSError):
        return []


def wait_reasons(links: list[Link], words: str, seconds: float) -> None:
    """Wait until each link has shown the words: a link that initiates replaces them when its next attempt fails."""
    left = list(links)

    def all_have_shown() -> bool:
        left[:] = [link for link in left if words not in link.reason]
        return not left

    until(all_have_shown, seconds, lambda: str([link.shown for link in left]))


@pytest.mark.shows("connection.initiator")
def test_response_only_never_sends_the_first_packet(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    """Also not after agent and charon are killed or the peer was dead; bi-directional connections are the control."""
    kinds = [(version, initiator) for version in IKE_VERSIONS for initiator in ("response-only", "bi-directional")]
    peers = [new_peer() for _ in kinds]
    for peer, (version, _) in zip(peers, kinds, strict=True):
        peer.load(ours.v4, ours.psk, version=version, unique="replace")
    with ExitStack() as stack:
        seen = [stack.enter_context(peer.recorder()) for peer in peers]
        start = time.monotonic()
        links = [
            ours.connect(peer, ike={"ike_version": f"v{version}"}, initiator=initiator, dpd=DPD)
            for peer, (version, initiator) in zip(peers, kinds, strict=True)
        ]
        waiting, free = links[::2], links[1::2]
        silent, control = seen[::2], seen[1::2]
        for link in waiting:
            assert "response-only" in link.wait_reason("waits for the peer to initiate")
        for link in free:
            link.wait("ACTIVE")
        time.sleep(2.0)
        agent_is_killed(ours)
        time.sleep(2.0)
        before = [recorder.initiations() for recorder in control]
        charon_is_killed(ours)
        until(lambda: all(seen.initiations() > count for seen, count in zip(control, before, strict=True)), 15.0)
        for link in free:
            link.wait("ACTIVE")
        time.sleep(max(0.0, start + WATCHED - time.monotonic()))
        assert [recorder.initiations() for recorder in silent] == [0] * len(waiting)
        for link in waiting:
            link.peer.initiate()
            link.wait("ACTIVE")
            link.assert_pings()
        for peer in peers:
            peer.cut()
        wait_reasons(links, "did not answer", 10.0)
        assert all("response-only" in link.reason for link in waiting)
        for peer in peers:
            peer.heal()
        for link in free:
            link.wait("ACTIVE", 40.0)
        time.sleep(3.0)
        assert [link.status for link in waiting] == ["DOWN"] * len(waiting)
        for link, (version, _) in zip(waiting, kinds[::2], strict=True):
            link.peer.restart()
            link.peer.load(ours.v4, ours.psk, version=version)
            link.peer.initiate()
            link.wait("ACTIVE")
            link.assert_pings()
        assert [recorder.initiations() for recorder in silent] == [0] * len(waiting)
        assert all(recorder.initiations() >= 3 for recorder in control), (
            "on create, after charon's end, after the peer was dead"
        )


@pytest.mark.shows("connection.initiator")
def test_an_update_of_the_initiator_applies_at_once_and_keeps_sas(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, initiator="bi-directional")
    link.wait_rekeyed()
    before = spis(link)
    with peer.recorder() as seen:
        link.set(initiator="response-only")
        link.wait("ACTIVE")
        link.assert_pings()
        assert spis(link) == before
        peer.terminate()
        link.wait_reason("the peer ended the tunnel")
        time.sleep(4.0)
        assert (seen.initiations(), link.status) == (0, "DOWN")
        start = time.monotonic()
        link.set(initiator="bi-directional")
        until(lambda: seen.initiations() > 0, 3.0)
        assert time.monotonic() - start < 0.7, "it did not initiate at once"
        link.wait_rekeyed()
        link.assert_pings()
        before = spis(link)
        link.set(initiator="response-only")
        link.set(initiator="bi-directional")
        link.wait("ACTIVE")
        assert spis(link) == before


@pytest.mark.shows("connection.initiator")
def test_an_update_to_response_only_ends_an_attempt(ours: Ours, peer: Peer) -> None:
    peer.cut()
    with peer.recorder() as seen:
        link = ours.connect(peer, initiator="bi-directional")
        until(lambda: seen.initiations() > 0, 10.0)
        link.set(initiator="response-only")
        link.wait_reason("waits for the peer to initiate")
        time.sleep(0.5)
        before = seen.initiations()
        time.sleep(5.0)
        assert seen.initiations() == before
