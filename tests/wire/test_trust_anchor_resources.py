"""Trust anchors from the API to the wire: whom they admit, and the revocation lists that count, also while a tunnel is
up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.harness.authorities import Ca
from tests.harness.certified import THEM, comes_up, theirs
from tests.harness.crl_server import CrlServer
from tests.harness.ours import Ours
from tests.harness.own_ca import OwnCa, connect, load
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.shows("trust_anchor.crl", "trust_anchor.revocation", "certificate.revoked_at")
def test_a_peer_that_is_revoked_while_up_is_out_and_stays_out(ours: Ours, peer: Peer) -> None:
    ca = OwnCa(ours)
    load(ours, peer, ca.peer, ca.pem)
    link = connect(ours, peer, ca.certificate, ca.anchor)
    link.wait("ACTIVE", 30.0)
    # Its control: another certificate is revoked, and the tunnel stays.
    ca.revoke(ca.issue("somebody.example.org"))
    time.sleep(2.0)
    assert link.status == "ACTIVE"
    link.assert_pings()
    ca.revoke(ca.peer)
    until(lambda: link.status != "ACTIVE", 10.0, lambda: str(link.shown))
    link.wait_reason("revoked", 10.0)
    assert not comes_up(peer)
    assert ours.ping(peer.in4, 3).received == 0
    # With a certificate that is good it is let in again.
    load(ours, peer, ca.issue(THEM), ca.pem)
    link.wait("ACTIVE", 40.0)


@pytest.mark.shows("connection.trust_anchor_id", "trust_anchor.ca_bundle")
@pytest.mark.parametrize("change", ["another anchor", "another bundle"])
def test_another_anchor_admits_another_peer(ours: Ours, peer: Peer, change: str) -> None:
    own, first, second = OwnCa(ours), Ca("First"), Ca("Second")
    named = {"first": first, "second": second}
    anchor, another = (ours.create("trust-anchors", name=name, ca_bundle=ca.pem) for name, ca in named.items())
    load(ours, peer, theirs(second), own.pem)
    link = connect(ours, peer, own.certificate, anchor)
    # strongSwan 5.9 does not know the other CA, 6.0 does, and it is not the one of the anchor.
    link.wait_reason(" CA ", 20.0)
    assert peer.children() == []
    if change == "another anchor":
        link.set(trust_anchor_id=another)
    else:
        ours.update("trust-anchors", anchor, ca_bundle=first.pem + second.pem)
    link.wait("ACTIVE", 30.0)
    link.assert_pings()


@pytest.mark.shows("trust_anchor.revocation", "trust_anchor.crl")
def test_a_list_counts_if_revocation_says_so(ours: Ours, peer: Peer) -> None:
    own, ca = OwnCa(ours), Ca()
    issued = theirs(ca)
    anchor = ours.create("trust-anchors", name="ca", ca_bundle=ca.pem, revocation="none", crl=ca.crl(issued))
    load(ours, peer, issued, own.pem)
    link = connect(ours, peer, own.certificate, anchor)
    link.wait("ACTIVE", 30.0)
    link.assert_pings()
    ours.update("trust-anchors", anchor, revocation="if_available")
    until(lambda: link.status != "ACTIVE", 20.0, lambda: str(link.shown))
    link.wait_reason("revoked", 10.0)
    ours.update("trust-anchors", anchor, crl=ca.crl())
    link.wait("ACTIVE", 40.0)
    link.assert_pings()


@pytest.mark.shows("trust_anchor.crl_urls")
def test_a_strict_anchor_lets_in_with_a_list_from_its_url(ours: Ours, peer: Peer, tmp_path: Path) -> None:
    own, ca = OwnCa(ours), Ca()
    server = CrlServer(peer, tmp_path)
    try:
        server.crl.write_text(ca.crl())
        urls = [f"{server.url}/missing"]
        values = {"ca_bundle": ca.pem, "revocation": "strict", "crl_urls": urls}
        anchor = ours.create("trust-anchors", name="ca", **values)
        load(ours, peer, theirs(ca), own.pem)
        link = connect(ours, peer, own.certificate, anchor)
        link.wait_reason("there is no revocation list", 20.0)
        assert peer.children() == []
        ours.update("trust-anchors", anchor, crl_urls=[f"{server.url}/crl"])
        link.wait("ACTIVE", 60.0)
        link.assert_pings()
        assert {path for _, path in server.requests} == {"/missing", "/crl"}
    finally:
        server.close()
