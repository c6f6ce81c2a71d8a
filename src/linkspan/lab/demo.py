"""The proof: two hosts talk through a tunnel, and the wire between the gateways carried nothing in clear.

A run is a proof only if all of it holds: both connections ACTIVE, no ping lost in either direction, ESP seen, clear
text not seen, and no packet missed by the witness.
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
CALM: Final = 2.0
"""Seconds for which nobody needs to know what is not yet up, and why."""
PINGS: Final = 10


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen. `active`: seconds from the first request until each connection was ACTIVE."""

    active: dict[str, float]
    pings: tuple[Ping, ...]
    wire: Tally

    @property
    def faults(self) -> list[str]:
        """Why it proves nothing; empty if it does."""
        found = [
            f"ping {ping.source} to {ping.destination}: {ping.received} of {ping.sent} came back, "
            f"not these (from 0): {', '.join(map(str, ping.lost))}"
            for ping in self.pings
            if ping.lost
        ]
        if not self.wire.protected:
            found.append("no ESP packet was seen between the gateways")
        if self.wire.clear:
            found.append(f"{self.wire.clear} packets crossed the wire between the gateways in clear")
        if self.wire.drops:
            found.append(f"the witness on the wire missed {self.wire.drops} packets")
        return found


def prove(
    instance: str, lab: Lab, user: Api, progress: Progress, started: float, alive: Callable[[], None], patience: float
) -> tuple[Proof, dict[str, Host]]:
    """Wait for both connections, make the hosts, ping both ways. `alive` raises if there is nothing left to wait for.

    `started`: when the first request was sent (monotonic); `patience` in seconds. Raises LabError.
    """
    with progress.step("both connections ACTIVE"):
        active = wait_active(user, lab, progress, started, alive, patience)
    if lab.resumed:
        # Until this run's agents have spoken, the API can only repeat what those of the last one said.
        with progress.step("gateways and tunnel of the earlier run again"):
            _wait(lambda: all(gateway_namespace(instance, site.router_id) for site in lab.sites.values()), alive)
            hosts = _hosts(instance, lab, alive)
            _wait(lambda: all(_ping(hosts, side, 1).received for side in hosts), alive)
            active = wait_active(user, lab, progress, started, alive, patience)
    else:
        with progress.step("a host on each network"):
            hosts = _hosts(instance, lab, alive)
    with progress.step(f"{PINGS} pings each way, with a witness on the wire"):
        pings, wire = talk(instance, lab, hosts)
    return Proof(active=active, pings=pings, wire=wire), hosts


def wait_active(
    user: Api, lab: Lab, progress: Progress, started: float, alive: Callable[[], None], patience: float
) -> dict[str, float]:
    """Seconds after `started` at which each connection was ACTIVE. Raises LabError with the API's own reason."""
    active: dict[str, float] = {}
    while True:
        alive()
        seen = sites.statuses(user, lab)
        now = time.monotonic() - started
        for name, (status, reason) in seen.items():
            if status == "ACTIVE":
                active.setdefault(name, now)
            elif status == "ERROR":
                raise LabError(f"connection {name} is in ERROR: {reason}")
        if seen and all(status == "ACTIVE" for status, _ in seen.values()):
            return active
        words = [f"{name} {status}{f' ({reason})' if reason else ''}" for name, (status, reason) in seen.items()]
        if now > patience:
            raise LabError(f"not ACTIVE within {patience:.0f} s: {', '.join(words)}")
        if now > CALM:
            progress.detail(", ".join(words))
        time.sleep(POLL)


def _wait(condition: Callable[[], bool], alive: Callable[[], None], patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        alive()
        if time.monotonic() > deadline:
            raise LabError(f"the tunnel of an earlier run did not come back within {patience:.0f} s")
        time.sleep(POLL)


def _hosts(instance: str, lab: Lab, alive: Callable[[], None]) -> dict[str, Host]:
    """The hosts, as soon as each network has its bridge, which a gateway's leg brings."""
    bridges = {interface_names.bridge(instance, site.network_id) for site in lab.sites.values()}
    _wait(lambda: bridges <= fabric.links(instance), alive)
    return make_hosts(instance, lab)


def make_hosts(instance: str, lab: Lab) -> dict[str, Host]:
    """A host on each network."""
    return {
        side: fabric.make_host(instance, side, site.network_id, site.host_addresses, site.gateway_addresses)
        for side, site in lab.sites.items()
    }


def talk(instance: str, lab: Lab, hosts: dict[str, Host], count: int = PINGS) -> tuple[tuple[Ping, ...], Tally]:
    """Ping from each host to the other, at the same time, and count what crosses the wire meanwhile."""
    watched = interface_names.bridge(instance, lab.internet_id)
    wire = PacketCounter(fabric.fabric_namespace(instance), watched, lab.prefixes)
    with wire, ThreadPoolExecutor(len(hosts)) as pool:
        pings = list(pool.map(lambda side: _ping(hosts, side, count), hosts))
    return tuple(pings), wire.tally


def _ping(hosts: dict[str, Host], side: str, count: int) -> Ping:
    source, destination = (hosts[name].addresses[0].partition("/")[0] for name in (side, OTHER[side]))
    return msgspec.structs.replace(fabric.ping(hosts[side].namespace, destination, count), source=source)


def describe(instance: str, lab: Lab, hosts: dict[str, Host], url: str, state: Path) -> dict[str, Any]:
    """Everything that somebody who wants to look into the laboratory needs to know; no secrets."""
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
    """The namespace of a gateway on this machine, whichever node it is on; empty if it is not here."""
    prefix = f"{interface_names.namespace_prefix(instance)}{router_id[:8]}-"
    return next((name for name in netns.names() if name.startswith(prefix)), "")
