"""The drivers of one machine, wired together, and the sweep that leaves nothing of an instance behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import structlog

from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.drivers import backend as esp
from linkspan.drivers import guard, naming, netlink, netns, process
from linkspan.drivers.charon import StrongswanCharon
from linkspan.drivers.guard import NftGuard
from linkspan.drivers.names import NamespaceResolver
from linkspan.drivers.namespace import NetworkNamespaces
from linkspan.drivers.paths import RoutedPaths
from linkspan.drivers.vici import DEADLINE

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
        self.namespaces = NetworkNamespaces(instance, node, bridges_in, bridges, guard.seal)
        self.guard = NftGuard(self.backend, self.namespaces.name)
        self.paths = RoutedPaths(self.backend, self.namespaces.name)
        self.resolver = NamespaceResolver(self.namespaces.name)
        self.charon_version = _probe(naming.namespace(instance, node, f"probe-{os.getpid()}"), self.backend)

    def charon(self, gateway: Gateway) -> StrongswanCharon:
        name = self.namespaces.name(gateway.id)
        return StrongswanCharon(self._state / "gateways" / gateway.id, name, self.backend, self._deadline)


def sweep(instance: str) -> None:
    """Remove everything of an instance from this machine, of all its nodes, whatever has crashed before.

    Processes in its namespaces first, then the namespaces, then ports and bridges wherever they are. Needs no agent
    and no settings. Files are left alone.
    """
    prefix = naming.namespace_prefix(naming.check_instance(instance))
    mine = [name for name in netns.names() if name.startswith(prefix)]
    for name in mine:
        process.end(netns.processes(name))
    for name in mine:
        netns.delete(name)
    for name in [netns.HERE, *netns.names()]:
        try:
            netns.inside(name, lambda: _sweep_links(instance))
        except FileNotFoundError:
            continue  # somebody else has removed it meanwhile
        except OSError as error:
            _log.warning("could not look into a namespace", namespace=name, error=str(error))
    process.reap()


def _sweep_links(instance: str) -> None:
    prefixes = naming.link_prefixes(instance)
    with netlink.connect() as kernel:
        for link in kernel.links().values():
            mark = naming.read_mark(link.alias)
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
