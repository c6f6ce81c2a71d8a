"""Loading of 1,000 connections into a gateway: from the API's desired state until all are loaded and reported.

`bare` sends the same 1,000 messages over a VICI session to an equal charon.
"""

from __future__ import annotations

import time

from bench import gateways
from bench.measure import Result, median
from linkspan.agent.convergence import Desired
from linkspan.agent.gateway_worker import Stop
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state import desired
from linkspan.core.state.desired import Delta, Gateway
from linkspan.drivers.charon import vici_messages
from linkspan.drivers.charon.strongswan_conf import SOCKET
from linkspan.drivers.local import LocalDrivers
from tests.harness.peer import vici_session

COUNT = 1000


def run(quick: bool) -> list[Result]:
    """Return rates in connections per second; both measurements alternate."""
    rounds = 1 if quick else 3
    ours, bare = [], []
    for _ in range(rounds):
        with gateways.machine() as drivers:
            gateway = gateways.gateway(1)
            body = _delta(gateway)
            bare.append(COUNT / _bare(drivers, gateway, body))
            ours.append(COUNT / _ours(drivers, gateway, body))
    return [Result(name=f"load {COUNT} connections", ours=median(ours), bare=median(bare), unit="conn/s", least=0.5)]


def _delta(gateway: Gateway) -> bytes:
    connections = tuple(gateways.connection(gateway.id, number) for number in range(COUNT))
    stamps = [("gateway", gateway.id, 1), *(("connection", connection.id, 1) for connection in connections)]
    return desired.encode(
        Delta(
            since=0,
            revision=1,
            gateways=(gateway,),
            connections=connections,
            gone=(),
            count=len(stamps),
            digest=desired.digest(stamps),  # type: ignore[arg-type]
        )
    )


def _ours(drivers: LocalDrivers, gateway: Gateway, body: bytes) -> float:
    worker, outbox = gateways.ready_worker(drivers, gateway)
    started = time.perf_counter()
    state = desired.merge(desired.EMPTY, desired.decode(body))
    worker.send(Desired(gateway, state.connections, ()))
    reported = 0
    while reported < COUNT:
        reported += len(outbox.take(60.0).connections)
    took = time.perf_counter() - started
    worker.send(Stop(teardown=True))
    worker.join()
    return took


def _bare(drivers: LocalDrivers, gateway: Gateway, body: bytes) -> float:
    drivers.namespaces.apply(gateway)
    charon = drivers.charon(gateway)
    charon.start()
    messages = [
        (vici_messages.load_shared(ipsec_config.shared_key(connection, config)), vici_messages.load_conn(config))
        for connection in desired.decode(body).connections
        for config in (ipsec_config.build(connection),)
    ]
    with vici_session(charon._directory / SOCKET) as session:
        started = time.perf_counter()
        for key, config in messages:
            session.load_shared(key)
            session.load_conn(config)
        took = time.perf_counter() - started
    charon.stop()
    drivers.namespaces.remove(gateway.id)
    return took
