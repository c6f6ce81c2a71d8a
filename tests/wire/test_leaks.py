"""No packet of the sites crosses the wire in plaintext, whatever the state of the tunnel.

Each case runs with the leak guard, where no packet may leak, and as a control without it, where packets must leak. The
agent is stopped meanwhile, so that it cannot repair what the test breaks.
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
    """Kill charon: it sends no delete, and its TUN device and routes are gone."""
    pid = world.charon_pid("left")
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in netns.processes(world.gateway("left")), 5.0)


def terminate(world: World) -> None:
    """Delete the SAs without the agent; the configuration stays loaded."""
    with world.charon("left") as charon:
        for sa in charon.sas():
            charon.terminate_sa(sa.unique_id)
        until(lambda: not charon.sas(), 5.0)


STATES: dict[str, Callable[[World], None]] = {"stopped charon": stop_charon, "terminated": terminate}


def test_all_traffic_is_esp_while_the_tunnel_is_up(world: World) -> None:
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
        tally = ping_without_tunnel(world, guard)
    until(lambda: ping(world.host("left"), "10.2.0.10", 1, timeout=1).received == 1, 20.0)
    world.wait_status(connection, "ACTIVE")
    if guard:
        assert tally.plaintext == 0
    else:
        assert tally.plaintext >= PINGS, "the control did not leak"
        print(f"control: without the guard {tally.plaintext} packets left in plaintext")


@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "control"])
def test_a_deleted_connection_leaks_nothing(world: World, guard: bool) -> None:
    side = world.lab["sites"]["left"]
    connection = world.connection(side["connection_id"])
    world.user.request("DELETE", f"/v2.0/vpn/ipsec-site-connections/{connection['id']}")
    with world.next_hop(), frozen(world.agent_pid):
        tally = ping_without_tunnel(world, guard)
    keys = ("name", "vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "peer_address", "peer_id", "peer_cidrs", "psk")
    body = {"ipsec_site_connection": {key: connection[key] for key in keys}}
    again = world.user.request("POST", "/v2.0/vpn/ipsec-site-connections", body)["ipsec_site_connection"]
    side["connection_id"] = again["id"]
    world.wait_status(again["id"], "ACTIVE")
    assert tally.protected == 0
    if guard:
        assert tally.plaintext == 0
    else:
        assert tally.plaintext >= PINGS, "the control did not leak"
        print(f"control: without the guard {tally.plaintext} packets left in plaintext")


def ping_without_tunnel(world: World, guard: bool) -> Tally:
    """Ping from host to host without a tunnel and return what crossed the wire. Restores the guard."""
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
