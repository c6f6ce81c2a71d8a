"""What charon has put into a gateway's kernel, and charon itself does not look after: routes, states and policies.

With user-space ESP there is a TUN device; with both there is a table with a route for each remote network, and a rule
for it. The kernel removes such a route when its source address or its device goes, and charon does not put it back. So
routes are remembered when they are seen, and put back as long as a tunnel needs them. A TUN device comes back with a
start of charon only, states and policies with a rekey.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable
from typing import Final, TypeVar

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.kernel_sas import KernelSas
from linkspan.drivers.linux import interface_names, netlink, netns
from linkspan.drivers.linux.netlink import TunnelRoute
from linkspan.drivers.ports import DriverError

_DEADLINE: Final = 10.0
_SPI: Final = re.compile(r"\bspi 0x([0-9a-f]+)")
_POLICY: Final = re.compile(r"^src (\S+) dst (\S+)\s+dir out", re.MULTILINE)
T = TypeVar("T")
Remotes = Callable[[], frozenset[str]]


class KernelCharonNetwork:
    """The `CharonNetwork` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, backend: Backend, namespace: Callable[[str], str]) -> None:
        self._backend = backend
        self._namespace = namespace
        self._seen: dict[str, dict[str, TunnelRoute]] = {}

    def restore(self, gateway_id: str, remotes: Remotes) -> tuple[str, ...]:
        name = self._namespace(gateway_id)
        return self._inside(name, lambda: self._restore(name, remotes))

    def has_device(self, gateway_id: str) -> bool:
        return self._backend == "kernel" or self._inside(self._namespace(gateway_id), _has_device)

    def kernel_sas(self, gateway_id: str) -> KernelSas | None:
        if self._backend != "kernel":
            return None
        return self._inside(self._namespace(gateway_id), _read)

    def _inside(self, name: str, function: Callable[[], T]) -> T:
        try:
            return netns.run_inside(name, function)
        except (OSError, subprocess.SubprocessError) as error:
            raise DriverError(f"the network of charon cannot be read: {error}") from error

    def _restore(self, name: str, remotes: Remotes) -> tuple[str, ...]:
        seen = _needed(self._seen.get(name, {}), remotes)
        with netlink.connect() as kernel:
            present = kernel.tunnel_routes()
            if not seen.keys() <= present.keys():
                seen = _needed(seen, remotes)
            lost = [route for network, route in seen.items() if network not in present]
            links = kernel.links() if lost else {}
            restored = [route for route in lost if kernel.put_tunnel_route(route, links)]
            rules = kernel.restore_rules(netlink.CHARON, netlink.CHARON)
        self._seen[name] = seen | present
        return *(f"route to {route.network} of charon" for route in restored), *rules


def _needed(routes: dict[str, TunnelRoute], remotes: Remotes) -> dict[str, TunnelRoute]:
    needed = remotes()
    return {network: route for network, route in routes.items() if network in needed}


def _has_device() -> bool:
    try:
        return socket.if_nametoindex(interface_names.TUN) > 0
    except OSError:
        return False


def _read() -> KernelSas:
    return parse(_ip("xfrm", "state", "list", "nokeys"), _ip("xfrm", "policy", "list"))


def parse(states: str, policies: str) -> KernelSas:
    """Return the states and policies in listings of `ip xfrm`. Pure."""
    spis = frozenset(int(match, 16) for match in _SPI.findall(states))
    return KernelSas(spis, frozenset(SelectorPair(*pair) for pair in _POLICY.findall(policies)))


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=_DEADLINE, check=True).stdout
