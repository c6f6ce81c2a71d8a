"""Restarts of agent and charon, and an unloading of everything: all is loaded again. And no file has a key."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

import msgspec
import pytest

from linkspan.agent import credentials as agent_credentials
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import PostQuantumKey
from linkspan.drivers.charon.vici import CharonAbsent
from linkspan.drivers.ports import Unresponsive
from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.certified import THEM, US, between, load, load_ppk, loaded_keys, ours, theirs
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


def test_a_restarted_agent_goes_on_with_what_charon_has(site: AgentSite, peer: Peer, root: Ca) -> None:
    load(peer, site, theirs(root), root)
    mine = ours(root)
    link = site.connect(peer, certificates=between(mine, root))
    link.settle()
    before = link.children()
    with link.peer.recorder() as recorded:
        site.restart_agent()
        link.wait("up")
        link.settle()
    assert link.children() == before
    assert recorded.attempts() == 0
    assert loaded_keys(site) == {mine.key_id}
    other = ours(root)
    site.connections[link.id] = msgspec.structs.replace(
        site.connections[link.id], certificates=between(other, root), revision=10_000
    )
    site.restart_agent()
    link.wait("up")
    until(lambda: loaded_keys(site) == {other.key_id}, 10.0, link.tell)
    link.assert_pings()


def test_a_killed_charon_gets_everything_again(site: AgentSite, peer: Peer, root: Ca) -> None:
    other = theirs(root)
    load(peer, site, other, root, ppk_id="ppk@example.org", ppk_required="yes")
    load_ppk(peer, "ppk@example.org", "quantum")
    ppk = PostQuantumKey(id="ppk@example.org", key=Secret("quantum"), required=True, ref="1")
    certificates = between(ours(root), root, revocation="strict", crls=[root.crl()])
    link = site.connect(peer, ppk=ppk, certificates=certificates)
    link.settle()
    with site.charon() as charon:
        killed = charon.pid
        os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        # While it starts, its socket is there before its pid is known.
        with contextlib.suppress(CharonAbsent, Unresponsive), site.charon() as charon:
            return charon.pid != killed and bool(charon.keys()) and bool(link.children())
        return False

    until(is_back, 40.0, link.tell)
    link.settle()
    link.assert_pings()


def authorities(site: AgentSite) -> int:
    """Return the number of CAs in the gateway's charon."""
    with site.session() as session:
        return len(list(session.list_certs({"type": "X509", "flag": "CA"})))


def test_leftovers_are_unloaded_and_tunnels_do_not_notice(
    site: AgentSite, peers: Callable[..., Peer], root: Ca, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few CAs allowed, each new anchor makes the agent unload everything, keys of others included."""
    certified, keyed, edited = peers(), peers(), peers()
    load(certified, site, theirs(root), root)
    keyed.load(site.v4, "open sesame", local=THEM, remote=US)
    first = site.connect(certified, certificates=between(ours(root), root))
    second = site.connect(keyed, auth_mode="psk", psk=Secret("open sesame"), psk_ref="1")
    for link in (first, second):
        link.settle()
    before = [link.children() for link in (first, second)]
    monkeypatch.setattr(agent_credentials, "AUTHORITIES", 1)
    third = site.connect(edited, certificates=between(ours(root), root), initiator="response-only")
    for number in range(6):
        site.change(third.id, certificates=between(ours(root), Ca(f"Anchor {number}")))
        third.wait("down")
        until(lambda revision=site.connections[third.id].revision: site.report(third.id).revision == revision, 10.0)  # type: ignore[misc, union-attr]
    assert authorities(site) <= 3
    assert [link.children() for link in (first, second)] == before
    for link in (first, second):
        link.assert_pings()
        # And they come up again with what was loaded again.
        link.peer.terminate()
        until(lambda link=link: bool(link.children()) and link.children() not in before, 30.0, link.tell)  # type: ignore[misc]
        link.assert_pings()


def test_a_private_key_is_in_no_file(site: AgentSite, peer: Peer, root: Ca) -> None:
    ppk = PostQuantumKey(id="ppk@example.org", key=Secret("quantum-canary"), required=False, ref="1")
    load(peer, site, theirs(root), root)
    mine = ours(root)
    link = site.connect(peer, ppk=ppk, certificates=between(mine, root))
    link.wait("up")
    canaries = ["quantum-canary", "PRIVATE KEY", *mine.key_pem.splitlines()[1:-1]]
    texts = [file.read_bytes() for file in site.state.rglob("*") if file.is_file()]
    assert texts
    assert not [canary for canary in canaries for text in texts if canary.encode() in text]
