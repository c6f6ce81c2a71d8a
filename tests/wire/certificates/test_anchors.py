"""Trust anchors: whom they admit, other ones while a tunnel is up, and several at one gateway."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.certified import INTERVAL, LOST, between, load, ours, theirs
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


def test_certificates_of_intermediate_authorities(site: AgentSite, peers: Callable[..., Peer], root: Ca) -> None:
    """An anchor that ends in an intermediate authority admits that one, and not its sister."""
    sub, sister = Ca("Sub", above=root), Ca("Sister", above=root)
    for issuer, admitted in ((sister, False), (sub, True)):
        peer = peers()
        load(peer, site, theirs(issuer), root)
        link = site.connect(peer, certificates=between(ours(root), sub))
        if admitted:
            link.wait("up")
            link.assert_pings()
        else:
            link.wait_reason("is from another CA than 'C=CH, O=Lab, CN=Sub'")
        site.clear()


def test_two_connections_of_one_peer_with_different_cas(site: AgentSite, peers: Callable[..., Peer]) -> None:
    """Each peer is judged by its own connection's anchor, also where the gateway knows both CAs."""
    one, two = Ca("CA one"), Ca("CA two")
    first, second = peers(), peers()
    load(first, site, theirs(one), one)
    load(second, site, theirs(two), two)
    links = [
        site.connect(first, certificates=between(ours(one), one)),
        site.connect(second, certificates=between(ours(two), two)),
    ]
    for link in links:
        link.wait("up")
        link.assert_pings()
    site.change(links[0].id, certificates=between(ours(one), two))
    links[0].wait_reason("is from another CA than 'C=CH, O=Lab, CN=CA two'")


def test_a_peer_that_a_new_anchor_does_not_admit_is_out(site: AgentSite, peer: Peer, root: Ca) -> None:
    load(peer, site, theirs(root), root)
    mine = ours(root)
    link = site.connect(peer, certificates=between(mine, root))
    link.settle()
    other = Ca("Successor")
    site.change(link.id, certificates=between(mine, root, other))
    link.wait_applied()
    link.settle()
    assert link.children(), "an anchor that admits more ends nobody"
    site.change(link.id, certificates=between(mine, other))
    link.wait_reason("revision .* in use")
    until(lambda: not link.children(), 20.0, link.tell)
    link.wait("down")
    load(peer, site, theirs(other), root)
    link.wait("up", 40.0)
    link.assert_pings()


def test_a_ca_is_renewed_with_another_key(site: AgentSite, peer: Peer) -> None:
    """First the anchor has both, then the peer's certificate is from the new one, then the old one goes."""
    old, new = Ca("Renewed CA"), Ca("Renewed CA")
    mine = ours(old)
    load(peer, site, theirs(old), old)
    link = site.connect(peer, certificates=between(mine, old))
    link.settle()
    with peer.recorder() as recorded, ThreadPoolExecutor() as pool:
        pings = pool.submit(link.ping, 2400, INTERVAL)
        site.change(link.id, certificates=between(mine, old, new))
        link.wait_applied()
        load(peer, site, theirs(new), old)
        site.change(link.id, certificates=between(mine, new))
        link.wait_applied()
        answer = pings.result()
    assert len(answer.lost) <= 2 * LOST, (answer.lost, link.tell())
    assert recorded.plaintext == 0
    link.assert_pings()
