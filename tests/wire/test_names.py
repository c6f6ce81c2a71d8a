"""Peers that go by a name: resolved in the gateway, followed when the record changes, and never in anybody's way."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from linkspan.core.tunnel import peer_names
from tests.harness.nameserver import NameServer
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.world import ping_with_retry, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NAME, OTHER = "vpn.example.org", "other.example.org"
NOBODY = "198.51.100.250"
"""No nearer to us than a peer: who asks gets them in the record's order (RFC 6724 6, rule 9)."""
IDS: dict[str, Any] = {"peer_id": "the peer", "local_id": "the gateway"}


@pytest.fixture
def files(ours: Ours) -> Iterator[Path]:
    """The gateway's own files in /etc/netns, for the time of a test. They are changed in place: each is a mount."""
    directory = Path("/etc/netns") / ours.gateway
    directory.mkdir(parents=True)
    for name in ("hosts", "resolv.conf"):
        (directory / name).write_text("")
    yield directory
    ours.clear()
    shutil.rmtree(directory)


def hosts(files: Path, name: str, *addresses: str) -> None:
    (files / "hosts").write_text("".join(f"{address} {name}\n" for address in addresses))


def load(peer: Peer, ours: Ours, address: str = "", **values: Any) -> None:
    peer.load(address or ours.v4, ours.psk, local="keyid:the peer", remote="keyid:the gateway", **values)


@pytest.mark.shows("connection.peer_address")
def test_the_tunnel_moves_with_the_record(ours: Ours, new_peer: Callable[[], Peer], files: Path) -> None:
    first, second = new_peer(), new_peer()
    # The second one stands in for the first: the same network behind it.
    second.run("ip", "address", "add", f"{first.in4}/24", "dev", "lo")
    load(first, ours)
    load(second, ours, child={"local_ts": [first.net4]})
    hosts(files, NAME, first.v4)
    link = ours.connect(first, peer_address=NAME, **IDS)
    link.wait("ACTIVE")
    link.assert_pings()
    assert link.shown["peer_address"] == NAME
    hosts(files, NAME, second.v4)
    took = until(lambda: bool(second.children()), peer_names.INTERVAL + 5.0, lambda: str(link.shown))
    first.wait_down()
    link.wait("ACTIVE")
    passes_at(link, second, first.in4)
    print(f"the tunnel followed its record after {took:.1f} s")
    # A user names another name: at once.
    (files / "hosts").write_text(f"{second.v4} {NAME}\n{first.v4} {OTHER}\n")
    link.set(peer_address=OTHER)
    first.wait_up()
    second.wait_down()
    link.wait("ACTIVE")
    link.assert_pings()


def passes_at(link: Link, peer: Peer, destination: str) -> None:
    with peer.recorder() as seen:
        answer = ping_with_retry(lambda: link.ours.ping(destination, 5))
    assert (answer.received, seen.plaintext) == (5, 0)
    assert seen.esp >= 10, "without ESP on this peer's wire, an answered ping says nothing"


def test_a_name_that_cannot_be_resolved_says_why_within_a_second(ours: Ours, peer: Peer, files: Path) -> None:
    load(peer, ours)
    link = ours.connect(peer, peer_address=NAME, **IDS)
    words = f"the peer's name {NAME} cannot be resolved in the gateway: "
    link.wait_reason(words, 1.0)
    assert link.reason.removeprefix(words) == f"no name server answers, see resolv.conf in /etc/netns/{ours.gateway}"
    assert link.status == "PENDING_CREATE"
    hosts(files, NAME, peer.v4)
    link.wait("ACTIVE", peer_names.SOON + 5.0)
    link.assert_pings()


def test_names_from_a_name_server_and_its_silence(ours: Ours, new_peer: Callable[[], Peer], files: Path) -> None:
    six, beside = new_peer(), new_peer()
    load(six, ours, ours.v6)
    beside.load(ours.v4, ours.psk)
    (files / "resolv.conf").write_text(f"nameserver {beside.v4}\n")
    with NameServer(beside.namespace, beside.v4) as server:
        server.records[NAME] = [six.v6]
        link = ours.connect(six, peer_address=NAME, **IDS)
        link.wait("ACTIVE")
        link.assert_pings()
        assert six.sas()[0]["remote-host"] == ours.v6, "IPv6 outside, since the name has nothing else"
        unknown = ours.connect(beside, peer_address=OTHER, peer_id="unknown", peer_cidrs=["10.99.0.0/24"])
        unknown.wait_reason("there is no such name, or it has no address", 2.0)
        before = link.sas()
        server.silent = True
        # Asked for over and over, and answered never, while a connection beside it comes up.
        waiting = ours.connect(beside, peer_address="silent.example.org", peer_id="x", peer_cidrs=["10.98.0.0/24"])
        start = time.monotonic()
        quick = ours.connect(beside)
        quick.wait("ACTIVE")
        took = time.monotonic() - start
        waiting.wait_reason("cannot be resolved in the gateway: no name server answers", 3.0)
        quick.assert_pings()
        assert took < 2.0
        assert (link.sas(), link.status) == (before, "ACTIVE")


def test_a_new_agent_adopts_a_tunnel_to_a_name_whatever_the_name_server_says(
    ours: Ours, peer: Peer, files: Path
) -> None:
    load(peer, ours)
    (files / "resolv.conf").write_text(f"nameserver {peer.v4}\n")
    with NameServer(peer.namespace, peer.v4) as server:
        server.records[NAME] = [peer.v4, NOBODY]
        link = ours.connect(peer, peer_address=NAME, **IDS)
        link.wait_rekeyed()
        before = link.sas()
        # Its answers: none; that there is no such name; another order.
        for silent, record in ((True, None), (False, None), (False, [NOBODY, peer.v4])):
            server.silent = silent
            server.records = {NAME: record} if record else {}
            adopted(ours, peer, server)
            assert link.sas() == before, "neither ended nor initiated anew"
            link.wait("ACTIVE")


def adopted(ours: Ours, peer: Peer, server: NameServer) -> None:
    """The agent is killed under ping, and its successor asks for the name."""
    pid, asked = ours.world.agent_pid, server.asked
    with ThreadPoolExecutor(1) as pool, peer.recorder() as seen:
        pinging = pool.submit(ours.ping, peer.in4, 250, 0.01)
        os.kill(pid, signal.SIGKILL)
        until(lambda: ours.world.agent_pid not in (0, pid), 10.0)
        until(lambda: server.asked > asked, 10.0)
        time.sleep(1.2)
        answer = pinging.result()
    assert (answer.received, seen.plaintext) == (250, 0)
    assert seen.esp >= 500
