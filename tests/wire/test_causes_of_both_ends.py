"""Both ends are ours: each of them names the cause that only one of them can know."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.ours import CONNECTIONS, VPN
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

ENVIRONMENT = {"LINKSPAN_API_PSK_GRACE": "0"}
"""Keys that differ are a fault at once."""

SIDES = ("left", "right")


class Ends:
    """The two ends of the laboratory's tunnel."""

    def __init__(self, world: World) -> None:
        self._world, self._user = world, world.user
        self._ids = {side: world.lab["sites"][side]["connection_id"] for side in SIDES}

    def shown(self, side: str) -> dict[str, Any]:
        shown: dict[str, Any] = self._user.request("GET", f"{VPN}/{CONNECTIONS}/{self._ids[side]}")
        return dict(shown["ipsec_site_connection"])

    def set(self, side: str, **values: Any) -> None:
        self._user.request("PUT", f"{VPN}/{CONNECTIONS}/{self._ids[side]}", {"ipsec_site_connection": values})

    def told(self, **codes: str) -> None:
        """Wait until both ends have these codes."""
        until(
            lambda: {side: self.shown(side)["status_code"] for side in SIDES} == codes,
            40.0,
            lambda: str([self.shown(side) for side in SIDES]),
        )

    def up(self) -> None:
        """The control: both are up, and nothing is left of the cause, nor of simultaneous initiation: an end that
        charon has made forget its own IKE SA (INITIAL_CONTACT) could not tell the other one of the next edit."""
        until(
            lambda: all((shown["status"], shown["status_code"]) == ("ACTIVE", "") for shown in map(self.shown, SIDES)),
            60.0,
            lambda: str([self.shown(side) for side in SIDES]),
        )
        until(self._world.one_tunnel, 40.0, lambda: str([self.shown(side) for side in SIDES]))


@pytest.fixture
def ends(world: World) -> Ends:
    ends = Ends(world)
    ends.up()
    return ends


def test_a_key_that_differs_is_named_at_both(ends: Ends) -> None:
    psk = ends.shown("right")["psk"]
    ends.set("right", psk="another key than the left one")
    ends.told(left="PSK_MISMATCH", right="PSK_MISMATCH")
    ends.set("right", psk=psk)
    ends.up()


@pytest.mark.parametrize("wrong", SIDES)
def test_an_identity_that_differs_is_named_at_both(ends: Ends, wrong: str) -> None:
    """The left end initiates; either end may be the one that expects another identity of the other one."""
    ends.set("right", initiator="response-only")
    (other,) = {*SIDES} - {wrong}
    peer_id = ends.shown(wrong)["peer_id"]
    ends.set(wrong, peer_id="somebody.example.org")
    ends.told(**{wrong: "PEER_ID_MISMATCH", other: "LOCAL_ID_REFUSED"})
    ends.set(wrong, peer_id=peer_id)
    ends.set("right", initiator="bi-directional")
    ends.up()


def test_both_wait_and_the_other_one_is_off(ends: Ends) -> None:
    for side in SIDES:
        ends.set(side, initiator="response-only")
    ends.set("right", admin_state_up=False)
    ends.told(left="PEER_END_DISABLED", right="ADMIN_DISABLED")
    ends.set("right", admin_state_up=True)
    ends.told(left="BOTH_RESPONSE_ONLY", right="BOTH_RESPONSE_ONLY")
    for side in SIDES:
        ends.set(side, initiator="bi-directional")
    ends.up()
