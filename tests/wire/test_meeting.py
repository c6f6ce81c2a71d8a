"""Both ends of a tunnel begin at once, as after a power cut: they meet in one IKE SA, and neither keeps one alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.lab.fabric import ping
from tests.harness.delayed_link import DelayedLink
from tests.harness.recorder import CREATE_CHILD_SA, INFORMATIONAL, Packet
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

MEETINGS, ROUNDS = 6, 12
PINGS, PACE = 20, 0.05
RESPONSE = 0x20
AT_MOST_LOST = 2
"""At the end of the IKE SA that is one too many: what is on its way by it, there and back."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def far(world: World) -> Iterator[None]:
    """The two are so far apart that they always meet, and messages overtake each other as if it had been planned.

    If both renew one child at once, the request of one of them comes after the answer to the other, and the other's
    refusal of it before the end of the old child: charon 5.9 then installs no outbound SA for the new one.
    """

    late = {(CREATE_CHILD_SA, False), (INFORMATIONAL, True)}

    def delay(packet: Packet) -> float:
        header = packet.ike
        request = header and not header.flags & RESPONSE
        return 0.1 if header and request and (header.exchange, packet.sent) in late else 0.02

    fabric, bridge = world.lab["fabric"], world.lab["internet"]["bridge"]
    port = world.inside(fabric, "ip", "-o", "link", "show", "master", bridge).split()[1].partition("@")[0]
    with DelayedLink(fabric, bridge, port, delay):
        yield


@pytest.mark.usefixtures("far")
def test_two_ends_that_begin_at_once_have_one_tunnel_from_then_on(world: World, pool: ThreadPoolExecutor) -> None:
    ids = [site["connection_id"] for site in world.lab["sites"].values()]
    clients = [world.client("demo") for _ in ids]

    def tell(number: int, up: bool) -> None:
        body = {"ipsec_site_connection": {"admin_state_up": up}}
        clients[number].request("PUT", f"/v2.0/vpn/ipsec-site-connections/{ids[number]}", body)

    met = rounds = 0
    while met < MEETINGS:
        assert rounds < ROUNDS, "they have to meet, or nothing is shown"
        list(pool.map(lambda number: tell(number, False), (0, 1)))
        until(lambda: not world.spis("left") and not world.spis("right"), 10.0)
        before = begun(world)
        list(pool.map(lambda number: tell(number, True), (0, 1)))
        for id in ids:
            world.wait_status(id, "ACTIVE", 10.0)
        lost = ping(world.host("left"), "10.2.0.10", PINGS, PACE).lost
        assert len(lost) <= AT_MOST_LOST, f"{lost} in round {rounds}\n{evidence(world)}"
        until(world.one_tunnel, 5.0)
        met += begun(world) - before > 1
        rounds += 1


def begun(world: World) -> int:
    """How many IKE SAs the two have answered."""
    logs = world.state.glob("**/gateways/*/charon.log")
    return sum(log.read_text().count("is initiating an IKE_SA") for log in logs)


def evidence(world: World) -> str:
    """Which way packets are lost: the counters of every child at both ends, and the routes into its tunnel device."""
    found = []
    for side in ("left", "right"):
        with world.charon(side) as charon:
            found += [f"{side}: {sa}" for sa in charon.sas()]
        found.append(world.inside(world.gateway(side), "ip", "route", "show", "table", "220"))
    return "\n".join(found)
