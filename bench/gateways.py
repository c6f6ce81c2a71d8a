"""Gateways for measurements: real namespaces and charons, in an instance that is swept afterwards."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linkspan.agent.convergence import Desired
from linkspan.agent.gateway_worker import GatewayWorker
from linkspan.agent.outbox import Outbox
from linkspan.core.secret import Secret
from linkspan.core.state.desired import (
    Connection,
    Dpd,
    Gateway,
    IkePolicy,
    InsideInterface,
    IpsecPolicy,
    OutsideInterface,
)
from linkspan.drivers.linux import netns
from linkspan.drivers.local import LocalDrivers, sweep

NETWORK = str(uuid.uuid4())


@contextmanager
def machine() -> Iterator[LocalDrivers]:
    """Provide drivers of a separate instance on this machine; sweep it afterwards."""
    instance = f"b{os.getpid() % 100_000}"
    fabric = f"ls-{instance}-fabric"
    sweep(instance)
    netns.create(fabric, lambda: None)
    try:
        with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as state:
            yield LocalDrivers(instance, "bench", Path(state), fabric)
            sweep(instance)
    finally:
        sweep(instance)


def ready_worker(drivers: LocalDrivers, gateway: Gateway) -> tuple[GatewayWorker, Outbox]:
    """Return a worker whose gateway is ready and has no connections, and its reports."""
    outbox = Outbox()
    worker = GatewayWorker(gateway, drivers, outbox)
    worker.start()
    worker.send(Desired(gateway, {}, ()))
    while not outbox.take(5.0).gateways:
        pass
    return worker, outbox


def gateway(number: int) -> Gateway:
    """Return the gateway 198.51.100.N with the LAN 10.N.0.0/24."""
    return Gateway(
        id=str(uuid.uuid4()),
        revision=1,
        generation=1,
        outside=OutsideInterface(NETWORK, "internet", (f"198.51.100.{number}/24",), ()),
        inside=(InsideInterface(str(uuid.uuid4()), (f"10.{number}.0.1/24",)),),
    )


def connection(gateway_id: str, number: int) -> Connection:
    """Return one of many connections of a gateway, response-only, to a peer that does not exist."""
    peer = f"203.0.{number // 250 + 1}.{number % 250 + 1}"
    return Connection(
        id=str(uuid.uuid4()),
        gateway_id=gateway_id,
        revision=1,
        enabled=True,
        local_address="198.51.100.1",
        local_id="",
        peer_address=peer,
        peer_id=peer,
        local_cidrs=("10.1.0.0/24",),
        peer_cidrs=(f"10.{number // 250 + 10}.{number % 250}.0/24",),
        mtu=1500,
        initiator="response-only",
        dpd=Dpd("restart", 30, 120),
        auth_mode="psk",
        psk=Secret(f"key number {number}"),
        psk_ref=f"ref-{number}",
        ike=IkePolicy("v2", "main", "aes-128", "sha256", "group31", 3600),
        ipsec=IpsecPolicy("esp", "tunnel", "aes-128", "sha256", "group14", "seconds", 3600),
    )
