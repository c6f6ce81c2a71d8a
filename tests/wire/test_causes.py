"""The code of what is wrong, at the end that can know, with charon at both ends; and none once it is mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import vici.exception

from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

V1: dict[str, Any] = {"ike": {"ike_version": "v1"}}
AGGRESSIVE: dict[str, Any] = {"ike": {"ike_version": "v1", "phase1_negotiation_mode": "aggressive"}}
NO_4500 = "table inet no4500 { chain out { type filter hook output priority 0; udp dport 4500 drop; }; }"
REJECTING = (
    "table inet rejecting { chain in { type filter hook input priority 0; "
    "udp dport 500 reject with icmpx admin-prohibited; }; }"
)
DEAF = "table inet deaf {{ chain inner {{ type filter hook input priority 0; ip daddr {address} drop; }}; }}"


def told(link: Link, code: str, seconds: float = 10.0) -> str:
    """Wait for a code; return the reason that comes with it."""
    until(lambda: link.shown["status_code"] == code, seconds, lambda: str(link.shown))
    return link.reason


def mended(link: Link, seconds: float = 40.0) -> None:
    """The control: the tunnel comes up, and nothing is left of the cause."""
    link.wait("ACTIVE", seconds)
    assert (link.shown["status_code"], link.reason) == ("", "")


INITIATOR: list[Any] = [
    # What is ours, what is the peer's, the code at our end, words of the reason.
    pytest.param({}, {"psk": "another key"}, "AUTHENTICATION_REFUSED", "pre-shared key", id="key"),
    pytest.param(V1, {"psk": "another key"}, "PSK_MISMATCH", "pre-shared key", id="key, IKEv1", marks=needs_ikev1),
    pytest.param(
        AGGRESSIVE, {"aggressive": "no"}, "AUTHENTICATION_REFUSED", "negotiation_mode", id="mode", marks=needs_ikev1
    ),
    pytest.param(
        V1, {"aggressive": "yes"}, "AUTHENTICATION_REFUSED", "negotiation_mode", id="other mode", marks=needs_ikev1
    ),
    pytest.param(
        {}, {"proposals": ["aes256-sha512-modp4096"]}, "IKE_REFUSED", "aes-128, sha256, group14", id="IKE proposal"
    ),
    pytest.param(
        {}, {"child": {"esp_proposals": ["aes256-sha512"]}}, "ESP_PROPOSAL_MISMATCH", "esp: aes-128", id="ESP proposal"
    ),
    pytest.param(
        {}, {"child": {"local_ts": ["10.77.0.0/24"]}}, "SELECTORS_UNACCEPTABLE", "here it is 10.1.0.0/24", id="networks"
    ),
]


@pytest.mark.parametrize(("ours_values", "peers", "code", "words"), INITIATOR)
def test_what_the_peer_refuses(
    ours: Ours, peer: Peer, ours_values: dict[str, Any], peers: dict[str, Any], code: str, words: str
) -> None:
    is_v1 = "ike" in ours_values
    fitting: dict[str, Any] = {
        "version": "1" if is_v1 else "2",
        "aggressive": "yes" if ours_values == AGGRESSIVE else "no",
    }
    peer.load(ours.v4, **{"psk": ours.psk, **fitting, **peers})
    link = ours.connect(peer, **ours_values)
    assert words in told(link, code)
    peer.unload()
    peer.load(ours.v4, ours.psk, **fitting)
    mended(link)


RESPONDER: list[Any] = [
    pytest.param({}, {"proposals": ["aes256-sha256-modp2048"]}, "IKE_PROPOSAL_MISMATCH_ENCRYPTION", id="encryption"),
    pytest.param({}, {"proposals": ["aes128-sha384-modp2048"]}, "IKE_PROPOSAL_MISMATCH_INTEGRITY", id="integrity"),
    pytest.param({}, {"proposals": ["aes128-sha256-prfsha384-modp2048"]}, "IKE_PROPOSAL_MISMATCH_PRF", id="PRF"),
    pytest.param({}, {"proposals": ["aes128-sha256-ecp256"]}, "IKE_PROPOSAL_MISMATCH_DH", id="group"),
    pytest.param({}, {"proposals": ["aes256-sha384-ecp384"]}, "IKE_PROPOSAL_MISMATCH", id="everything"),
    pytest.param({}, {"child": {"esp_proposals": ["aes256-sha256"]}}, "ESP_PROPOSAL_MISMATCH_ENCRYPTION", id="ESP"),
    pytest.param({}, {"child": {"esp_proposals": ["aes128-sha512"]}}, "ESP_PROPOSAL_MISMATCH_INTEGRITY", id="ESP hash"),
    pytest.param({}, {"child": {"remote_ts": ["10.77.0.0/24"]}}, "SELECTORS_UNACCEPTABLE", id="networks"),
    pytest.param({}, {"local": "fqdn:stranger.example.org"}, "PEER_ID_MISMATCH", id="peer_id"),
    pytest.param({}, {"remote": "fqdn:other.example.org"}, "LOCAL_ID_REFUSED", id="local_id"),
    pytest.param({}, {"psk": "another key"}, "PSK_MISMATCH", id="key"),
    pytest.param({}, {"version": "1"}, "IKE_VERSION_MISMATCH", id="version", marks=needs_ikev1),
    pytest.param(V1, {"version": "1", "psk": "another key"}, "PSK_MISMATCH", id="key, IKEv1", marks=needs_ikev1),
    pytest.param(
        V1, {"version": "1", "aggressive": "yes"}, "EXCHANGE_MODE_MISMATCH", id="mode, IKEv1", marks=needs_ikev1
    ),
    pytest.param(
        V1,
        {"version": "1", "child": {"esp_proposals": ["aes128-sha256-ecp384"]}},
        "PFS_MISMATCH",
        id="pfs, IKEv1",
        marks=needs_ikev1,
    ),
]


@pytest.mark.parametrize(("ours_values", "peers", "code"), RESPONDER)
def test_what_this_end_refuses(
    ours: Ours, peer: Peer, ours_values: dict[str, Any], peers: dict[str, Any], code: str
) -> None:
    version = "1" if "ike" in ours_values else "2"
    peer.load(ours.v4, **{"psk": ours.psk, "version": version, **peers})
    link = ours.connect(peer, initiator="response-only", **ours_values)
    told(link, "WAITING_FOR_PEER")
    with pytest.raises(vici.exception.CommandException):
        peer.initiate(seconds=2.0)
    assert "waits for the peer" not in told(link, code)
    peer.unload()
    peer.restart()
    peer.load(ours.v4, ours.psk, version=version)
    peer.initiate()
    mended(link)


def test_a_call_from_an_address_that_nobody_expects(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    peer, elsewhere = new_peer(), new_peer()
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, initiator="response-only", peer_address=elsewhere.v4)
    told(link, "WAITING_FOR_PEER")
    with pytest.raises(vici.exception.CommandException):
        peer.initiate(seconds=2.0)
    assert peer.v4 in told(link, "UNKNOWN_SOURCE")
    link.set(peer_address=peer.v4)
    told(link, "WAITING_FOR_PEER")
    peer.initiate()
    mended(link)


@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
def test_a_blocked_port_4500_is_not_a_silent_peer(ours: Ours, peer: Peer, initiator: str) -> None:
    peer.load(ours.v4, ours.psk)
    peer.run("nft", NO_4500)
    link = ours.connect(peer, initiator=initiator)
    if initiator == "response-only":
        told(link, "WAITING_FOR_PEER")
        with pytest.raises(vici.exception.CommandException):
            peer.initiate(seconds=2.0)
    told(link, "UDP_4500_BLOCKED", 45.0)
    peer.run("nft", "delete", "table", "inet", "no4500")
    if initiator == "response-only":
        # A charon that retransmits would wait for its next time.
        peer.restart()
        peer.load(ours.v4, ours.psk)
        peer.initiate()
    mended(link)


def test_a_silent_peer(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    peer.cut()
    try:
        link = ours.connect(peer)
        told(link, "PEER_NO_REPLY")
    finally:
        peer.heal()
    mended(link)


def test_who_says_that_the_peer_cannot_be_reached_is_named(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    peer.run("nft", REJECTING)
    link = ours.connect(peer)
    assert peer.v4 in told(link, "PEER_UNREACHABLE_ICMP", 30.0)
    peer.run("nft", "delete", "table", "inet", "rejecting")
    mended(link)


def test_a_peer_without_an_ike_daemon_is_not_a_silent_one(ours: Ours, peer: Peer) -> None:
    peer.kill()
    link = ours.connect(peer)
    told(link, "PEER_PORT_CLOSED", 30.0)
    peer.restart()
    peer.load(ours.v4, ours.psk)
    mended(link)


def test_a_next_hop_that_does_not_answer(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, peer_address="203.0.113.9")
    assert "next hop to the peer's address 203.0.113.9" in told(link, "PEER_UNREACHABLE_ICMP", 30.0)
    link.set(peer_address=peer.v4)
    mended(link)


def test_a_tunnel_that_is_up_and_through_which_nothing_comes_back(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    peer.run("nft", DEAF.format(address=peer.in4))
    link = ours.connect(peer)
    link.wait_rekeyed()
    ours.ping(peer.in4, 5)
    assert "none came in" in told(link, "UP_NO_TRAFFIC_IN", 60.0)
    assert link.status == "ACTIVE"
    peer.run("nft", "delete", "table", "inet", "deaf")
    link.assert_pings()
    told(link, "", 30.0)
    # And once it has worked: what comes back no more is found too.
    peer.run("nft", DEAF.format(address=peer.in4))

    def is_found() -> bool:
        ours.ping(peer.in4, 2)
        return bool(link.shown["status_code"] == "UP_NO_TRAFFIC_IN")

    until(is_found, 90.0, lambda: str(link.shown))


def test_a_tunnel_that_comes_and_goes(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, initiator="response-only")
    told(link, "WAITING_FOR_PEER")
    codes = []
    for _ in range(3):
        peer.initiate()
        link.wait("ACTIVE")
        peer.terminate()
        link.wait("DOWN")
        codes.append(link.shown["status_code"])
    assert codes == ["PEER_DELETED", "PEER_DELETED", "FLAPPING"]
