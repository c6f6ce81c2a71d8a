"""Dead peer detection: when a dead peer is noticed, what each action makes of it, and that everything comes back.

Everything is seen at a plain peer: its line breaks, and its recorder sees before it what we send.
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
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NewPeer = Callable[[], Peer]
VERSIONS = ("v1", "v2")
TIMEOUTS = {"hold": 6, "clear": 8, "restart": 6, "restart-by-peer": 9, "disabled": 6}


def dpd(action: str, interval: int, timeout: int) -> dict[str, Any]:
    return {"action": action, "interval": interval, "timeout": timeout}


def connect(ours: Ours, peer: Peer, version: str, **values: Any) -> Link:
    """A connection to a peer that forgets what we have lost when we come anew."""
    peer.load(ours.v4, ours.psk, version=version[1:], unique="replace")
    return ours.connect(peer, ike={"ike_version": version}, **values)


def questions(seen: Recorder, since: float = 0.0) -> list[float]:
    """When we sent what dead peer detection sends."""
    kinds = (INFORMATIONAL, INFORMATIONAL_V1)
    return [one.at for one in seen.ike(sent=False) if one.ike and one.ike.exchange in kinds and one.at >= since]


def signs(seen: Recorder) -> list[float]:
    """When the peer sent anything."""
    return [one.at for one in list(seen.packets) if one.sent and one.kind in ("ike", "udp_esp", "esp")]


def hear(seen: dict[str, Recorder], links: list[Link]) -> None:
    """Wait for a sign of life of each peer: charon counts whole seconds, so one may come a second after its time."""
    until(lambda: all(signs(seen[link.id]) for link in links), 6.0)


@contextmanager
def recorders(links: list[Link]) -> Iterator[dict[str, Recorder]]:
    """A recorder at each link's peer, by the link's id."""
    with ExitStack() as stack:
        yield {link.id: stack.enter_context(link.peer.recorder()) for link in links}


def falls(links: list[Link], seconds: float) -> dict[str, tuple[float, str]]:
    """When each link was DOWN and why, of those that are within so many seconds; by the link's id."""
    fallen: dict[str, tuple[float, str]] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(fallen) < len(links):
        found = links[0].ours.world.user.request("GET", f"{VPN}/{CONNECTIONS}")[CONNECTIONS.replace("-", "_")]
        for one in found:
            if one["status"] == "DOWN":
                fallen.setdefault(one["id"], (time.monotonic(), one["status_reason"]))
        time.sleep(0.03)
    return {link.id: fallen[link.id] for link in links if link.id in fallen}


def up_again(link: Link, seconds: float = 40.0) -> None:
    link.wait("ACTIVE", seconds)
    link.assert_pings()


@pytest.mark.shows("connection.dpd.action", "connection.dpd.timeout")
def test_every_action_when_the_line_to_its_peer_breaks(ours: Ours, new_peer: NewPeer) -> None:
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
                link.assert_pings()  # then the last sign of life is ESP, else an answer
        time.sleep(2.0)
        hear(seen, watched)
        for link in links.values():
            link.peer.cut()
        cut = time.monotonic()
        fallen = falls(watched, 14.0)
        time.sleep(1.5)
        for (version, action), link in links.items():
            case = f"{version} {action}"
            if action == "disabled":
                assert (link.status, questions(seen[link.id])) == ("ACTIVE", []), case
                continue
            assert link.id in fallen, f"{case}: not down {time.monotonic() - cut:.1f} s after the cut"
            at, reason = fallen[link.id]
            after, timeout = at - max(signs(seen[link.id])), TIMEOUTS[action]
            print(f"{case}: down {after:.2f} s after the last sign of life")
            assert 0.8 * timeout <= after <= 1.2 * timeout, case
            assert f"no sign of life for {timeout} s" in reason, case
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
        assert links["v2", "clear"].status == links["v1", "clear"].status == "DOWN"
        for version in VERSIONS:
            assert seen[links[version, "clear"].id].initiations(healed) == 0
    waits = links["v2", "clear"].peer
    waits.restart()
    waits.load(ours.v4, ours.psk)
    waits.initiate()  # the peer acts
    links["v1", "clear"].set(dpd=dpd("clear", 2, 7))  # the user does
    for version in VERSIONS:
        up_again(links[version, "clear"])


def initiates(action: str) -> bool:
    """Whether we initiate by ourselves after the peer was declared dead."""
    return action in ("restart", "restart-by-peer") or (action == "hold" and esp_backend.detect() == "user-space")


