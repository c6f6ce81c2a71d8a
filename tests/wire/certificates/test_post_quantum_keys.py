"""Post-quantum preshared keys (RFC 8784), with certificates and with a pre-shared key."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PostQuantumKey
from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.certified import THEM, US, between, comes_up, initiate_until_up, load, load_ppk, ours, theirs
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.parametrize("auth", ["certs", "psk"])
def test_a_post_quantum_key(site: AgentSite, peer: Peer, root: Ca, auth: str) -> None:
    ppk = PostQuantumKey(id="ppk@example.org", key=Secret("quantum"), required=False, ref="1")
    load_ppk(peer, ppk.id, "quantum")
    both: dict[str, Any] = {"ppk_id": ppk.id, "ppk_required": "no"}
    if auth == "certs":
        load(peer, site, theirs(root), root, **both)
        values: dict[str, Any] = {"certificates": between(ours(root), root)}
    else:
        peer.load(site.v4, "open sesame", local=THEM, remote=US, **both)
        values = {"auth_mode": "psk", "psk": Secret("open sesame"), "psk_ref": "1"}
    link = site.connect(peer, ppk=ppk, **values)
    link.settle()
    assert [sa.get("ppk") for sa in link.listed()] == ["yes"]
    assert link.reason == ""
    # Rekeyed, it still has it.
    with site.session() as session:
        list(session.rekey({"ike": link.listed()[0]["name"]}))
    time.sleep(1.0)
    until(lambda: [sa.get("ppk") for sa in link.listed() if sa["state"] == "ESTABLISHED"] == ["yes"], 5.0, link.tell)
    assert link.reason == ""
    link.assert_pings()


def test_an_optional_post_quantum_key_that_the_peer_lacks_is_said(site: AgentSite, peer: Peer, root: Ca) -> None:
    ppk = PostQuantumKey(id="ppk@example.org", key=Secret("quantum"), required=False, ref="1")
    load(peer, site, theirs(root), root)
    link = site.connect(peer, ppk=ppk, certificates=between(ours(root), root))
    link.wait("up")
    link.wait_reason("without a PPK: the peer has none")
    required = msgspec.structs.replace(ppk, required=True, ref="2")
    site.change(link.id, ppk=required)
    link.wait_reason("the peer has no post-quantum key, and ppk_required is true")
    load_ppk(peer, ppk.id, "quantum")
    load(peer, site, theirs(root), root, ppk_id=ppk.id, ppk_required="yes")
    until(lambda: link.state == "up" and link.reason == "", 40.0, link.tell)
    assert [sa.get("ppk") for sa in link.listed() if sa["state"] == "ESTABLISHED"] == ["yes"]


def test_post_quantum_keys_with_other_names(site: AgentSite, peer: Peer, root: Ca) -> None:
    ppk = PostQuantumKey(id="ppk@example.org", key=Secret("quantum"), required=True, ref="1")
    load_ppk(peer, "other@example.org", "quantum")
    load(peer, site, theirs(root), root, ppk_id="other@example.org", ppk_required="yes")
    certificates = between(ours(root), root)
    link = site.connect(peer, ppk=ppk, certificates=certificates, initiator="response-only")
    link.wait("down")
    assert not comes_up(peer)
    link.wait_reason("the peer names its post-quantum key 'other@example.org'")


def test_post_quantum_keys_that_differ(site: AgentSite, peer: Peer, root: Ca) -> None:
    ppk = PostQuantumKey(id="ppk@example.org", key=Secret("quantum"), required=True, ref="1")
    load_ppk(peer, ppk.id, "another one")
    load(peer, site, theirs(root), root, ppk_id=ppk.id, ppk_required="yes")
    link = site.connect(peer, ppk=ppk, certificates=between(ours(root), root), initiator="response-only")
    link.wait("down")
    assert not comes_up(peer)
    link.wait_reason("or the post-quantum keys differ: compare ppk")
    load_ppk(peer, ppk.id, "quantum")
    initiate_until_up(link)
    link.assert_pings()
