"""Post-quantum preshared keys (RFC 8784) from the API to the wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.certified import load_ppk
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

PPK: dict[str, Any] = {"ppk_id": "ppk@example.org", "ppk": "a post-quantum key of some length"}


def wait_with_ppk(link: Link) -> None:
    """Wait until the tunnel is up with the key at both ends, and nothing else is."""
    peer = link.peer
    until(lambda: [sa.get("ppk") for sa in peer.sas()] == ["yes"], 40.0, lambda: str((peer.sas(), link.shown)))
    until(lambda: (link.status, link.reason) == ("ACTIVE", ""), 20.0, lambda: str(link.shown))


@pytest.mark.shows("connection.ppk_id", "connection.ppk", "connection.ppk_required")
def test_a_post_quantum_key(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, **PPK, ppk_required=True)
    link.wait_reason("post-quantum key", 20.0)
    assert peer.children() == []
    link.set(ppk_required=False)
    link.wait("ACTIVE", 30.0)
    link.wait_reason("without a PPK", 10.0)
    assert "ppk" not in peer.sas()[0]
    load_ppk(peer, PPK["ppk_id"], PPK["ppk"])
    peer.load(ours.v4, ours.psk, ppk_id=PPK["ppk_id"], ppk_required="yes")
    link.set(ppk_required=True)
    wait_with_ppk(link)
    link.assert_pings()
    assert link.shown["ppk"] is None, "it is never shown"


@pytest.mark.shows("connection.ppk_id", "connection.ppk")
@pytest.mark.parametrize("change", [{"ppk": "another post-quantum key"}, {"ppk_id": "next@example.org"}])
def test_another_post_quantum_key_is_used_at_once(ours: Ours, peer: Peer, change: dict[str, str]) -> None:
    load_ppk(peer, PPK["ppk_id"], PPK["ppk"])
    peer.load(ours.v4, ours.psk, ppk_id=PPK["ppk_id"], ppk_required="yes")
    link = ours.connect(peer, **PPK, ppk_required=True)
    wait_with_ppk(link)
    before = {sa["uniqueid"] for sa in peer.sas()}
    after = PPK | change
    load_ppk(peer, after["ppk_id"], after["ppk"])
    peer.load(ours.v4, ours.psk, ppk_id=after["ppk_id"], ppk_required="yes")
    link.set(**change)
    until(lambda: bool({sa["uniqueid"] for sa in peer.sas()} - before), 20.0, lambda: str(link.shown))
    wait_with_ppk(link)
    link.assert_pings()
