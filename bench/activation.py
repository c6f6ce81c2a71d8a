"""create → ACTIVE of a connection between ready gateways, relative to bare VICI on the same gateways.

`ours` is the time from the POST until a GET reads ACTIVE, polled every 2 ms: through the API, the database, the hint,
the agent, the leak guard, charon and the report. `bare` is load-shared, load-conn and a blocking initiate.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import vici

from bench.measure import Result, median
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Dpd, IkePolicy, IpsecPolicy
from linkspan.drivers.charon import vici_messages
from linkspan.drivers.charon.strongswan_conf import SOCKET
from tests.harness.peer import vici_session
from tests.harness.world import World, frozen, until

POLL = 0.002
SETTLE = 0.3
"""Seconds for the agent to handle what happened while it was stopped."""
PATH = "/v2.0/vpn/ipsec-site-connections"
KEYS = ("name", "vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "peer_address", "peer_id", "peer_cidrs", "psk")


def run(quick: bool) -> list[Result]:
    """Return medians in milliseconds; both measurements alternate."""
    rounds = 5 if quick else 30
    ours, bare = [], []
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder:
        world = World(Path(folder) / "state")
        try:
            left, right = (world.lab["sites"][side]["connection_id"] for side in ("left", "right"))
            # The far end is response-only, so that the measured end always initiates.
            world.user.request("PUT", f"{PATH}/{right}", {"ipsec_site_connection": {"initiator": "response-only"}})
            template = world.connection(left)
            policies = _policies(world, template)
            world.user.request("DELETE", f"{PATH}/{left}")
            for _ in range(rounds):
                bare.append(_bare(world, template, *policies) * 1000)
                ours.append(_ours(world, template) * 1000)
        finally:
            world.stop()
    return [
        Result(
            name="create → ACTIVE, p50",
            ours=median(ours),
            bare=median(bare),
            unit="ms",
            most=3.0,
            note=f"{rounds} each; slowest {max(ours):.0f} ms and {max(bare):.0f} ms",
        )
    ]


def _ours(world: World, template: dict[str, Any]) -> float:
    body = {"ipsec_site_connection": {key: template[key] for key in KEYS}}
    started = time.perf_counter()
    id = world.user.request("POST", PATH, body)["ipsec_site_connection"]["id"]
    while world.connection(id)["status"] != "ACTIVE":
        time.sleep(POLL)
        if time.perf_counter() - started > 30:
            raise RuntimeError(f"not ACTIVE after 30 s: {world.connection(id)}")
    took = time.perf_counter() - started
    world.user.request("DELETE", f"{PATH}/{id}")
    _wait_without_sas(world)
    return took


def _bare(world: World, template: dict[str, Any], phase1: IkePolicy, phase2: IpsecPolicy) -> float:
    site = world.lab["sites"]["left"]
    connection = Connection(
        id="bare",
        gateway_id=site["router_id"],
        revision=1,
        enabled=True,
        local_address=site["gateway"]["outside_address"],
        local_id="",
        peer_address=template["peer_address"],
        peer_id=template["peer_id"],
        local_cidrs=("10.1.0.0/24",),
        peer_cidrs=tuple(template["peer_cidrs"]),
        mtu=1500,
        initiator="bi-directional",
        dpd=Dpd(**template["dpd"]),
        auth_mode="psk",
        psk=Secret(template["psk"]),
        psk_ref="",
        ike=phase1,
        ipsec=phase2,
    )
    config = ipsec_config.build(connection)
    key, message = (
        vici_messages.load_shared(ipsec_config.shared_key(connection, config)),
        vici_messages.load_conn(config),
    )
    # The agent would end what it did not initiate.
    with frozen(world.agent_pid), _session(world) as session:
        started = time.perf_counter()
        session.load_shared(key)
        session.load_conn(message)
        list(session.initiate({"ike": config.name, "child": config.children[0].name, "timeout": "10000"}))
        took = time.perf_counter() - started
        list(session.terminate({"ike": config.name, "timeout": "5000"}))
        session.unload_conn({"name": config.name})
        session.unload_shared({"id": config.name})
        _wait_without_sas(world)
    time.sleep(SETTLE)
    return took


def _wait_without_sas(world: World) -> None:
    """Wait until no end has an SA, so that every attempt starts from the same state."""
    for side in ("left", "right"):
        with world.charon(side) as charon:
            until(lambda charon=charon: not charon.sas(), 10.0)  # type: ignore[misc]


@contextmanager
def _session(world: World) -> Iterator[vici.Session]:
    router = world.lab["sites"]["left"]["router_id"]
    (directory,) = world.state.glob(f"**/gateways/{router}")
    with vici_session(directory / SOCKET) as session:
        yield session


def _policies(world: World, template: dict[str, Any]) -> tuple[IkePolicy, IpsecPolicy]:
    def show(path: str, singular: str, id: str) -> dict[str, Any]:
        body: dict[str, Any] = world.user.request("GET", f"/v2.0/vpn/{path}/{id}")[singular]
        return body

    first = show("ikepolicies", "ikepolicy", template["ikepolicy_id"])
    second = show("ipsecpolicies", "ipsecpolicy", template["ipsecpolicy_id"])
    phase1 = msgspec.convert(first | {"lifetime": first["lifetime"]["value"]}, IkePolicy)
    units = {"lifetime_units": second["lifetime"]["units"], "lifetime": second["lifetime"]["value"]}
    return phase1, msgspec.convert(second | units, IpsecPolicy)
