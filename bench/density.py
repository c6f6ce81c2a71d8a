"""Many gateways on one node: memory, CPU at rest, adoption after the agent's death, and teardown.

The gateways stand in a ring, and each has connections to its nearest neighbours. There is no bare implementation to
compare with: the bounds are the specification's, on a quiet machine. Memory is proportional set size, so that what
processes share counts once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.measure import Result, cpu_seconds
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, IPSEC_POLICY, NETWORK, ROUTER, SERVICE, SUBNET
from linkspan.core.state import drift
from linkspan.drivers.linux import process
from linkspan.lab import sites
from tests.harness.world import World, until

NEIGHBOURS = 5
"""Neighbours on each side, and so half of the connections of a gateway."""
REST = 60.0
"""Seconds at rest, in which every peer is probed twice."""
QUIET = 0.2
"""CPU seconds of everything that count as a second at rest."""
LONGEST = 600.0
UNLIMITED = {f"LINKSPAN_QUOTA_{kind}": "-1" for kind in ("ROUTER", "IPSEC_SITE_CONNECTION")}
KEY = "one key for all of the ring"
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def run(quick: bool) -> list[Result]:
    """Return KiB, seconds and milliseconds."""
    count = 20 if quick else 100
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder:
        world = World(Path(folder) / "state", environment=UNLIMITED)
        try:
            return _measure(world, count)
        finally:
            world.stop()


def _measure(world: World, count: int) -> list[Result]:
    _settle(world)
    idle = _at_rest(world)
    before = _memory(world)
    ring = [_gateway(world, number) for number in range(count)]
    until(lambda: _charons(world) == count + 2, LONGEST)
    # The first connections of a charon touch pages that all others share.
    few, _ = _connect(world, ring, [-1, 1], 0)
    _settle(world)
    first = _memory(world)
    more, took = _connect(world, ring, [sign * offset for offset in range(2, NEIGHBOURS + 1) for sign in (-1, 1)], few)
    ends = few + more
    _settle(world)
    full = _memory(world)
    cpu = _at_rest(world)
    adoption = _adopt(world, count + 2)
    teardown = _tear_down(world)
    note = f"{ends // count} connections each; {more} were ACTIVE {took:.0f} s after the first of them was created"
    at_rest = f"{idle:.2f} s of these without a gateway, {cpu:.2f} s with {count}"
    return [
        _result(f"{count} gateways: memory a gateway", (first - before) / count, "KiB", 6 * 1024, note),
        _result("the same: memory a further connection", (full - first) / more, "KiB", 40),
        _result("the same at rest: CPU a minute of 100 gateways", idle + (cpu - idle) / count * 100, "s", 4, at_rest),
        _result("the same: adoption a gateway, agent killed", adoption / count * 1000, "ms", 40),
        _result("the same: teardown a gateway", teardown / count * 1000, "ms", 60, f"{teardown:.1f} s in all"),
    ]


def _result(name: str, figure: float, unit: str, limit: float, note: str = "") -> Result:
    return Result(name=name, ours=figure, bare=limit, unit=unit, limit=limit, note=note)


def _gateway(world: World, number: int) -> dict[str, Any]:
    """Create a router with one inside network and a VPN service; return service and CIDR."""
    user, name, cidr = world.user, f"ring-{number}", f"10.100.{number}.0/24"
    network = sites.create(user, NETWORK, name=name)
    subnet = sites.create(user, SUBNET, network_id=network["id"], cidr=cidr)
    outside = {"network_id": sites.ensure(user, NETWORK, sites.INTERNET)["id"]}
    router = sites.create(user, ROUTER, name=name, external_gateway_info=outside)
    user.request("PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    service = sites.create(user, SERVICE, name=name, router_id=router["id"], subnet_id=subnet["id"])
    return {"service": service, "cidr": cidr}


def _connect(world: World, ring: list[dict[str, Any]], offsets: list[int], present: int) -> tuple[int, float]:
    """Create connections to these neighbours, half of a tunnel each, beside those that are present; return their number
    and the seconds until all are ACTIVE."""
    started, number_of_all = time.monotonic(), present + len(ring) * len(offsets)
    policies = {
        "ikepolicy_id": sites.ensure(world.user, IKE_POLICY, "lab-ike")["id"],
        "ipsecpolicy_id": sites.ensure(world.user, IPSEC_POLICY, "lab-ipsec")["id"],
    }
    for number, site in enumerate(ring):
        bodies = [_half(site, ring[(number + offset) % len(ring)], policies) for offset in offsets]
        world.user.request("POST", f"/v2.0/{CONNECTION.path}", {CONNECTION.plural: bodies})
    until(lambda: _active(world) >= number_of_all, LONGEST, lambda: f"{_active(world)} of {number_of_all} are ACTIVE")
    return len(ring) * len(offsets), time.monotonic() - started


def _half(site: dict[str, Any], other: dict[str, Any], policies: dict[str, str]) -> dict[str, Any]:
    peer = other["service"]["external_v4_ip"]
    return {
        "vpnservice_id": site["service"]["id"],
        "peer_address": peer,
        "peer_id": peer,
        "peer_cidrs": [other["cidr"]],
        "psk": KEY,
        **policies,
    }


def _active(world: World) -> int:
    query = [("status", "ACTIVE"), ("fields", "id"), ("limit", "1000")]
    connections = world.admin.request("GET", f"/v2.0/{CONNECTION.path}", query=query)
    return len(connections[CONNECTION.plural])


def _charons(world: World) -> int:
    """Return the number of charons that the agent has started."""
    return sum(name.startswith("charon") for name in map(process.executable, _descendants(world.agent_pid)))


def _memory(world: World) -> float:
    """Return the KiB of the agent with its charons and other processes."""
    total = 0.0
    for pid in _descendants(world.agent_pid):
        with suppress(OSError):
            total += sum(map(float, _PSS.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())))
    return total


def _cpu(world: World) -> float:
    """Return the CPU seconds of everything: supervisor, API, agent and charons."""
    total = 0.0
    for pid in _descendants(world.process.pid):
        with suppress(OSError):
            total += cpu_seconds(pid)
    return total


def _settle(world: World) -> None:
    """Wait until some seconds in a row have passed in which hardly anything happened."""
    last, quiet = _cpu(world), 0
    for _ in range(int(LONGEST)):
        time.sleep(1.0)
        now = _cpu(world)
        quiet = quiet + 1 if now - last < QUIET else 0
        if quiet > drift.SETTLED + 1:
            return
        last = now


def _at_rest(world: World) -> float:
    """Return the CPU seconds of a minute at rest."""
    before, started = _cpu(world), time.monotonic()
    time.sleep(REST)
    return (_cpu(world) - before) * 60.0 / (time.monotonic() - started)


def _adopt(world: World, count: int) -> float:
    """Kill the agent; return the seconds from the start of the next one until it has adopted all charons."""
    known = len(_log(world))
    os.kill(world.agent_pid, signal.SIGKILL)
    until(lambda: len(_times(world, known, "charon adopted")) == count, LONGEST)
    (started,), adopted = _times(world, known, "agent started"), _times(world, known, "charon adopted")
    return max(adopted) - started


def _tear_down(world: World) -> float:
    """Stop the service; return the seconds that its agent took to remove all gateways."""
    known = len(_log(world))
    world.stop()
    (event,) = (event for event in _log(world)[known:] if event["event"] == "agent stopped")
    return float(event["seconds"])


def _log(world: World) -> list[dict[str, Any]]:
    whole, _, _ = (world.state / "logs" / "node-1.log").read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def _times(world: World, known: int, name: str) -> list[float]:
    events = [event for event in _log(world)[known:] if event["event"] == name]
    return [datetime.fromisoformat(event["timestamp"]).timestamp() for event in events]


def _descendants(pid: int) -> list[int]:
    """Return a process and all processes below it, without those that end meanwhile."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found
