"""TCP throughput of a tunnel of Linkspan relative to the same tunnel configured by hand, measured in turn.

`ours` includes the leak guard, the MTU rules, and 98 other connections of the same gateway. `bare` is a namespace with
one connection, loaded and initiated over VICI. Both are one TCP stream between hosts behind the gateways. On a machine
with few cores the rate of a stream varies by a tenth, so there are many short streams.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec

from bench import gateways
from bench.measure import Result, ratio_error
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Gateway
from linkspan.drivers.linux import netns
from linkspan.drivers.local import LocalDrivers
from linkspan.lab import fabric
from tests.harness.world import World, until

OTHERS = 98
PORT = 5201
PATH = "/v2.0/vpn/ipsec-site-connections"
SINK = """
import socket, sys, time
server = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    stream, _ = server.accept()
    count, started, buffer = 0, time.perf_counter(), bytearray(1 << 20)
    while size := stream.recv_into(buffer):
        count += size
    print(count * 8 / (time.perf_counter() - started) / 1e6, flush=True)
"""
SOURCE = """
import socket, sys, time
stream, block = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10), bytes(1 << 18)
end = time.perf_counter() + float(sys.argv[3])
while time.perf_counter() < end:
    stream.sendall(block)
"""


def run(quick: bool) -> list[Result]:
    """Return means in megabits per second; each round measures both in random order."""
    rounds, seconds = (3, 0.6) if quick else (200, 0.6)
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder, gateways.machine() as drivers:
        world = World(Path(folder) / "state")
        try:
            _crowd(world)
            with (
                _by_hand(drivers) as hand,
                _sink(world.host("right")) as our_sink,
                _sink(hand["right"]) as bare_sink,
            ):
                both = [(ours, world.host("left"), our_sink), (bare, hand["left"], bare_sink)]
                for _ in range(rounds):
                    for rates, host, sink in random.sample(both, 2):
                        rates.append(_send(host, "10.2.0.10", sink, seconds))
        finally:
            world.stop()
    error = ratio_error(ours, bare)
    note = f"{rounds} runs of {seconds} s each, means, ratio ± {error:.3f}; with {OTHERS} other connections"
    return [Result(name="throughput, TCP", ours=mean(ours), bare=mean(bare), unit="Mbit/s", least=0.97, note=note)]


def _crowd(world: World) -> None:
    """Create other connections of the left gateway, each to a peer that does not exist."""
    site = world.lab["sites"]["left"]
    template = world.connection(site["connection_id"])
    for number in range(OTHERS):
        values: dict[str, Any] = {key: template[key] for key in ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id")}
        peer = f"203.0.113.{number + 1}"
        values |= {"name": f"other-{number}", "peer_address": peer, "peer_id": peer, "psk": f"key {number}"}
        values |= {"peer_cidrs": [f"10.{20 + number}.0.0/24"], "initiator": "response-only", "mtu": 1300 + number}
        world.user.request("POST", PATH, {"ipsec_site_connection": values})
    with world.charon("left") as charon:
        until(lambda: len(charon.loaded()) == OTHERS + 1, 30.0)


@contextmanager
def _by_hand(drivers: LocalDrivers) -> Iterator[dict[str, str]]:
    """Provide two bare gateways with a host behind each; yield the hosts' namespaces by side."""
    sides = {"left": gateways.gateway(1), "right": gateways.gateway(2)}
    hosts = {side: _site(drivers, side, gateway, number) for number, (side, gateway) in enumerate(sides.items(), 1)}
    left, right = (_charon(drivers, sides[side], number) for side, number in (("left", 1), ("right", 2)))
    config = ipsec_config.build(_connection(sides["left"], 1))
    left.initiate(config.name, config.children[0].name)
    until(lambda: any(sa.installed for sa in left.sas()) and any(sa.installed for sa in right.sas()), 10.0)
    try:
        yield hosts
    finally:
        left.stop()
        right.stop()


def _site(drivers: LocalDrivers, side: str, gateway: Gateway, number: int) -> str:
    drivers.namespaces.apply(gateway)
    namespace = drivers.namespaces.name(gateway.id)
    netns.run_inside(namespace, lambda: subprocess.run(["nft", "flush", "ruleset"], check=True))
    instance = namespace.split("-")[1]
    return fabric.make_host(
        instance, side, gateway.inside[0].network_id, [f"10.{number}.0.10/24"], [f"10.{number}.0.1"]
    ).namespace


def _connection(gateway: Gateway, number: int) -> Connection:
    other = 3 - number
    return msgspec.structs.replace(
        gateways.connection(gateway.id, 0),
        id=f"by-hand-{number}",
        local_address=f"198.51.100.{number}",
        peer_address=f"198.51.100.{other}",
        peer_id=f"198.51.100.{other}",
        local_cidrs=(f"10.{number}.0.0/24",),
        peer_cidrs=(f"10.{other}.0.0/24",),
        psk=Secret("by hand"),
    )


def _charon(drivers: LocalDrivers, gateway: Gateway, number: int) -> Any:
    charon = drivers.charon(gateway)
    charon.start()
    connection = _connection(gateway, number)
    config = ipsec_config.build(connection)
    charon.load(config, ipsec_config.shared_key(connection, config))
    return charon


@contextmanager
def _sink(namespace: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SINK, str(PORT)]
    process = netns.run_inside(namespace, lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    assert process.stdout
    process.stdout.readline()
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _send(namespace: str, target: str, sink: subprocess.Popen[str], seconds: float) -> float:
    """Send a stream; return the receiver's megabits per second."""
    command = [sys.executable, "-c", SOURCE, target, str(PORT), str(seconds)]
    netns.run_inside(namespace, lambda: subprocess.run(command, check=True, timeout=60))
    assert sink.stdout
    rate = float(sink.stdout.readline())
    time.sleep(0.1)
    return rate
