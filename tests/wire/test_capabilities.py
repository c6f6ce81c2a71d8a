"""What the installed strongSwan cannot do is said at once, not tried for ever."""

from __future__ import annotations

import pytest

from linkspan.core.ipsec import capabilities
from linkspan.core.state.observed import Capabilities
from tests.harness.ours import Ours
from tests.harness.peer import Peer

pytestmark = [pytest.mark.wire, pytest.mark.root]


def node_of(ours: Ours) -> Capabilities:
    (shown,) = ours.world.admin.request("GET", "/v2.0/linkspan/nodes")["nodes"]
    return Capabilities(**shown["capabilities"])


@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
def test_ikev1_works_or_is_an_error_with_the_remedy(ours: Ours, peer: Peer, initiator: str) -> None:
    """Debian's strongSwan 6.1 is built without it."""
    peer.load(ours.v4, ours.psk, version="1" if node_of(ours).ikev1 else "2")
    link = ours.connect(peer, ike={"ike_version": "v1"}, initiator=initiator)
    if node_of(ours).ikev1:
        if initiator == "response-only":
            link.wait_reason("waits for the peer to initiate")
            peer.initiate()
        link.wait("ACTIVE")
        return
    link.wait("ERROR")
    assert link.reason == ("IKEv1 is not possible: this node's strongSwan is built without it; set ike_version to v2")
    link.set_ike(ike_version="v2")
    if initiator == "response-only":
        link.wait_reason("waits for the peer to initiate")
        peer.initiate()
    link.wait("ACTIVE")


def test_the_log_says_what_is_missing(ours: Ours) -> None:
    log = (ours.world.state / "logs" / "node-1.log").read_text()
    assert '"lacks"' in log
    assert all(f'"{name}"' in log for name in capabilities.lacks(node_of(ours)))
