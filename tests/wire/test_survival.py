"""A process is killed under traffic: tunnels stay up or recover, and nothing is sent in plaintext meanwhile."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import linkspan
from linkspan.cli.client import CliError
from linkspan.drivers.linux import capabilities, netns
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


def held(pid: int) -> set[tuple[str, int]]:
    """The capabilities that the threads of a process have, and that it could get, as masks."""
    masks = set()
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        masks |= {(name, int(fields[name], 16)) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")}
    return masks


def is_served(world: World) -> bool:
    try:
        world.user.request("GET", "/healthz")
    except CliError:
        return False
    return True


@pytest.mark.security(
    "16",
    tried="the API of `linkspan run` with root's capabilities, in any of its threads, before and after a restart",
    control="tests/drivers/linux/test_capabilities.py::test_without_that_everything_is_there",
)
def test_the_api_of_a_run_has_no_capabilities(world: World) -> None:
    """Only to read and write files, and only where they are somebody else's: not here, if root owns the program."""
    program = Path(linkspan.__file__)
    files = {1 << number for number in capabilities.needed_for([program, world.state], [world.state])}
    first = world.child_pid("api")
    assert {mask for _, mask in held(first)} <= {0, sum(files)}
    os.kill(first, signal.SIGTERM)
    until(lambda: world.child_pid("api") not in (0, first), 10.0)
    until(lambda: is_served(world), 20.0)
    assert {mask for _, mask in held(world.child_pid("api"))} <= {0, sum(files)}
    # The control: the agent of the same run has what it needs.
    assert all(mask for name, mask in held(world.agent_pid) if name in ("CapEff", "CapPrm", "CapBnd"))
