"""Simultaneous initiation, as after a power cut: both ends agree on one IKE SA, and neither keeps another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.lab.fabric import ping
from tests.harness.distance import Distance
from tests.harness.recorder import CREATE_CHILD_SA, INFORMATIONAL, Packet
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COLLISIONS, ROUNDS = 6, 12
PINGS, PACE = 20, 0.05
RESPONSE = 0x20
AT_MOST_LOST = 2
"""Packets in flight, there and back, when the redundant IKE SA is deleted."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def far(world: World) -> Iterator[None]:
    """A distance between the two ends, so that they always initiate simultaneously and messages overtake each other.

    If both rekey one child at once, the request of one arrives after the answer to the other, and the refusal of it
    before the delete of the old child: charon 5.9 then installs no outbound SA for the new one.
    """

    late = {(CREATE_CHILD_SA, False), (INFORMATIONAL, True)}

    def delay(packet: Packet) -> float:
        header = packet.ike
        request = header and not header.flags & RESPONSE
        return 0.1 if header and request and (header.exchange, packet.sent) in late else 0.02

    fabric, bridge = world.lab["fabric"], world.lab["internet"]["bridge"]
    port = world.inside(fabric, "ip", "-o", "link", "show", "master", bridge).split()[1].partition("@")[0]
    with Distance(fabric, bridge, port, delay):
        yield


@pytest.mark.usefixtures("far")
def test_simultaneous_initiation_leaves_one_tunnel(world: World, pool: ThreadPoolExecutor) -> None:
    ids = [site["connection_id"] for site in world.lab["sites"].values()]
    clients = [world.client("demo") for _ in ids]

    def set_admin_state(number: int, up: bool) -> None:
        body = {"ipsec_site_connection": {"admin_state_up": up}}
        clients[number].request("PUT", f"/v2.0/vpn/ipsec-site-connections/{ids[number]}", body)

    simultaneous = rounds = 0
    while simultaneous < COLLISIONS:
        assert rounds < ROUNDS, "both ends have to initiate simultaneously, or nothing is shown"
        list(pool.map(lambda number: set_admin_state(number, False), (0, 1)))
        until(lambda: not world.spis("left") and not world.spis("right"), 10.0)
        before = initiations(world)
        list(pool.map(lambda number: set_admin_state(number, True), (0, 1)))
        for id in ids:
            world.wait_status(id, "ACTIVE", 10.0)
        lost = ping(world.host("left"), "10.2.0.10", PINGS, PACE).lost
        assert len(lost) <= AT_MOST_LOST, f"{lost} in round {rounds}\n{evidence(world)}"
        until(world.one_tunnel, 5.0)
        simultaneous += initiations(world) - before > 1
        rounds += 1


def initiations(world: World) -> int:
    """How many IKE SAs the two have answered."""
    logs = world.state.glob("**/gateways/*/charon.log")
    return sum(log.read_text().count("is initiating an IKE_SA") for log in logs)


def evidence(world: World) -> str:
    """The counters of every child at both ends and the routes into the tunnel device: the direction of the loss."""
    found = []
    for side in ("left", "right"):
        with world.charon(side) as charon:
            found += [f"{side}: {sa}" for sa in charon.sas()]
        found.append(world.inside(world.gateway(side), "ip", "route", "show", "table", "220"))
    return "\n".join(found)
