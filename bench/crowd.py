"""1,000 connections of one gateway to one peer: until all are up and reported, and again after a kill -9 of charon.

They share an IKE SA, as the networks of a large site do. `bare` loads and initiates the same children over VICI on the
same gateways, with charon's own queue; it is up when charon lists all of them. The figure at rest is the CPU time of
some seconds in which nothing happens, for a minute.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
import vici

from bench import gateways
from bench.measure import Result
from linkspan.agent.convergence import Desired
from linkspan.agent.gateway_worker import Stop
from linkspan.agent.outbox import Outbox
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Gateway
from linkspan.drivers.charon import vici_messages
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.charon.strongswan_conf import SOCKET
from linkspan.drivers.linux import netns
from linkspan.drivers.local import LocalDrivers
from linkspan.drivers.ports import DriverError
from tests.harness.peer import vici_session

KEY = Secret("one key for all")
POLL = 0.1
LONGEST = 300.0
REST = 10.0


def run(quick: bool) -> list[Result]:
    """Return seconds."""
    count = 300 if quick else 1000
    with gateways.machine() as drivers:
        near, far = gateways.gateway(1), gateways.gateway(2)
        wanted = {one.id: one for one in (_connection(near, number) for number in range(count))}
        with _peer(drivers, far, [_mirrored(connection, far) for connection in wanted.values()]):
            bare = _bare(drivers, near, _merged(wanted.values()))
            worker, outbox = gateways.ready_worker(drivers, near)
            charon = drivers.charon(near)
            started = time.perf_counter()
            worker.send(Desired(near, wanted, ()))
            created, late = _until_up(charon, outbox, set(wanted))
            at_rest = _at_rest()
            killed = _kill(drivers, near)
            restarted, late_again = _until_up(charon, outbox, set(wanted))
            worker.send(Stop(teardown=True))
            worker.join()
    return [
        _result(f"{count} connections to one peer, created", created - started, bare, late),
        _result(f"{count} connections to one peer, charon killed", restarted - killed, bare, late_again),
        Result(name="the same at rest: CPU of the agent a minute", ours=at_rest, bare=60.0, unit="s", limit=1.0),
    ]


def _result(name: str, ours: float, bare: float, late: float) -> Result:
    note = f"the last one is reported {late:.1f} s after charon lists it"
    return Result(name=name, ours=ours, bare=bare, unit="s", most=1.5, note=note)


def _connection(near: Gateway, number: int) -> Connection:
    return msgspec.structs.replace(
        gateways.connection(near.id, number),
        peer_address="198.51.100.2",
        peer_id="198.51.100.2",
        initiator="bi-directional",
        psk=KEY,
        psk_ref="one",
    )


def _mirrored(connection: Connection, far: Gateway) -> Connection:
    return msgspec.structs.replace(
        connection,
        gateway_id=far.id,
        local_address=connection.peer_address,
        peer_address=connection.local_address,
        peer_id=connection.local_address,
        local_cidrs=connection.peer_cidrs,
        peer_cidrs=connection.local_cidrs,
        initiator="response-only",
    )


def _merged(connections: Iterable[Connection]) -> IkeConfig:
    """One IKE connection with the children of all."""
    built = [ipsec_config.build(connection) for connection in connections]
    return msgspec.structs.replace(built[0], children=tuple(child for config in built for child in config.children))


@contextmanager
def _peer(drivers: LocalDrivers, gateway: Gateway, connections: list[Connection]) -> Iterator[None]:
    drivers.namespaces.apply(gateway)
    # With user-space ESP charon installs no route for a selector without an address of the gateway in it.
    name = drivers.namespaces.name(gateway.id)
    commands = "".join(f"address add {one.local_cidrs[0].replace('.0/', '.1/')} dev lo\n" for one in connections)
    subprocess.run(["ip", "-n", name, "-batch", "-"], input=commands, text=True, check=True)
    charon = drivers.charon(gateway)
    charon.start()
    with vici_session(charon._directory / SOCKET) as session:
        _load(session, _merged(connections))
    yield
    charon.stop()
    drivers.namespaces.remove(gateway.id)


def _load(session: vici.Session, config: IkeConfig) -> None:
    key = SharedKey(config.name, (config.local_id, config.remote_id), KEY)
    session.load_shared(vici_messages.load_shared(key))
    session.load_conn(vici_messages.load_conn(config))


def _bare(drivers: LocalDrivers, gateway: Gateway, config: IkeConfig) -> float:
    """Seconds until charon lists all children, loaded and initiated over VICI."""
    drivers.namespaces.apply(gateway)
    charon = drivers.charon(gateway)
    charon.start()
    try:
        with vici_session(charon._directory / SOCKET) as session:
            started = time.perf_counter()
            _load(session, config)
            for child in config.children:
                list(session.initiate({"ike": config.name, "child": child.name, "timeout": "-1"}))
            _wait_until_installed(charon, len(config.children))
            return time.perf_counter() - started
    finally:
        charon.stop()


def _wait_until_installed(charon: StrongswanCharon, count: int) -> None:
    end = time.monotonic() + LONGEST
    while _installed(charon) < count:
        if time.monotonic() > end:
            raise RuntimeError(f"charon does not list {count} children after {LONGEST:.0f} s")
        time.sleep(POLL)


def _installed(charon: StrongswanCharon) -> int:
    try:
        return sum(len(sa.installed) for sa in charon.sas())
    except DriverError:
        return 0  # it has been killed


def _until_up(charon: StrongswanCharon, outbox: Outbox, ids: set[str]) -> tuple[float, float]:
    """Wait until all are reported up. Returns that time, and the seconds between charon's last child and it."""
    listed: list[float] = []

    def watch_charon() -> None:
        _wait_until_installed(charon, len(ids))
        listed.append(time.perf_counter())

    watch = threading.Thread(target=watch_charon, daemon=True)
    watch.start()
    up: set[str] = set()
    end = time.monotonic() + LONGEST
    while up != ids:
        if time.monotonic() > end:
            raise RuntimeError(f"{len(up)} of {len(ids)} are reported up after {LONGEST:.0f} s")
        for report in outbox.take(1.0).connections:
            up.add(report.id) if report.state == "up" else up.discard(report.id)
    reported = time.perf_counter()
    watch.join(LONGEST)
    return reported, max(0.0, reported - listed[0])


def _kill(drivers: LocalDrivers, gateway: Gateway) -> float:
    """Kill charon; return the time of it."""
    killed = time.perf_counter()
    for pid in netns.processes(drivers.namespaces.name(gateway.id)):
        os.kill(pid, signal.SIGKILL)
    return killed


def _at_rest() -> float:
    """CPU seconds of a minute."""
    time.sleep(REST)  # the early rekeys
    before = time.process_time()
    time.sleep(REST)
    return (time.process_time() - before) * 60 / REST
