"""Certificates from the API to the wire: what users make of the resources carries tunnels, and what they revoke, renew
or change takes effect on tunnels that are up."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography import x509

from linkspan.lab.fabric import ping
from tests.harness.authorities import Ca
from tests.harness.certified import THEM, US, comes_up, serials, theirs
from tests.harness.ours import VPN, Ours
from tests.harness.own_ca import OwnCa, connect, load
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.shows(
    "connection.auth_mode",
    "connection.local_certificate_id",
    "connection.trust_anchor_id",
    "certificate.source",
    "certificate.issuer_id",
    "certificate.subject_alt_names",
    "certificate.key_algorithm",
    "trust_anchor.source",
)
@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
@pytest.mark.parametrize(
    ("version", "kind"),
    [("v2", "ecdsa-p256"), ("v2", "ed25519"), pytest.param("v1", "rsa-2048", marks=needs_ikev1)],
)
def test_a_ca_of_the_projects_own_carries_tunnels(
    ours: Ours, peer: Peer, version: str, kind: str, initiator: str
) -> None:
    # An IKEv1 SA has one method of signing for both ends.
    ca = OwnCa(ours, kind, "rsa-2048" if version == "v1" else "ecdsa-p256")
    load(ours, peer, ca.peer, ca.pem, version=version[1:])
    link = connect(ours, peer, ca.certificate, ca.anchor, initiator=initiator, ike={"ike_version": version})
    if initiator == "response-only":
        link.wait_reason("waits for the peer")
        until(lambda: comes_up(peer), 20.0, lambda: str(link.shown))
    link.wait("ACTIVE", 30.0)
    with peer.recorder() as seen:
        link.assert_pings()
    assert seen.plaintext == 0
    assert seen.esp >= 6
    shown = link.shown
    assert (shown["auth_mode"], shown["local_certificate_id"], shown["trust_anchor_id"]) == (
        "certs",
        ca.certificate,
        ca.anchor,
    )


@pytest.mark.shows("certificate.csr", "certificate.certificate", "trust_anchor.ca_bundle", "certificate.subject")
def test_a_certificate_of_another_ca_answers_the_request(ours: Ours, peer: Peer) -> None:
    root = Ca()
    middle = Ca("Middle", above=root)
    id = ours.create("certificates", name="gw", subject="C=CH, O=Lab, CN=gw", subject_alt_names=[US])
    shown = ours.user.request("GET", f"{VPN}/certificates/{id}")["certificate"]
    assert shown["status"] == "awaiting_certificate"
    anchor = ours.create("trust-anchors", name="middle", ca_bundle=middle.pem + root.pem)
    ours.update("certificates", id, certificate=middle.answer(shown["csr"]))
    load(ours, peer, theirs(middle), root.pem)
    link = connect(ours, peer, id, anchor)
    link.wait("ACTIVE", 30.0)
    link.assert_pings()
    renewed = middle.answer(shown["csr"])
    ours.update("certificates", id, certificate=renewed)
    sent = x509.load_pem_x509_certificate(renewed.encode()).serial_number
    until(lambda: sent in serials(peer), 20.0, lambda: str(link.shown))
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 20.0, lambda: str(link.shown))
    # A peer below another intermediate of the same root is not admitted.
    load(ours, peer, theirs(Ca("Sister", above=root)), root.pem)
    peer.terminate()
    # strongSwan 5.9 does not know the other CA, 6.0 does, and it is not the one of the anchor.
    link.wait_reason(" CA ", 30.0)
    assert ours.ping(peer.in4, 3).received == 0


@pytest.mark.shows("certificate.certificate", "certificate.private_key", "certificate.source")
def test_an_imported_certificate_gets_another_key(ours: Ours, peer: Peer) -> None:
    ca = Ca()
    anchor = ours.create("trust-anchors", name="ca", ca_bundle=ca.pem)
    first, second = (ca.issued(US, subject="gw") for _ in range(2))
    id = ours.create(
        "certificates", name="gw", source="imported", certificate=first.chain[0], private_key=first.key_pem
    )
    load(ours, peer, theirs(ca), ca.pem)
    link = connect(ours, peer, id, anchor)
    link.wait("ACTIVE", 30.0)
    link.assert_pings()
    ours.update("certificates", id, certificate=second.chain[0], private_key=second.key_pem)
    until(lambda: second.serial in serials(peer), 20.0, lambda: str(link.shown))
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 20.0, lambda: str(link.shown))
    link.assert_pings()


@pytest.mark.shows("connection.peer_certificates")
def test_only_a_pinned_peer_is_let_in(ours: Ours, peer: Peer) -> None:
    ca = OwnCa(ours)
    load(ours, peer, ca.peer, ca.pem)
    pinned = ca.issue(THEM)
    link = connect(ours, peer, ca.certificate, ca.anchor, peer_certificates=[pinned.chain[0]])
    link.wait_reason("peer_certificates", 20.0)
    link.set(peer_certificates=[pinned.chain[0], ca.peer.chain[0]])
    link.wait("ACTIVE", 30.0)
    link.assert_pings()


def pings_across(ours: Ours, peer: Peer, change: Callable[[], Any]) -> int:
    """Change something under a ping every 5 ms for 5 s; return how many of 1,000 were lost."""
    with ThreadPoolExecutor(1) as pool, peer.recorder() as seen:
        pinging = pool.submit(ping, ours.host, peer.in4, 1000, 0.005)
        time.sleep(0.5)
        change()
        answer = pinging.result()
    assert seen.plaintext == 0
    assert seen.esp >= 1800
    return answer.sent - answer.received


@pytest.mark.shows("connection.auth_mode", "connection.local_certificate_id")
def test_a_key_and_then_a_renewed_certificate_without_a_gap(ours: Ours, peer: Peer) -> None:
    ca = OwnCa(ours)
    renewed = ours.create("certificates", name="next", source="generated", issuer_id=ca.anchor, subject_alt_names=[US])
    ends: dict[str, Any] = {"local": THEM, "remote": US}
    peer.load(ours.v4, ours.psk, **ends)
    peer.load(ours.v4, "", name="certified", issued=ca.peer, authorities=[ca.pem], **ends)
    link = ours.connect(peer, local_id=US, peer_id=THEM)
    link.wait_rekeyed()
    credentials = {"auth_mode": "certs", "local_certificate_id": ca.certificate, "trust_anchor_id": ca.anchor}
    lost = pings_across(ours, peer, lambda: link.set(**credentials))
    assert [sa for sa in peer.sas() if sa["local-id"] == THEM]
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 20.0, lambda: str(link.shown))
    until(lambda: len(peer.sas()) == 1, 20.0, lambda: str(peer.sas()))
    print(f"psk -> certs: {lost} of 1000 lost")
    assert lost <= 4
    lost = pings_across(ours, peer, lambda: link.set(local_certificate_id=renewed))
    print(f"another certificate: {lost} of 1000 lost")
    assert lost <= 4
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 20.0, lambda: str(link.shown))
    shown = ours.user.request("GET", f"{VPN}/certificates/{renewed}")["certificate"]
    assert x509.load_pem_x509_certificate(shown["certificate"].encode()).serial_number in serials(peer)
