"""A response-only end says why the attempts of its peer fail, and when the last one was."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import vici.exception

from tests.harness.ours import CONNECTIONS, Link, Ours
from tests.harness.peer import Peer
from tests.wire.test_capabilities import node_of

pytestmark = [pytest.mark.wire, pytest.mark.root]

V1: dict[str, Any] = {"ike": {"ike_version": "v1"}}
AGGRESSIVE: dict[str, Any] = {"ike": {"ike_version": "v1", "phase1_negotiation_mode": "aggressive"}}
OTHER_PROPOSAL = {"proposals": ["aes256-sha384-modp3072"]}
STRANGER: dict[str, Any] = {"local": "fqdn:stranger.example.org"}
TIME = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC")
NO_4500 = "table inet no4500 { chain out { type filter hook output priority 0; udp dport 4500 drop; }; }"

FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # What is ours, what is the peer's, the words of the reason.
    "proposal": ({}, OTHER_PROPOSAL, "it offers aes-256, sha384, group15; here it is aes-128, sha256, group14"),
    "group": ({}, {"proposals": ["aes128-sha256-ecp256"]}, "it offers aes-128, sha256, group19; here it is"),
    "proposal, IKEv1": (V1, {"version": "1"} | OTHER_PROPOSAL, "it offers aes-256, sha384, group15; here it is"),
    "version 1": ({}, {"version": "1"}, "the peer uses IKEv1, and ike_version here is v2"),
    "version 2": (V1, {"version": "2"}, "the peer uses IKEv2, and ike_version here is v1"),
    "peer_id": ({}, STRANGER, "the peer calls itself 'stranger.example.org', and peer_id here is '"),
    "peer_id, IKEv1": (V1, {"version": "1"} | STRANGER, "the peer calls itself 'stranger.example.org', and peer_id"),
    "local_id": ({}, {"remote": "fqdn:other.example.org"}, "the peer calls us 'other.example.org', and local_id here"),
    "local_id, IKEv1": (V1, {"version": "1", "remote": "fqdn:other.example.org"}, "the peer ended its attempt"),
    "main mode": (AGGRESSIVE, {"version": "1"}, "compare phase1_negotiation_mode"),
    "aggressive mode": (V1, {"version": "1", "aggressive": "yes"}, "compare phase1_negotiation_mode"),
    "key": ({"psk": "another key than theirs"}, {}, "compare the pre-shared key"),
    "key, IKEv1": (V1 | {"psk": "another key than theirs"}, {"version": "1"}, "compare the pre-shared key"),
    "key, aggressive": (
        AGGRESSIVE | {"psk": "another key than theirs"},
        {"version": "1", "aggressive": "yes"},
        "compare the pre-shared key",
    ),
    "IPsec proposal": ({}, {"child": {"esp_proposals": ["aes256-sha512"]}}, "it offers aes-256, sha512; here it is"),
    "selectors": ({}, {"child": {"remote_ts": ["10.77.0.0/24"]}}, "the traffic selectors do not match"),
}


def attempt(peer: Peer) -> None:
    with pytest.raises(vici.exception.CommandException):
        peer.initiate(seconds=2.0)


def says(link: Link, words: str, seconds: float = 10.0) -> None:
    reason = link.wait_reason(words, seconds)
    assert TIME.search(reason), reason
    assert "waits for the peer" not in reason


@pytest.mark.parametrize("fault", FAULTS)
def test_the_reason_is_what_is_wrong_and_when(ours: Ours, peer: Peer, fault: str) -> None:
    """Once both ends agree the tunnel comes up, and nothing is left of the reason."""
    values, settings, words = FAULTS[fault]
    if ("ike" in values or settings.get("version") == "1") and not node_of(ours).ikev1:
        pytest.skip("this strongSwan has no IKEv1")
    peer.load(ours.v4, ours.psk, **settings)
    link = ours.connect(peer, initiator="response-only", **values)
    link.wait_reason("waits for the peer to initiate")
    attempt(peer)
    says(link, words)
    ours.delete(CONNECTIONS, link.id)
    peer.unload()
    peer.restart()
    version = "2" if "ike" not in values else "1"
    aggressive: dict[str, Any] = {"aggressive": "yes"} if values.get("ike") == AGGRESSIVE["ike"] else {}
    peer.load(ours.v4, ours.psk, version=version, **aggressive)
    good = ours.connect(peer, initiator="response-only", **{"ike": values["ike"]} if "ike" in values else {})
    good.wait_reason("waits for the peer to initiate")
    peer.initiate()
    good.wait("ACTIVE")
    assert good.reason == ""


def test_a_blocked_port_4500_is_said(ours: Ours, peer: Peer) -> None:
    """charon drops the attempt after 30 s."""
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, initiator="response-only")
    link.wait_reason("waits for the peer to initiate")
    peer.run("nft", NO_4500)
    attempt(peer)
    says(link, "check that UDP 500 and 4500 pass", 45.0)


def test_a_refused_attempt_is_no_reason_of_connections_that_it_was_not_for(
    ours: Ours, new_peer: Callable[[], Peer]
) -> None:
    """Neither of one that is up, nor of one to another peer."""
    peer, other = new_peer(), new_peer()
    peer.load(ours.v4, ours.psk)
    up = ours.connect(peer, initiator="response-only")
    elsewhere = ours.connect(other, initiator="response-only")
    up.wait_reason("waits for the peer to initiate")
    peer.initiate()
    up.wait("ACTIVE")
    down = ours.connect(peer, initiator="response-only", peer_id="one.example.org", peer_cidrs=["10.250.0.0/24"])
    down.wait_reason("waits for the peer to initiate")
    peer.load(ours.v4, ours.psk, name="stranger", **STRANGER)
    with pytest.raises(vici.exception.CommandException):
        peer.initiate("net", "stranger", 2.0)
    says(down, "the peer calls itself 'stranger.example.org', and peer_id here is 'one.example.org'")
    assert (up.status, up.reason) == ("ACTIVE", "")
    assert elsewhere.reason.startswith("waits for the peer to initiate")
