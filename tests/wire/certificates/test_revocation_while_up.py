"""Certificates that are revoked while their tunnel is up."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from tests.harness import credentials
from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.certified import LOST, OUT, VERSIONS, between, comes_up, load, ours, theirs
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_peer_that_is_revoked_while_up_is_out_and_stays_out(
    site: AgentSite, peers: Callable[..., Peer], root: Ca, version: str
) -> None:
    bad, good = peers(), peers()
    number = version.removeprefix("v")
    revoked = theirs(root)
    load(bad, site, revoked, root, version=number)
    load(good, site, theirs(root), root, version=number)
    first = root.crl()
    certificates = between(ours(root), root, revocation="if_available", crls=[first])
    links = [site.connect(peer, certificates=certificates, ike={"ike_version": version}) for peer in (bad, good)]
    for link in links:
        link.settle()
    # So that nothing is in the way of the check.
    until(lambda: all(not sa["state"].endswith("ED") or sa["child-sas"] for sa in links[0].listed()), 10.0)
    time.sleep(6.0)
    known = site.connections[links[1].id]
    ids = {number for _, number in links[1].children()}
    anchor = credentials.anchor(root, revocation="if_available", crls=[root.crl(revoked)])
    with good.recorder() as recorded:
        for link in links:
            current = site.connections[link.id].certificates
            assert current
            site.connections[link.id] = msgspec.structs.replace(
                site.connections[link.id], certificates=msgspec.structs.replace(current, anchor=anchor)
            )
        start = time.monotonic()
        site.apply()
        until(lambda: not links[0].children(), OUT, links[0].tell)
        took = time.monotonic() - start
        answer = links[1].ping(200, 0.02)
    print(f"the revoked peer was out after {took:.1f} s; of 200 pings to the other one {len(answer.lost)} were lost")
    assert len(answer.lost) <= LOST
    assert recorded.plaintext == 0
    # The other one was checked too, and has a new IKE SA.
    until(lambda: bool(links[1].children()) and not ids & {number for _, number in links[1].children()}, 15.0)
    assert site.connections[links[1].id].revision == known.revision
    assert not comes_up(bad)
    links[0].wait_reason("the peer's certificate was revoked on")
    assert not links[0].children()
    links[1].assert_pings()
