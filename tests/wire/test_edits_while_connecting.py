"""Edits while the answer to an authentication is on its way: the peer keeps nothing that this end lacks."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

DELAY = 0.15
"""Seconds that each packet is on its way."""
KNOWN = 6.0
"""Seconds within which both ends have to agree; a peer that is told nothing finds out by DPD, after minutes."""
EDITS: dict[str, tuple[str, dict[str, Any]]] = {
    "admin state": ("connection", {"admin_state_up": False}),
    "initiator": ("connection", {"initiator": "response-only"}),
    "psk": ("connection", {"psk": secrets.token_urlsafe(24)}),
    "peer_id": ("connection", {"peer_id": "left.example.org"}),
    "IKE policy": ("ikepolicy", {"ike_version": "v1"}),
    "IPsec policy": ("ipsecpolicy", {"pfs": "group15"}),
}
"""Edits of what, and which. The peer is not edited: it takes what it took before."""
ESTABLISHED = "established between"


class Edited:
    """The site that initiates and is edited, and the one that responds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids = {side: site["connection_id"] for side, site in world.lab["sites"].items()}
        before = world.connection(self.ids["left"])
        self.paths = {
            "connection": f"ipsec-site-connections/{self.ids['left']}",
            "ikepolicy": f"ikepolicies/{before['ikepolicy_id']}",
            "ipsecpolicy": f"ipsecpolicies/{before['ipsecpolicy_id']}",
        }

        self.before = {target: self.shown(target) for target in self.paths}

    def put(self, target: str, values: dict[str, Any]) -> None:
        singular = "ipsec_site_connection" if target == "connection" else target
        self.world.user.request("PUT", f"/v2.0/vpn/{self.paths[target]}", {singular: values})

    def shown(self, target: str) -> dict[str, Any]:
        answer = self.world.user.request("GET", f"/v2.0/vpn/{self.paths[target]}")
        (values,) = answer.values()
        return dict(values)

    def restore(self) -> None:
        """As before the first edit; what is disabled is enabled last."""
        for target, values in reversed(EDITS.values()):
            self.put(target, {name: self.before[target][name] for name in values})

    def set_peer(self, initiator: str) -> None:
        values = {"ipsec_site_connection": {"initiator": initiator}}
        self.world.user.request("PUT", f"/v2.0/vpn/ipsec-site-connections/{self.ids['right']}", values)

    def is_answered(self) -> bool:
        """True while this end waits for the answer to its authentication."""
        with self.world.charon("left") as charon:
            return any(sa.state == "CONNECTING" and sa.answered for sa in charon.sas())

    def established(self) -> int:
        """IKE SAs that the responder has established so far."""
        router = self.world.lab["sites"]["right"]["router_id"]
        (log,) = self.world.state.glob(f"**/gateways/{router}/charon.log")
        return log.read_text().count(ESTABLISHED)

    def agree(self) -> bool:
        """True if both ends have the same children."""
        left = {(spi_out, spi_in) for spi_in, spi_out in self.world.carrying("left")}
        return left == self.world.carrying("right")


@pytest.fixture
def far(world: World) -> Iterator[None]:
    """The two sites with a long way between them."""
    with world.delayed(lambda _packet: DELAY):
        yield


@pytest.fixture
def ends(world: World) -> Iterator[Edited]:
    """The sites, of which only the first one initiates. They are as before afterwards."""
    ends = Edited(world)
    until(world.one_tunnel, 60.0, world.last_words)
    peer = world.connection(ends.ids["right"])["initiator"]
    ends.set_peer("response-only")
    yield ends
    ends.restore()
    ends.set_peer(peer)
    until(world.one_tunnel, 60.0, world.last_words)


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("far")
def test_the_peer_keeps_nothing_that_this_end_lacks(world: World, ends: Edited) -> None:
    for name, edit in EDITS.items():
        ends.put("connection", {"admin_state_up": False})
        until(lambda: not world.carrying("left") and not world.carrying("right"), 10.0, world.last_words)
        before = ends.established()
        ends.restore()
        until(ends.is_answered, 10.0, world.last_words)
        ends.put(*edit)
        until(lambda before=before: ends.established() > before, 10.0, world.last_words)  # type: ignore[misc]
        until(ends.agree, KNOWN, lambda name=name: f"{name}\n{world.last_words()}")  # type: ignore[misc]
