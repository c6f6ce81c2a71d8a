"""Certificates that expire while their tunnel is up, ours and the peer's."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from tests.harness.agent_site import AgentSite
from tests.harness.authorities import Ca
from tests.harness.certified import OUT, VERSIONS, between, load, ours, theirs
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.parametrize("whose", ["ours", "the peer's"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_that_expires_while_up_ends_the_tunnel(
    site: AgentSite, peer: Peer, root: Ca, version: str, whose: str
) -> None:
    soon = {"end": dt.timedelta(seconds=14)}
    mine = ours(root, **(soon if whose == "ours" else {}))
    other = theirs(root, **(soon if whose == "the peer's" else {}))
    load(peer, site, other, root, version=version.removeprefix("v"))
    link = site.connect(peer, certificates=between(mine, root), ike={"ike_version": version})
    link.wait("up")
    link.assert_pings()
    until(lambda: not link.children(), 14.0 + OUT + 5.0, link.tell)
    time.sleep(3.0)
    assert not link.children()
    if whose == "the peer's":
        link.wait_reason("the peer's certificate expired on")
    # A renewed one is let in again.
    if whose == "ours":
        site.change(link.id, certificates=between(ours(root), root))
    else:
        load(peer, site, theirs(root), root, version=version.removeprefix("v"))
    link.wait("up", 40.0)
