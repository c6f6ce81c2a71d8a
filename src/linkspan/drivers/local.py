"""The drivers of this machine, wired together, and `sweep`, which removes everything of an instance."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from linkspan.core.ipsec.capabilities import from_charon
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend, Capabilities
from linkspan.drivers.charon import confinement
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.charon.vici import DEADLINE
from linkspan.drivers.gateway import leak_guard
from linkspan.drivers.gateway.charon_network import KernelCharonNetwork
from linkspan.drivers.gateway.dns_resolver import NamespaceResolver
from linkspan.drivers.gateway.http_fetcher import NamespaceFetcher
from linkspan.drivers.gateway.ike_limit import NftIkeLimit
from linkspan.drivers.gateway.leak_guard import NftLeakGuard
from linkspan.drivers.gateway.mtu_routing import PolicyRoutedMtu
from linkspan.drivers.gateway.namespace import NetworkNamespaces
from linkspan.drivers.gateway.network_watch import NetlinkWatch
from linkspan.drivers.gateway.peer_signs import IcmpPeerSigns
from linkspan.drivers.gateway.policy_bypass import XfrmPolicyBypass
from linkspan.drivers.gateway.prober import NamespaceProber
from linkspan.drivers.gateway.traffic_block import NftTrafficBlock
from linkspan.drivers.linux import esp_backend as esp
from linkspan.drivers.linux import interface_names, netlink, netns, process, user_namespace
from linkspan.drivers.linux.machine_limits import KernelMachineLimits

_log = structlog.get_logger("drivers.local")
# In memory, as namespaces need it to be anyway: an agent can also start while the disk is full.
_PROBE_IN: Final = "/run"


class LocalDrivers:
    """The `Drivers` of one node on this machine; see `drivers.ports`.

    The constructor detects the ESP backend, and starts a charon for a moment to ask for its version and capabilities
    and to check its plugins. Raises DriverError if the machine cannot run gateways.
    `bridges_in` and `bridges` as in `NetworkNamespaces`; `state` is the node's own directory; `deadline` in seconds
    for each command to a charon.
    """

    def __init__(
        self,
        instance: str,
        node: str,
        state: Path,
        bridges_in: str = netns.CURRENT,
        bridges: Mapping[str, str] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._state = state.absolute()
        self._deadline = deadline
        self.backend: Backend = esp.detect()
        refusal = user_namespace.refusal()
        if refusal:
            _log.warning("no user namespaces here: charon keeps rights over the node's network", kernel=refusal)
        self.peer_signs = IcmpPeerSigns(partial(interface_names.namespace, instance, node))
        self.namespaces = NetworkNamespaces(
            instance,
            node,
            bridges_in,
            bridges,
            leak_guard.drop_everything,
            (lambda _name: None) if refusal else confinement.uid,
            self.peer_signs.about,
        )
        self.leak_guard = NftLeakGuard(self.backend, self.namespaces.name)
        self.policy_bypass = XfrmPolicyBypass(self.backend, self.namespaces.name)
        self.mtu_routing = PolicyRoutedMtu(self.backend, self.namespaces.name)
        self.traffic_block = NftTrafficBlock(self.namespaces.name)
        self.ike_limit = NftIkeLimit(self.namespaces.name)
        self.charon_network = KernelCharonNetwork(self.backend, self.namespaces.name)
        self.network_watch = NetlinkWatch(instance, node, self.backend, self.namespaces.name, bridges_in)
        self.machine_limits = KernelMachineLimits()
        self.resolver = NamespaceResolver(self.namespaces.name)
        self.fetcher = NamespaceFetcher(self.namespaces.name)
        self.prober = NamespaceProber(self.backend, self.namespaces.name)
        probe = interface_names.namespace(instance, node, f"probe-{os.getpid()}")
        self.charon_version, capabilities = _probe(probe, self.backend, None if refusal else confinement.uid(probe))
        self.capabilities = msgspec.structs.replace(capabilities, isolation="partial" if refusal else "full")

    def charon(self, gateway: Gateway) -> StrongswanCharon:
        name = self.namespaces.name(gateway.id)
        return StrongswanCharon(self._state / "gateways" / gateway.id, name, self.backend, self._deadline)


def sweep(instance: str) -> None:
    """Remove everything of an instance from this machine, of all its nodes, also what a crash has left.

    Ends the processes in its namespaces, then removes the namespaces, then ports and bridges in any other namespace.
    Needs neither agent nor settings. Does not touch files.
    """
    prefix = interface_names.namespace_prefix(interface_names.check_instance(instance))
    namespaces = [name for name in netns.names() if name.startswith(prefix)]
    process.terminate(netns.processes(*namespaces))
    for name in namespaces:
        netns.delete(name)
    for name in [netns.CURRENT, *netns.names()]:
        try:
            netns.run_inside(name, lambda: _sweep_links(instance))
        except FileNotFoundError:
            continue  # removed by another process meanwhile
        except OSError as error:
            _log.warning("could not enter a namespace", namespace=name, error=str(error))
    process.reap()


def _sweep_links(instance: str) -> None:
    prefixes = interface_names.link_prefixes(instance)
    with netlink.connect() as kernel:
        for link in kernel.links().values():
            mark = interface_names.read_mark(link.alias)
            # A crash between creating a link and marking it leaves a link with our name and no mark.
            is_ours = mark.instance == instance if mark else not link.alias and link.name.startswith(prefixes)
            if is_ours and link.kind in ("veth", "bridge"):
                kernel.delete(link)


def _probe(namespace: str, backend: Backend, owner: int | None) -> tuple[str, Capabilities]:
    """Return version and capabilities of this machine's charon, started for a moment in a namespace of its own."""
    netns.create(namespace, lambda: None, owner)
    try:
        with tempfile.TemporaryDirectory(prefix="linkspan-probe-", dir=_PROBE_IN) as directory:
            charon = StrongswanCharon(Path(directory), namespace, backend)
            try:
                charon.start()
                modes = {mode: backend == "kernel" and esp.has_mode(mode) for mode in esp.MODES}
                ikev1 = charon.can_initiate(1) or not charon.can_initiate(2)
                return charon.version(), from_charon(charon.algorithms(), backend, ikev1=ikev1, **modes)
            finally:
                charon.stop()
    finally:
        netns.delete(namespace)
