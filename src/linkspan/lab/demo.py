"""The demonstration: two hosts ping each other through a tunnel, and nothing crosses the wire in plaintext.

It succeeds only if both connections are ACTIVE, no ping is lost in either direction, the packet counter between the
gateways has seen ESP and no plaintext, and the counter has missed no packet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

from linkspan.drivers.linux import interface_names, netns
from linkspan.lab import fabric, sites
from linkspan.lab.fabric import Host, LabError, Ping
from linkspan.lab.packet_counter import PacketCounter, Tally
from linkspan.lab.progress import Progress
from linkspan.lab.sites import OTHER, Api, Lab, Site

POLL: Final = 0.05
DETAIL_AFTER: Final = 2.0
"""Seconds until the progress shows the statuses of connections that are not ACTIVE yet."""
PINGS: Final = 10


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The observations of a run. `active`: seconds from the first request until each connection was ACTIVE."""

    active: dict[str, float]
    pings: tuple[Ping, ...]
    wire: Tally

    @property
    def faults(self) -> list[str]:
        """The reasons why the run failed; empty if it succeeded."""
        faults = [
            f"ping {ping.source} to {ping.destination}: {ping.received} of {ping.sent} came back, "
            f"not these (from 0): {', '.join(map(str, ping.lost))}"
            for ping in self.pings
            if ping.lost
        ]
        if not self.wire.protected:
            faults.append("no ESP packet was seen between the gateways")
        if self.wire.plaintext:
            faults.append(f"{self.wire.plaintext} packets crossed the wire between the gateways in plaintext")
        if self.wire.drops:
            faults.append(f"the packet counter missed {self.wire.drops} packets")
        return faults


def prove(
    instance: str, lab: Lab, user: Api, progress: Progress, started: float, alive: Callable[[], None], patience: float
) -> tuple[Proof, dict[str, Host]]:
    """Wait for both connections, create the hosts, ping in both directions. Raises LabError.

    `alive` raises if a process of the service has ended; `started`: when the first request was sent (monotonic);
    `patience` in seconds.
    """
    with progress.step("both connections ACTIVE"):
        active = wait_active(user, lab, progress, started, alive, patience)
    if lab.resumed:
        # Until this run's agents have reported, the API shows the last reports of the earlier run.
        with progress.step("gateways and tunnel of the earlier run again"):
            routers = [site.router_id for site in lab.sites.values()]
            _wait(lambda: all(gateway_namespace(instance, id) for id in routers), "a gateway did not start", alive)
            hosts = _hosts(instance, lab, alive)
            _wait(lambda: all(_ping(hosts, side, 1).received for side in hosts), "no ping passed the tunnel", alive)
            active = wait_active(user, lab, progress, started, alive, patience)
    else:
        with progress.step("a host on each network"):
            hosts = _hosts(instance, lab, alive)
    with progress.step(f"{PINGS} pings each way, counting packets on the wire"):
        pings, wire = ping_both_ways(instance, lab, hosts)
    return Proof(active=active, pings=pings, wire=wire), hosts


def wait_active(
    user: Api, lab: Lab, progress: Progress, started: float, alive: Callable[[], None], patience: float
) -> dict[str, float]:
    """Return for each connection the seconds from `started` until it was ACTIVE. Raises LabError with its reason."""
    active: dict[str, float] = {}
    while True:
        alive()
        statuses = sites.statuses(user, lab)
        now = time.monotonic() - started
        for name, (status, reason) in statuses.items():
            if status == "ACTIVE":
                active.setdefault(name, now)
            elif status == "ERROR":
                raise LabError(f"connection {name} is in ERROR: {reason}")
        if statuses and all(status == "ACTIVE" for status, _ in statuses.values()):
            return active
        texts = [f"{name} {status}{f' ({reason})' if reason else ''}" for name, (status, reason) in statuses.items()]
        if now > patience:
            raise LabError(f"not ACTIVE within {patience:.0f} s: {', '.join(texts)}")
        if now > DETAIL_AFTER:
            progress.detail(", ".join(texts))
        time.sleep(POLL)


def _wait(condition: Callable[[], bool], failure: str, alive: Callable[[], None], patience: float = 20.0) -> None:
    """Wait for a condition. Raises LabError with `failure` if it does not become true in `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        alive()
        if time.monotonic() > deadline:
            raise LabError(f"{failure} within {patience:.0f} s")
        time.sleep(POLL)


def _hosts(instance: str, lab: Lab, alive: Callable[[], None]) -> dict[str, Host]:
    """Create the hosts as soon as each network has its bridge, which the gateway's inside interface brings."""
    bridges = {interface_names.bridge(instance, site.network_id) for site in lab.sites.values()}
    _wait(lambda: bridges <= fabric.links(instance), "a network got no bridge from its gateway", alive)
    return make_hosts(instance, lab)


def make_hosts(instance: str, lab: Lab) -> dict[str, Host]:
    """Create a host on each network."""
    return {
        side: fabric.make_host(instance, side, site.network_id, site.host_addresses, site.gateway_addresses)
        for side, site in lab.sites.items()
    }


def ping_both_ways(
    instance: str, lab: Lab, hosts: dict[str, Host], count: int = PINGS
) -> tuple[tuple[Ping, ...], Tally]:
    """Ping from each host to the other at the same time; return the pings and the packets on the wire."""
    bridge = interface_names.bridge(instance, lab.internet_id)
    wire = PacketCounter(fabric.fabric_namespace(instance), bridge, lab.prefixes)
    with wire, ThreadPoolExecutor(len(hosts)) as pool:
        pings = list(pool.map(lambda side: _ping(hosts, side, count), hosts))
    return tuple(pings), wire.tally


def _ping(hosts: dict[str, Host], side: str, count: int) -> Ping:
    source, destination = (hosts[name].addresses[0].partition("/")[0] for name in (side, OTHER[side]))
    return msgspec.structs.replace(fabric.ping(hosts[side].namespace, destination, count), source=source)


def describe(instance: str, lab: Lab, hosts: dict[str, Host], url: str, state: Path) -> dict[str, Any]:
    """Return the names, ids and addresses of the laboratory, without secrets, for `linkspan lab show`."""
    return {
        "url": url,
        "instance": instance,
        "state": str(state.absolute()),
        "clouds": str((state / "clouds.yaml").absolute()),
        "fabric": fabric.fabric_namespace(instance),
        "internet": {"network_id": lab.internet_id, "bridge": interface_names.bridge(instance, lab.internet_id)},
        "ike_policy_id": lab.ike_policy_id,
        "ipsec_policy_id": lab.ipsec_policy_id,
        "sites": {side: _describe(instance, site, hosts[side]) for side, site in lab.sites.items()},
    }


def _describe(instance: str, site: Site, host: Host) -> dict[str, Any]:
    return {
        "host": {"namespace": host.namespace, "addresses": list(host.addresses)},
        "gateway": {
            "namespace": gateway_namespace(instance, site.router_id),
            "outside_address": site.outside_address,
            "inside_addresses": list(site.gateway_addresses),
        },
        "network_id": site.network_id,
        "bridge": interface_names.bridge(instance, site.network_id),
        "subnet_ids": list(site.subnet_ids),
        "router_id": site.router_id,
        "service_id": site.service_id,
        "connection": site.connection,
        "connection_id": site.connection_id,
    }


def gateway_namespace(instance: str, router_id: str) -> str:
    """Return the namespace of a gateway on this machine, on any node; empty if there is none."""
    prefix = f"{interface_names.namespace_prefix(instance)}{router_id[:8]}-"
    return next((name for name in netns.names() if name.startswith(prefix)), "")
