"""Peers with a host name: resolved in the gateway, followed when the DNS record changes, without delaying others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from linkspan.core.tunnel import peer_names
from tests.harness.nameserver import NameServer
from tests.harness.ours import CONNECTIONS, Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import ping_with_retry, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

NAME, OTHER = "vpn.example.org", "other.example.org"
UNUSED = "198.51.100.250"
"""Addresses as close as a peer's, so that the resolver keeps the record's order (RFC 6724 6, rule 9)."""
IDS: dict[str, Any] = {"peer_id": "the peer", "local_id": "the gateway"}


def hosts(files: Path, name: str, *addresses: str) -> None:
    (files / "hosts").write_text("".join(f"{address} {name}\n" for address in addresses))


def load(peer: Peer, ours: Ours, address: str = "", **values: Any) -> None:
    peer.load(address or ours.v4, ours.psk, local="keyid:the peer", remote="keyid:the gateway", **values)


@pytest.mark.shows("connection.peer_address")
def test_the_tunnel_follows_the_dns_record(ours: Ours, new_peer: Callable[[], Peer], files: Path) -> None:
    first, second = new_peer(), new_peer()
    # The second peer replaces the first: it has the same network.
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
    # An update with another name applies at once.
    (files / "hosts").write_text(f"{second.v4} {NAME}\n{first.v4} {OTHER}\n")
    link.set(peer_address=OTHER)
    first.wait_up()
    second.wait_down()
    link.wait("ACTIVE")
    link.assert_pings()


@pytest.mark.shows("connection.peer_address")
@pytest.mark.parametrize("version", IKE_VERSIONS)
def test_the_name_of_another_connections_peer_is_reported_by_both(
    ours: Ours, peer: Peer, files: Path, version: str
) -> None:
    load(peer, ours, version=version)
    ike = {"ike_version": f"v{version}"}
    first = ours.connect(peer, ike=ike, **IDS)
    first.wait("ACTIVE")
    second = ours.connect(peer, ike=ike, peer_address=NAME.upper(), **IDS)
    second.wait_reason("cannot be resolved")
    hosts(files, NAME, peer.v4)
    second.wait_reason(f"the same peer and networks as connection {first.id}", 10.0)
    first.wait_reason(f"connection {second.id} has the same peer and networks")
    assert (first.status, len(peer.children())) == ("ACTIVE", 1)
    first.assert_pings()
    ours.delete(CONNECTIONS, first.id)
    second.wait("ACTIVE", 10.0)
    second.assert_pings()
    assert second.reason == ""


def passes_at(link: Link, peer: Peer, destination: str) -> None:
    with peer.recorder() as seen:
        answer = ping_with_retry(lambda: link.ours.ping(destination, 5))
    assert (answer.received, seen.plaintext) == (5, 0)
    assert seen.esp >= 10, "the pings were not carried by ESP to this peer"


def test_an_unresolvable_name_is_reported_within_a_second(ours: Ours, peer: Peer, files: Path) -> None:
    load(peer, ours)
    link = ours.connect(peer, peer_address=NAME, **IDS)
    words = f"the peer's name {NAME} cannot be resolved in the gateway: "
    link.wait_reason(words, 1.0)
    assert link.reason.removeprefix(words) == f"no name server answers, see resolv.conf in /etc/netns/{ours.gateway}"
    assert link.status == "PENDING_CREATE"
    hosts(files, NAME, peer.v4)
    link.wait("ACTIVE", peer_names.SOON + 5.0)
    link.assert_pings()


def test_a_silent_name_server_delays_no_other_connection(ours: Ours, new_peer: Callable[[], Peer], files: Path) -> None:
    six, beside = new_peer(), new_peer()
    load(six, ours, ours.v6)
    beside.load(ours.v4, ours.psk)
    (files / "resolv.conf").write_text(f"nameserver {beside.v4}\n")
    with NameServer(beside.namespace, beside.v4) as server:
        server.records[NAME] = [six.v6]
        link = ours.connect(six, peer_address=NAME, **IDS)
        link.wait("ACTIVE")
        link.assert_pings()
        assert six.sas()[0]["remote-host"] == ours.v6, "the name has only IPv6 addresses"
        unknown = ours.connect(beside, peer_address=OTHER, peer_id="unknown", peer_cidrs=["10.99.0.0/24"])
        unknown.wait_reason("there is no such name, or it has no address", 2.0)
        before = link.sas()
        server.silent = True
        # The name server does not answer repeated queries; meanwhile another connection comes up.
        waiting = ours.connect(beside, peer_address="silent.example.org", peer_id="x", peer_cidrs=["10.98.0.0/24"])
        start = time.monotonic()
        quick = ours.connect(beside)
        quick.wait("ACTIVE")
        took = time.monotonic() - start
        waiting.wait_reason("cannot be resolved in the gateway: no name server answers", 3.0)
        quick.assert_pings()
        assert took < 2.0
        assert (link.sas(), link.status) == (before, "ACTIVE")


def test_a_restarted_agent_adopts_a_tunnel_whatever_the_name_resolves_to(ours: Ours, peer: Peer, files: Path) -> None:
    load(peer, ours)
    (files / "resolv.conf").write_text(f"nameserver {peer.v4}\n")
    with NameServer(peer.namespace, peer.v4) as server:
        server.records[NAME] = [peer.v4, UNUSED]
        link = ours.connect(peer, peer_address=NAME, **IDS)
        link.wait_rekeyed()
        before = link.sas()
        # The name server's answers: none, NXDOMAIN, another order of addresses.
        for silent, record in ((True, None), (False, None), (False, [UNUSED, peer.v4])):
            server.silent = silent
            server.records = {NAME: record} if record else {}
            adopted(ours, peer, server)
            assert link.sas() == before, "the SA was deleted or initiated again"
            link.wait("ACTIVE")


def adopted(ours: Ours, peer: Peer, server: NameServer) -> None:
    """Kill the agent under ping; the restarted agent resolves the name, and no ping is lost."""
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
