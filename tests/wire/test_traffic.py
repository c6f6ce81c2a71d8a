"""Traffic of real tunnels: what hosts have sent is what the samples show, whatever is rekeyed while they send."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from linkspan.lab.fabric import ping
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import Recorder
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

SIZE = 84
"""Bytes of an echo request of 56 bytes with its headers: what ESP carries of it."""
DELAY = 0.05
WHOLE = ("in_bytes", "out_bytes", "in_packets", "out_packets")


def traffic_of(link: Link) -> dict[str, Any]:
    """The traffic of a connection."""
    answer = link.ours.user.request("GET", f"{VPN}/{CONNECTIONS}/{link.id}/traffic")
    found: dict[str, Any] = answer["traffic"]
    return found


def sums(link: Link) -> tuple[int, int]:
    """The packets in and out of all samples; their bytes are those of as many pings."""
    found = traffic_of(link)
    totals = {name: sum(value or 0 for value in found[name]) for name in WHOLE}
    assert (totals["in_bytes"], totals["out_bytes"]) == (SIZE * totals["in_packets"], SIZE * totals["out_packets"])
    return totals["in_packets"], totals["out_packets"]


def wait_shown(link: Link, received: int, sent: int, uncounted: int = 0) -> None:
    """Wait until the samples show so many packets, and never more. `uncounted`: of those sent, how many may lack."""

    def is_shown() -> bool:
        shown_in, shown_out = sums(link)
        assert (shown_in <= received, shown_out <= sent) == (True, True), traffic_of(link)
        return shown_in == received and shown_out >= sent - uncounted

    until(is_shown, 40.0, lambda: f"{received} in, {sent} out, but {uncounted}: {traffic_of(link)}")


def check_series(found: dict[str, Any]) -> None:
    """Assert that samples follow each other without a gap, and that nothing is negative."""
    spans = list(zip(found["at"], found["seconds"], strict=True))
    assert all(abs(at - seconds - before) < 0.01 for (before, _), (at, seconds) in pairwise(spans)), spans
    assert all(value >= 0 for name in WHOLE for value in found[name]), found


def rekey(link: Link, seen: Recorder) -> int:
    """Rekey from our end. Returns the packets that the old child SA has sent since it was listed before: charon removes
    it without counting once more."""
    listed_at = time.monotonic()
    (child,) = link.listed()
    with link.ours.charon() as charon:
        charon.rekey(int(child["uniqueid"]))
    until(lambda: [new["spi-in"] for new in link.sas()] not in ([], [child["spi-in"]]), 10.0)
    old = int(child["spi-out"], 16)
    esp = [packet for packet in list(seen.packets) if packet.kind in ("esp", "udp_esp") and not packet.sent]
    return sum(packet.at >= listed_at and packet.spi == old for packet in esp)


def test_what_hosts_send_is_shown_whatever_is_rekeyed_meanwhile(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait_rekeyed()
    with ThreadPoolExecutor(1) as pool, peer.recorder() as seen:
        pinging = pool.submit(ping, ours.host, peer.in4, 600, 0.01)
        uncounted = sum(rekey(link, seen) for _ in range(2))
        with peer.session() as session:
            session.rekey({"child-id": peer.children()[-1]["uniqueid"]})
            session.rekey({"ike": "ours"})
        pings = pinging.result()
    assert seen.plaintext == 0
    assert seen.esp >= 2 * pings.received
    wait_shown(link, pings.received, pings.sent, uncounted)
    found = traffic_of(link)
    assert (found["fault"], found["node"] is not None) == ("", True)
    check_series(found)
    answer = ours.user.request("GET", "/v2.0/linkspan/traffic", query=[("connection_id", link.id)])
    (newest,) = answer["traffic"]
    assert (newest["connection_id"], newest["fault"], newest["node"]) == (link.id, "", found["node"])
    assert newest["at"] >= found["at"][-1]


def test_another_agent_takes_nothing_of_before_for_traffic_of_now(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait_rekeyed()
    link.assert_pings()
    pid = ours.world.agent_pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: ours.world.agent_pid not in (0, pid), 15.0)
    until(lambda: len(traffic_of(link)["at"]) > 0, 40.0, lambda: str(traffic_of(link)))
    assert sums(link) == (0, 0)
    answer = ours.ping(peer.in4, 20)
    wait_shown(link, answer.received, answer.sent)
    check_series(traffic_of(link))


def test_the_round_trip_is_that_of_the_path(ours: Ours, peer: Peer) -> None:
    """It is measured by the DPD probes of a tunnel at rest: nothing is sent for it."""
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, dpd={"interval": 2, "timeout": 30})
    link.wait_rekeyed()
    with peer.delayed(lambda _packet: DELAY):

        def trips() -> list[float]:
            return [trip for trip in traffic_of(link)["rtt_ms"] if trip is not None]

        until(lambda: any(trip >= 2 * DELAY * 1000 for trip in trips()), 60.0, lambda: str(traffic_of(link)))
    assert sums(link) == (0, 0)
