"""initiator: response-only never begins, whatever happens, and still comes up by its peer; bi-directional does both."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import Recorder
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

DPD = {"action": "restart", "interval": 1, "timeout": 4}
WATCHED = 30.0


def begun(seen: Recorder) -> int:
    """How many messages of ours begin an IKE SA."""
    return sum(one.ike.first for one in seen.ike(sent=False) if one.ike)


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


@pytest.mark.shows("connection.initiator")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_response_only_never_sends_the_first_packet(ours: Ours, new_peer: Callable[[], Peer], version: str) -> None:
    waits, begins = new_peer(), new_peer()
    for each in (waits, begins):
        each.load(ours.v4, ours.psk, version=version[1:], unique="replace")
    with waits.recorder() as seen, begins.recorder() as control:
        start = time.monotonic()
        link = ours.connect(waits, ike={"ike_version": version}, initiator="response-only", dpd=DPD)
        other = ours.connect(begins, ike={"ike_version": version}, initiator="bi-directional", dpd=DPD)
        other.wait("ACTIVE")
        assert "response-only" in link.wait_reason("waits for the peer to initiate")
        for accident in (agent_is_killed, charon_is_killed):
            before = begun(control)
            time.sleep(3.0)
            accident(ours)
            if accident is charon_is_killed:
                until(lambda before=before: begun(control) > before, 15.0)  # type: ignore[misc]
            other.wait("ACTIVE")
        time.sleep(max(0.0, start + WATCHED - time.monotonic()))
        assert begun(seen) == 0
        waits.initiate()
        link.wait("ACTIVE")
        link.pinged()
        for peer in (waits, begins):
            peer.cut()
        for each in (link, other):
            each.wait_reason("no sign of life", 10.0)
        assert "response-only" in link.reason
        for peer in (waits, begins):
            peer.heal()
        other.wait("ACTIVE", 40.0)
        time.sleep(3.0)
        assert (begun(seen), link.status) == (0, "DOWN")
        waits.restart()
        waits.load(ours.v4, ours.psk, version=version[1:], unique="replace")
        waits.initiate()
        link.wait("ACTIVE")
        link.pinged()
        assert begun(seen) == 0
        assert begun(control) >= 3, "created, after charon's end, after the peer's silence"


@pytest.mark.shows("connection.initiator")
def test_an_update_disturbs_nothing_and_counts_at_once(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, initiator="bi-directional")
    link.wait("ACTIVE")
    before = spis(link)
    with peer.recorder() as seen:
        link.set(initiator="response-only")
        link.wait("ACTIVE")
        link.pinged()
        assert spis(link) == before
        peer.terminate()
        link.wait_reason("waits for the peer to initiate")
        time.sleep(4.0)
        assert (begun(seen), link.status) == (0, "DOWN")
        start = time.monotonic()
        link.set(initiator="bi-directional")
        until(lambda: begun(seen) > 0, 3.0)
        assert time.monotonic() - start < 0.7, "at once, not after some wait"
        link.wait("ACTIVE")
        link.pinged()
        before = spis(link)
        link.set(initiator="response-only")
        link.set(initiator="bi-directional")
        link.wait("ACTIVE")
        assert spis(link) == before


@pytest.mark.shows("connection.initiator")
def test_an_attempt_ends_with_the_permission(ours: Ours, peer: Peer) -> None:
    peer.cut()
    with peer.recorder() as seen:
        link = ours.connect(peer, initiator="bi-directional")
        until(lambda: begun(seen) > 0, 10.0)
        link.set(initiator="response-only")
        link.wait_reason("waits for the peer to initiate")
        time.sleep(0.5)
        before = begun(seen)
        time.sleep(5.0)
        assert begun(seen) == before
