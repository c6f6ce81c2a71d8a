"""The drivers of one machine, wired together, and the sweep that leaves nothing of an instance behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import structlog

from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.charon.vici import DEADLINE
from linkspan.drivers.gateway import leak_guard
from linkspan.drivers.gateway.dns_resolver import NamespaceResolver
from linkspan.drivers.gateway.leak_guard import NftGuard
from linkspan.drivers.gateway.mtu_routing import PolicyRoutedMtu
from linkspan.drivers.gateway.namespace import NetworkNamespaces
from linkspan.drivers.linux import esp_backend as esp
from linkspan.drivers.linux import interface_names, netlink, netns, process

_log = structlog.get_logger("drivers.local")


class LocalDrivers:
    """The `Drivers` of one node on this machine; see `drivers.ports`.

    Making one asks the machine what it can do and starts a charon for a moment, to learn its version and to see that
    it loads what it should and nothing else. Raises DriverError if the machine cannot run gateways.
    `bridges_in` and `bridges` as in `NetworkNamespaces`; `state` is a directory, one of its own for each node;
    `deadline` in seconds for every command to a charon.
    """

    def __init__(
        self,
        instance: str,
        node: str,
        state: Path,
        bridges_in: str = netns.HERE,
        bridges: Mapping[str, str] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._state = state.absolute()
        self._deadline = deadline
        self.backend: Backend = esp.detect()
        self.namespaces = NetworkNamespaces(instance, node, bridges_in, bridges, leak_guard.drop_everything)
        self.guard = NftGuard(self.backend, self.namespaces.name)
        self.paths = PolicyRoutedMtu(self.backend, self.namespaces.name)
        self.resolver = NamespaceResolver(self.namespaces.name)
        self.charon_version = _probe(interface_names.namespace(instance, node, f"probe-{os.getpid()}"), self.backend)

    def charon(self, gateway: Gateway) -> StrongswanCharon:
        name = self.namespaces.name(gateway.id)
        return StrongswanCharon(self._state / "gateways" / gateway.id, name, self.backend, self._deadline)


def sweep(instance: str) -> None:
    """Remove everything of an instance from this machine, of all its nodes, whatever has crashed before.

    Processes in its namespaces first, then the namespaces, then ports and bridges wherever they are. Needs no agent
    and no settings. Files are left alone.
    """
    prefix = interface_names.namespace_prefix(interface_names.check_instance(instance))
    mine = [name for name in netns.names() if name.startswith(prefix)]
    for name in mine:
        process.terminate(netns.processes(name))
    for name in mine:
        netns.delete(name)
    for name in [netns.HERE, *netns.names()]:
        try:
            netns.run_inside(name, lambda: _sweep_links(instance))
        except FileNotFoundError:
            continue  # somebody else has removed it meanwhile
        except OSError as error:
            _log.warning("could not look into a namespace", namespace=name, error=str(error))
    process.reap()


def _sweep_links(instance: str) -> None:
    prefixes = interface_names.link_prefixes(instance)
    with netlink.connect() as kernel:
        for link in kernel.links().values():
            mark = interface_names.read_mark(link.alias)
            # A crash between making a link and marking it leaves one with our name and no mark.
            ours = mark.instance == instance if mark else not link.alias and link.name.startswith(prefixes)
            if ours and link.kind in ("veth", "bridge"):
                kernel.delete(link)


def _probe(namespace: str, backend: Backend) -> str:
    """The version of this machine's charon, which is started for a moment in a namespace of its own."""
    netns.create(namespace, lambda: None)
    try:
        with tempfile.TemporaryDirectory(prefix="linkspan-probe-") as directory:
            charon = StrongswanCharon(Path(directory), namespace, backend)
            try:
                charon.start()
                return charon.version()
            finally:
                charon.stop()
    finally:
        netns.delete(namespace)
