"""Simultaneous initiation, as after a power failure: both ends keep the same single IKE SA."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.core.tunnel.listing import DUPLICATE
from linkspan.lab.fabric import ping
from tests.harness.recorder import CREATE_CHILD_SA, INFORMATIONAL, Packet
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

SIMULTANEOUS, ROUNDS = 6, 40
PINGS, PACE = 20, 0.05
RESPONSE = 0x20
AT_MOST_LOST = 2
"""Pings in flight by the redundant IKE SA when it is deleted, in both directions."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def far(world: World) -> Iterator[None]:
    """Delay packets so that both ends initiate before they receive the peer's request, and messages overtake others.

    This order makes charon 5.9 install no outbound SA for the new child after a simultaneous rekey: the request of one
    end arrives after the response to the other's, and its refusal before the delete of the old child.
    """

    late = {(CREATE_CHILD_SA, False), (INFORMATIONAL, True)}

    def delay(packet: Packet) -> float:
        header = packet.ike
        request = header and not header.flags & RESPONSE
        return 0.1 if header and request and (header.exchange, packet.sent) in late else 0.02

    with world.delayed(delay):
        yield


@pytest.mark.usefixtures("far")
@pytest.mark.timeout(300)
def test_simultaneous_initiation_results_in_one_tunnel(world: World, pool: ThreadPoolExecutor) -> None:
    ids = [site["connection_id"] for site in world.lab["sites"].values()]
    clients = [world.client("demo") for _ in ids]

    def set_admin_state(number: int, up: bool) -> None:
        body = {"ipsec_site_connection": {"admin_state_up": up}}
        clients[number].request("PUT", f"/v2.0/vpn/ipsec-site-connections/{ids[number]}", body)

    simultaneous = rounds = 0
    while simultaneous < SIMULTANEOUS:
        assert rounds < ROUNDS, "too few simultaneous initiations"
        list(pool.map(lambda number: set_admin_state(number, False), (0, 1)))
        until(lambda: not world.spis("left") and not world.spis("right"), 10.0)
        before = responded(world)
        list(pool.map(lambda number: set_admin_state(number, True), (0, 1)))
        for id in ids:
            world.wait_status(id, "ACTIVE", 10.0)
        lost = ping(world.host("left"), "10.2.0.10", PINGS, PACE).lost
        assert len(lost) <= AT_MOST_LOST, f"{lost} in round {rounds}\n{evidence(world)}"
        # One end may go on to list an IKE SA that the other has forgotten for INITIAL_CONTACT.
        until(world.one_tunnel, DUPLICATE + 5.0, lambda: evidence(world))
        simultaneous += responded(world) - before > 1
        rounds += 1


def responded(world: World) -> int:
    """Return the number of IKE SAs that both ends have responded to."""
    logs = world.state.glob("**/gateways/*/charon.log")
    return sum(len(re.findall(r"is initiating (?:an )?IKE_SA", log.read_text())) for log in logs)


def evidence(world: World) -> str:
    """Return the counters of all children at both ends, and the routes into the TUN device, for the failure message."""
    lines = []
    for side in ("left", "right"):
        with world.charon(side) as charon:
            lines += [f"{side}: {sa}" for sa in charon.sas()]
        lines.append(world.inside(world.gateway(side), "ip", "route", "show", "table", "220"))
    return "\n".join(lines)
