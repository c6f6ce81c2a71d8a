"""Nothing of the sites crosses the wire in clear, whatever state a tunnel is in; without the guard it does.

Each story is told twice: with the guard, where no packet may leak, and as the control without it, where packets must,
or the first telling proves nothing. The agent is frozen meanwhile, so that it cannot mend what the test broke.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from linkspan.drivers.linux import netns
from linkspan.lab.fabric import ping
from linkspan.lab.packet_counter import Tally
from tests.harness.world import World, frozen, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

PINGS = 20


def stop_charon(world: World) -> None:
    """charon ends as after a crash: no word to its peer, its TUN device and routes gone."""
    pid = world.charon_pid("left")
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in netns.processes(world.gateway("left")), 5.0)


def terminate(world: World) -> None:
    """Somebody ends the SAs behind the agent's back; the configuration stays loaded."""
    with world.charon("left") as charon:
        for sa in charon.sas():
            charon.terminate_sa(sa.unique_id)
        until(lambda: not charon.sas(), 5.0)


STATES: dict[str, Callable[[World], None]] = {"stopped charon": stop_charon, "terminated": terminate}


def test_the_tunnel_carries_everything_while_it_is_up(world: World) -> None:
    with world.wire() as wire:
        answer = ping(world.host("left"), "10.2.0.10", count=PINGS, interval=0.02)
    assert answer.received == PINGS
    tally = wire.tally
    assert (tally.plaintext, tally.drops) == (0, 0)
    assert tally.protected >= 2 * PINGS


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "control"])
def test_a_tunnel_that_is_down_leaks_nothing(world: World, state: str, guard: bool) -> None:
    connection = world.lab["sites"]["left"]["connection_id"]
    world.wait_status(connection, "ACTIVE")
    with world.next_hop(), frozen(world.agent_pid):
        STATES[state](world)
        tally = knock(world, guard)
    until(lambda: ping(world.host("left"), "10.2.0.10", 1, timeout=1).received == 1, 20.0)
    world.wait_status(connection, "ACTIVE")
    if guard:
        assert tally.plaintext == 0
    else:
        assert tally.plaintext >= PINGS, "the control has to leak, or the test above proves nothing"
        print(f"control: without the guard {tally.plaintext} packets left in clear")


@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "control"])
def test_a_deleted_connection_leaks_nothing(world: World, guard: bool) -> None:
    side = world.lab["sites"]["left"]
    made = world.connection(side["connection_id"])
    world.user.request("DELETE", f"/v2.0/vpn/ipsec-site-connections/{made['id']}")
    with world.next_hop(), frozen(world.agent_pid):
        tally = knock(world, guard)
    keys = ("name", "vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "peer_address", "peer_id", "peer_cidrs", "psk")
    body = {"ipsec_site_connection": {key: made[key] for key in keys}}
    again = world.user.request("POST", "/v2.0/vpn/ipsec-site-connections", body)["ipsec_site_connection"]
    side["connection_id"] = again["id"]
    world.wait_status(again["id"], "ACTIVE")
    assert tally.protected == 0
    if guard:
        assert tally.plaintext == 0
    else:
        assert tally.plaintext >= PINGS, "the control has to leak, or the test above proves nothing"
        print(f"control: without the guard {tally.plaintext} packets left in clear")


def knock(world: World, guard: bool) -> Tally:
    """Send from host to host while nothing can carry it, and tell what crossed the wire. Puts the guard back."""
    gateway = world.gateway("left")
    rules = world.inside(gateway, "nft", "list", "ruleset")
    if not guard:
        world.inside(gateway, "nft", "flush", "ruleset")
    with world.wire() as wire:
        ping(world.host("left"), "10.2.0.10", PINGS, 0.02, 1)
        ping(world.host("left"), "fd00:2::10", PINGS, 0.02, 1)
    if not guard:
        saved = world.state / "rules.nft"
        saved.write_text(rules)
        world.inside(gateway, "nft", "-f", str(saved))
        saved.unlink()
    assert wire.tally.drops == 0
    return wire.tally
