"""A process is killed under traffic: tunnels stay up or recover, and nothing is sent in plaintext meanwhile."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.drivers.linux import netns
from linkspan.lab.fabric import ping
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]


def test_no_ping_is_lost_when_the_agent_is_killed(world: World) -> None:
    until(world.one_tunnel, 30.0)
    before = world.spis("left"), world.spis("right")
    pid = world.agent_pid
    with ThreadPoolExecutor(1) as pool, world.wire() as wire:
        pinging = pool.submit(ping, world.host("left"), "10.2.0.10", 500, 0.01)
        time.sleep(1.0)
        os.kill(pid, signal.SIGKILL)
        until(lambda: world.agent_pid not in (0, pid), 10.0)
        answer = pinging.result()
    assert (answer.sent, answer.received) == (500, 500)
    assert wire.tally.plaintext == 0
    assert wire.tally.protected >= 1000, "the pings were not carried by ESP"
    world.wait_status(world.lab["sites"]["left"]["connection_id"], "ACTIVE")
    until(lambda: "charon adopted" in (world.state / "logs" / "node-1.log").read_text(), 10.0)
    assert (world.spis("left"), world.spis("right")) == before, "the restarted agent must adopt the SAs"


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_killed_charon_is_restarted(world: World, side: str) -> None:
    pid = world.charon_pid(side)
    with world.next_hop(), world.wire() as wire:
        start = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        until(lambda: ping(world.host("left"), "10.2.0.10", 1, timeout=1).received == 1, 10.0)
        # Kernel SAs outlive charon, so answered pings alone do not show that charon is back.
        until(lambda: world.charon_answers(side), 10.0)
        took = time.monotonic() - start
        # It answers before it has negotiated the tunnel again.
        until(lambda: ping(world.host("left"), "10.2.0.10", 20, 0.02).received == 20, 20.0)
    assert took < 10.0
    assert wire.tally.plaintext == 0
    assert wire.tally.protected > 20
    assert pid not in netns.processes(world.gateway(side))
    for site in world.lab["sites"].values():
        world.wait_status(site["connection_id"], "ACTIVE")
    print(f"charon of {side} back after {took:.2f} s, {wire.tally.protected} protected packets, 0 in plaintext")


def test_tunnels_stay_up_when_the_api_is_killed(world: World) -> None:
    until(world.one_tunnel, 40.0)
    pid = world.child_pid("api")
    os.kill(pid, signal.SIGKILL)
    answer = ping(world.host("left"), "10.2.0.10", 50, 0.02)
    assert answer.received == 50
    until(lambda: world.child_pid("api") not in (0, pid), 10.0)
    until(lambda: healthy(world), 10.0)
    world.wait_status(world.lab["sites"]["left"]["connection_id"], "ACTIVE")


def healthy(world: World) -> bool:
    try:
        world.admin.request("GET", "/healthz")
    except Exception:
        return False
    return True