@pytest.mark.shows("connection.dpd.interval", "connection.dpd.action")
def test_the_interval_is_what_passes_between_questions(ours: Ours, new_peer: NewPeer) -> None:
    links = [connect(ours, new_peer(), version, dpd=dpd("restart", 1, 60)) for version in VERSIONS]
    quiet = [connect(ours, new_peer(), version, dpd=dpd("disabled", 1, 60)) for version in VERSIONS]
    settled(links + quiet)
    watch(links + quiet, 5.5, asked={link.id: 1 for link in links})
    for link in links:
        link.set(dpd={"interval": 3})
    for link in quiet:
        link.set(dpd={"action": "restart"})
    settled(links + quiet)
    watch(links + quiet, 9.0, asked={link.id: 1 if link in quiet else 3 for link in links + quiet})
    for link in links + quiet:
        link.set(dpd={"action": "disabled"})
    settled(links + quiet)
    watch(links + quiet, 5.0, asked={})


def settled(links: list[Link]) -> None:
    """The newest version of each is up and the one before is gone at both ends."""
    for link in links:
        link.wait_rekeyed()
        until(lambda link=link: len(link.sas()) == len(link.peer.children()) == 1, 10.0)  # type: ignore[misc]


def watch(links: list[Link], seconds: float, asked: dict[str, int]) -> None:
    """While nothing else happens, our questions come at the interval of each link; none where none is given.

    Charon counts whole seconds: to an answer that came after the turn of a second it waits one second more, so two
    questions are an interval and up to a second apart (strongswan: src/libcharon/sa/ike_sa.c, send_dpd).
    """
    with recorders(links) as seen:
        time.sleep(seconds)
    for link in links:
        times = questions(seen[link.id])
        if link.id not in asked:
            assert times == []
            continue
        interval = asked[link.id]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert gaps, f"only {len(times)} questions in {seconds} s"
        assert all(interval - 0.2 <= gap <= interval + 1.5 for gap in gaps), gaps


@pytest.mark.shows("connection.dpd.action", "connection.dpd.timeout")
def test_an_update_of_action_and_timeout_counts_at_once(ours: Ours, new_peer: NewPeer) -> None:
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
    assert [link.sas() for link in shorter + longer] == before, "charon need not know of it"
    with recorders(shorter + longer) as seen:
        hear(seen, shorter + longer)
        for link in shorter + longer:
            link.peer.cut()
        fallen = falls(shorter + longer, 13.0)
        time.sleep(1.0)
        for link in shorter + longer:
            timeout, again = (5, False) if link in shorter else (9, True)
            assert link.id in fallen
            at, reason = fallen[link.id]
            assert 0.8 * timeout <= at - max(signs(seen[link.id])) <= 1.2 * timeout
            assert f"no sign of life for {timeout} s" in reason
            assert bool(seen[link.id].initiations(at - 0.5)) == again


def two_to_one_peer(ours: Ours, peer: Peer, one: dict[str, Any], other: dict[str, Any]) -> tuple[Link, Link]:
    """Two connections that share an IKE SA with the peer: one to each half of the peer's network."""
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
        ours.connect(peer, local=(4,), peers=[half], dpd=each) for half, each in zip(halves, (one, other), strict=True)
    ]
    for link in links:
        link.wait_rekeyed()
    until(lambda: len({sa["uniqueid"] for link in links for sa in link.sas()}) == 1, 20.0)
    return links[0], links[1]


def both_pinged(ours: Ours, one: Link, other: Link) -> None:
    one.assert_pings(one.peer.in4)
    other.assert_pings(one.peer.in4.replace(".0.1", ".0.129"))


@pytest.mark.shows("connection.dpd.timeout")
def test_of_two_that_share_an_ike_sa_each_has_its_own_deadline(ours: Ours, peer: Peer) -> None:
    hasty, patient = two_to_one_peer(ours, peer, dpd("restart", 1, 4), dpd("restart", 1, 14))
    before = patient.sas()
    peer.cut()
    assert hasty.id in falls([hasty], 8.0)
    assert patient.status == "ACTIVE"
    time.sleep(1.0)
    peer.heal()
    hasty.wait("ACTIVE")
    assert (patient.status, patient.sas()) == ("ACTIVE", before), "the deadline of one is no harm to the other"
    both_pinged(ours, hasty, patient)
    peer.cut()
    assert len(falls([hasty, patient], 20.0)) == 2
    until(lambda: not hasty.sas() and not patient.sas(), 5.0, lambda: str((hasty.sas(), patient.sas())))
    peer.heal()
    for link in (hasty, patient):
        link.wait("ACTIVE", 40.0)
    both_pinged(ours, hasty, patient)


@pytest.mark.shows("connection.dpd.action")
def test_restart_by_peer_takes_along_whatever_else_goes_to_that_peer(ours: Ours, peer: Peer) -> None:
    first, second = two_to_one_peer(ours, peer, dpd("restart-by-peer", 1, 4), dpd("clear", 1, 60))
    peer.cut()
    fallen = falls([first, second], 8.0)
    assert fallen.keys() == {first.id, second.id}
    assert "restart-by-peer" in fallen[second.id][1]
    peer.heal()
    for link in (first, second):
        link.wait("ACTIVE", 40.0)
    both_pinged(ours, first, second)
