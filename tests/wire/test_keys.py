"""Keys are rotated under traffic."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.drivers.linux import esp_backend
from linkspan.lab.fabric import ping
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

PINGS, INTERVAL = 1000, 0.002


def linkspan(world: World, *arguments: str) -> str:
    """Run a command on the world's machine; return its output."""
    command = [sys.executable, "-m", "linkspan.bootstrap", *arguments, "--state", str(world.state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_rotation_touches_no_tunnel(world: World) -> None:
    until(world.one_tunnel, 40.0)
    before = world.spis("left"), world.spis("right")
    id = world.lab["sites"]["left"]["connection_id"]
    shown = world.user.request("GET", f"/v2.0/vpn/ipsec-site-connections/{id}")
    with ThreadPoolExecutor(1) as pool, world.wire() as wire:
        pinging = pool.submit(ping, world.host("left"), "10.2.0.10", PINGS, INTERVAL)
        linkspan(world, "key", "rotate", "--remove-old")
        answer = pinging.result()
    assert (answer.sent, answer.received) == (PINGS, PINGS)
    assert wire.tally.plaintext == 0
    assert wire.tally.protected >= 2 * PINGS, "the pings were not carried by ESP"
    assert (world.spis("left"), world.spis("right")) == before
    assert world.user.request("GET", f"/v2.0/vpn/ipsec-site-connections/{id}") == shown
    assert len(json.loads(linkspan(world, "key", "list", "-f", "json"))) == 1
    print(f"{PINGS} of {PINGS} pings at 2 ms ({esp_backend.detect()}), {wire.tally.protected} ESP packets")
