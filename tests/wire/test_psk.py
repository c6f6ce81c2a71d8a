"""psk and auth_mode: each connection has its own key, and a changed key needs a new authentication."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import vici

from linkspan.cli.client import ApiError
from linkspan.lab.fabric import ping
from tests.harness.ours import Ours, raw_charon
from tests.harness.peer import Message, Peer, decoded
from tests.harness.strongswan import IKE_VERSIONS, needs_ikev1
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT = 1000


@pytest.mark.shows("connection.psk", "connection.auth_mode")
def test_a_changed_psk_is_used_from_the_next_authentication(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    peer, neighbour = new_peer(), new_peer()
    for loaded in (peer, neighbour):
        loaded.load(ours.v4, ours.psk)
    link, other = ours.connect(peer), ours.connect(neighbour)
    for connected in (link, other):
        until(lambda connected=connected: [bool(c.get("dh-group")) for c in connected.listed()] == [True], 15.0)  # type: ignore[misc]
    peer.wait_log("with pre-shared key successful")
    link.assert_pings()
    spis = [(child["spi-in"], child["spi-out"]) for child in other.listed()]
    with ThreadPoolExecutor(1) as pool, neighbour.recorder() as seen:
        pinging = pool.submit(ping, ours.host, neighbour.in4, COUNT, 0.002)
        time.sleep(0.3)
        link.set(psk="the key after it")
        # The peer still has the old key: refused, with a reason at the gateway.
        link.wait_reason("pre-shared key", 10.0)
        assert peer.children() == []
        with pytest.raises(vici.exception.CommandException):
            peer.initiate(seconds=3.0)
        assert peer.children() == []
        peer.load(ours.v4, "the key after it")
        peer.initiate()
        answer = pinging.result()
    link.wait("ACTIVE")
    link.assert_pings()
    assert (answer.received, answer.sent, seen.plaintext) == (COUNT, COUNT, 0)
    assert seen.esp >= 2 * COUNT, "the pings were not carried by ESP"
    assert [(child["spi-in"], child["spi-out"]) for child in other.listed()] == spis


@pytest.mark.shows("connection.psk")
@pytest.mark.parametrize("version", [f"v{version}" for version in IKE_VERSIONS])
def test_the_key_of_a_peer_with_two_connections_is_changed_by_two_edits(ours: Ours, peer: Peer, version: str) -> None:
    second, *targets = _second_network(peer)
    ike = {"ike_version": version}
    links = (ours.connect(peer, ike=ike), ours.connect(peer, ike=ike, peer_cidrs=[second]))

    def load(key: str) -> None:
        children = {"net": _child(peer.net4), "more": _child(second)}
        peer.load(ours.v4, key, children=children, version=version[1:])

    load(ours.psk)
    for link, target in zip(links, targets, strict=True):
        link.wait("ACTIVE", 30.0)
        link.assert_pings(target)
    for key, (first, last) in (("the second key", links), ("the third key", links[::-1])):
        first.set(psk=key)
        # The peer has the earlier key: no tunnel comes up with that any more.
        for link in links:
            until(lambda link=link: link.status != "ACTIVE", 20.0)  # type: ignore[misc]
        last.wait_reason(f"the psk of connection {first.id}, which was changed later, is in use for both")
        assert len(_keys(ours, peer)) == 1
        load(key)
        for link in links:
            link.wait_rekeyed(40.0)
        assert (first.reason, "in use for both" in last.reason) == ("", True)
        spis = sorted(child["spi-in"] for child in last.sas())
        last.set(psk=key)
        until(lambda last=last: last.reason == "", 10.0)  # type: ignore[misc]
        assert sorted(child["spi-in"] for child in last.sas()) == spis, "the second edit changes nothing that runs"
        assert [link.status for link in links] == ["ACTIVE", "ACTIVE"]


@needs_ikev1
@pytest.mark.shows("connection.psk")
def test_two_identities_at_one_address_have_one_key_in_main_mode(ours: Ours, peer: Peer) -> None:
    """As two devices behind one NAT: main mode finds the key by the addresses, before the identities arrive."""
    second, *targets = _second_network(peer)
    values: dict[str, Any] = {"ike": {"ike_version": "v1"}, "initiator": "response-only"}
    networks = {"north.example.org": peer.net4, "south.example.org": second}
    links = [ours.connect(peer, peer_id=name, peer_cidrs=[cidr], **values) for name, cidr in networks.items()]

    def come_up(key: str) -> None:
        for name, cidr in networks.items():
            peer.load(ours.v4, key, name=name, local=name, children={name: _child(cidr)}, version="1")
            peer.initiate(name, name)
        for link, target in zip(links, targets, strict=True):
            link.wait("ACTIVE")
            link.assert_pings(target)

    with pytest.raises(ApiError, match="IKEv1 main mode selects keys by address") as refused:
        ours.connect(peer, peer_id="west.example.org", peer_cidrs=["10.222.0.0/24"], psk="another key", **values)
    assert refused.value.status == 409
    for link in links:
        link.wait_reason("waits for the peer to initiate")
    come_up(ours.psk)
    links[1].set(psk="the second key")
    links[0].wait_reason(f"the psk of connection {links[1].id}, which was changed later, is in use for both")
    for link in links:
        until(lambda link=link: link.sas() == [], 20.0)  # type: ignore[misc]
    for name in networks:
        # The peer has the earlier key.
        with pytest.raises(vici.exception.CommandException):
            peer.initiate(name, name, 3.0)
        peer.terminate(name)
    come_up("the second key")


def _second_network(peer: Peer) -> tuple[str, str, str]:
    """Add a second network behind a peer; return it and the peer's addresses in the first and in the second."""
    second = f"10.{peer.net4.split('.')[1]}.1.0/24"
    address = second.replace(".0/24", ".1")
    peer.run("ip", "address", "add", f"{address}/24", "dev", "lo")
    return second, peer.in4, address


def _child(network: str) -> Message:
    return {"local_ts": [network], "remote_ts": ["10.1.0.0/24"], "esp_proposals": ["aes128-sha256-modp2048"]}


def _keys(ours: Ours, peer: Peer) -> set[str]:
    """The keys for a peer that the gateway's charon holds, by their names."""
    with raw_charon(ours) as session:
        held = {name.decode() for name in session.get_shared()["keys"]}
        connections = [decoded(section) for section in session.list_conns()]
    return {
        name
        for sections in connections
        for name, section in sections.items()
        if name in held and section["remote_addrs"] == [peer.v4]
    }


@pytest.mark.shows("connection.psk")
def test_a_tunnel_needs_the_right_psk(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, "some other key")
    link = ours.connect(peer)
    link.wait_reason("pre-shared key", 10.0)
    assert peer.children() == []
    peer.load(ours.v4, ours.psk)
    peer.initiate()
    link.wait("ACTIVE")
    link.assert_pings()


@pytest.mark.shows("connection.auth_mode")
def test_the_peer_sees_the_auth_mode(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    ours.connect(peer, auth_mode="psk").wait("ACTIVE")
    peer.wait_log(f"authentication of '{ours.v4}' with pre-shared key successful")
    with pytest.raises(ApiError, match="required while auth_mode is certs"):
        ours.connect(peer, auth_mode="certs", peer_cidrs=["10.222.0.0/24"])
