"""Revocation lists that the agent fetches, in the gateway's namespace, from a server that a tenant has chosen."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linkspan.core.ipsec.crl_schedule import Fetched
from linkspan.core.state.credentials import Certificates, Revocation
from linkspan.drivers.gateway.http_fetcher import DEADLINE, MOST
from linkspan.drivers.linux import netns
from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.certified import OUT, between, load, ours, theirs
from tests.harness.crl_server import CrlServer
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

TCP = 6


@pytest.fixture
def server(peer: Peer, tmp_path: Path) -> Iterator[CrlServer]:
    running = CrlServer(peer, tmp_path)
    try:
        yield running
    finally:
        running.close()


def fetch(site: AgentSite, url: str) -> Fetched:
    done, found = threading.Event(), list[Fetched]()

    def deliver(fetched: Fetched) -> None:
        found.append(fetched)
        done.set()

    site.drivers.fetcher.fetch(site.gateway.id, url, deliver)
    assert done.wait(DEADLINE + 5)
    return found[0]


def test_a_file_is_fetched_by_the_ports_that_the_guard_lets_out(site: AgentSite, server: CrlServer) -> None:
    server.crl.write_bytes(b"content")
    assert fetch(site, f"{server.url}/crl") == Fetched(f"{server.url}/crl", b"content")
    ((port, path),) = server.requests
    assert path == "/crl"
    assert 1008 <= int(port) <= 1023


def test_another_connection_of_the_gateway_does_not_get_out(site: AgentSite, peer: Peer, server: CrlServer) -> None:
    program = f"import socket; socket.create_connection(('{server.url.removeprefix('http://')}', 80), 2)"
    with peer.recorder() as recorded:
        done = netns.run_inside(
            site.namespace, lambda: subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
        )
    assert b"timed out" in done.stderr
    assert not [packet for packet in recorded.packets if packet.frame[12:14] == b"\x08\x00" and packet.frame[23] == TCP]


def test_the_fetch_ports_are_closed_for_connections_to_them(site: AgentSite, peer: Peer) -> None:
    """Not even a reset shows that a gateway is there, as on every other port."""
    for port in (1008, 1023, 80):
        program = f"import socket; socket.create_connection(('{site.v4}', {port}), 1)"
        done = netns.run_inside(
            peer.namespace,
            lambda program=program: subprocess.run([sys.executable, "-c", program], capture_output=True, check=False),  # type: ignore[misc]
        )
        assert b"timed out" in done.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/missing", "the server answers 404"),
        ("/moved", "the server answers 302"),
        ("/large", f"more than {MOST} bytes"),
        ("/slow", f"did not answer within {DEADLINE} s"),
        ("/cut", "only a part"),
    ],
)
def test_what_is_not_fetched(site: AgentSite, server: CrlServer, path: str, words: str) -> None:
    server.crl.write_bytes(b"content")
    fetched = fetch(site, f"{server.url}{path}")
    assert words in fetched.error
    assert fetched.data == b""
    assert [seen for _, seen in server.requests] == [path]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "https://198.51.100.101/crl",
        "http:///crl",
        "http://user@198.51.100.101/",
        "http://198.51.100.101/a b",
        "http://198.51.100.101:99999/",
        "http://127.0.0.1/crl",
        "http://[::1]/crl",
        "http://169.254.169.254/latest",
        "http://[::ffff:127.0.0.1]/crl",
    ],
)
def test_addresses_that_are_never_asked(site: AgentSite, url: str) -> None:
    fetched = fetch(site, url)
    assert fetched.error
    assert not fetched.data


def certificates(root: Ca, url: str, revocation: Revocation = "strict") -> Certificates:
    return between(ours(root), root, revocation=revocation, crl_urls=[url])


def test_a_fetched_list_lets_in_and_keeps_out(site: AgentSite, peer: Peer, server: CrlServer) -> None:
    root = Ca("Fetched")
    other = theirs(root)
    load(peer, site, other, root)
    url = f"{server.url}/crl"
    link = site.connect(peer, certificates=certificates(root, url))
    link.wait_reason("there is no revocation list of the peer's CA")
    server.crl.write_text(root.crl())
    link.wait("up", 60.0)
    link.assert_pings()
    before = link.children()
    server.crl.write_text(root.crl(other))
    # What is fetched next; the schedule has an hour of time.
    site.worker.send(fetch(site, url))
    until(lambda: not set(before) & set(link.children()), OUT, link.tell)
    link.wait_reason("the peer's certificate was revoked on")
    assert not link.children()


def test_a_list_that_the_ca_has_not_signed_counts_for_nothing(site: AgentSite, peer: Peer, server: CrlServer) -> None:
    root, forger = Ca("Forged"), Ca("Forged")
    other = theirs(root)
    load(peer, site, other, root)
    url = f"{server.url}/crl"
    server.crl.write_text(forger.crl(other, number=1000))
    link = site.connect(peer, certificates=certificates(root, url, "if_available"))
    until(lambda: bool(server.requests), 10.0)
    link.settle()
    assert link.children()
    server.crl.write_text(root.crl(other))
    site.worker.send(fetch(site, url))
    until(lambda: not link.children(), OUT, link.tell)


def test_two_cas_of_one_name_have_their_own_lists(site: AgentSite, peer: Peer) -> None:
    """charon takes the lists of both for those of one, and keeps the one with the higher number."""
    former, root = Ca("Namesake"), Ca("Namesake")
    load(peer, site, theirs(former), former)
    with_crl: dict[str, Any] = {"revocation": "if_available", "crls": [former.crl(number=1000)]}
    link = site.connect(peer, certificates=between(ours(former), former, **with_crl))
    link.wait("up")
    site.delete(link.id)
    revoked = theirs(root)
    load(peer, site, revoked, root)
    with_crl = {"revocation": "if_available", "crls": [root.crl(revoked)]}
    link = site.connect(peer, certificates=between(ours(root), root, **with_crl))
    link.wait_reason("the peer's certificate was revoked on")
    assert not link.children()
