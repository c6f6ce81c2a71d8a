"""Limits IKE from addresses that are no configured peer's, before charon sees it (nft(8)).

charon answers whoever asks, also addresses that nobody has. On the gateway's own external network such answers wait in
the kernel for address resolution, and count against the send buffer of charon's socket until they are given up, three
seconds later. A full buffer stops everything that charon sends, with user-space ESP the traffic of all tunnels too. So
few of them may wait: of strangers a limited number of packets passes in all, and `drivers.gateway.namespace` lets each
unresolved neighbour hold little. Configured peers have no limit here; charon's own is for them.

The rules have a table of their own in the gateway's namespace. They stay while neither agent nor charon runs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final

from linkspan.core.state.desired import Gateway
from linkspan.drivers.linux import interface_names, netns, nft
from linkspan.drivers.linux.nft_tables import TableComparison
from linkspan.drivers.ports import DriverError

_NAME: Final = "linkspan-ike"
_TABLE: Final = f"inet {_NAME}"
_CHAIN: Final = f"{_TABLE} inbound"
_PURPOSE: Final = "limit of IKE"
_FAMILY: Final = {4: "ip", 6: "ip6"}
_STRANGERS: Final = "limit rate 20/second burst 20 packets accept"
"""Enough to tell a peer with a wrong address why it is refused. About 80 of their answers wait at the same time at
most, which is less than half of the send buffer."""


class NftIkeLimit:
    """The `IkeLimit` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, namespace: Callable[[str], str]) -> None:
        self._namespace = namespace
        self._comparison = TableComparison(_NAME, _PURPOSE)

    def apply(self, gateway: Gateway, peers: Iterable[str]) -> None:
        text = transaction(peers)
        try:
            netns.run_inside(self._namespace(gateway.id), lambda: nft.apply(text, _PURPOSE))
        except FileNotFoundError as error:
            raise DriverError("there is no namespace to limit IKE in") from error

    def restore(self, gateway: Gateway, peers: Iterable[str]) -> tuple[str, ...]:
        wanted = frozenset(peers)
        try:
            found = self._comparison.differences(self._namespace(gateway.id), transaction(wanted).splitlines())
        except OSError as error:
            raise DriverError(f"the limit of IKE cannot be read: {error}") from error
        if found:
            self.apply(gateway, wanted)
        return found


def transaction(peers: Iterable[str]) -> str:
    """Return the nft transaction that replaces the table. Pure."""
    by_version: dict[int, list[str]] = {4: [], 6: []}
    for address in sorted(map(ipaddress.ip_address, set(peers)), key=lambda address: (address.version, int(address))):
        by_version[address.version].append(str(address))
    lines = [
        f"add table {_TABLE}",
        f"delete table {_TABLE}",
        f"add table {_TABLE}",
        f"add counter {_TABLE} dropped",
        f"add chain {_CHAIN} {{ type filter hook input priority -1; policy accept; }}",
        # With kernel ESP nearly every packet is no UDP.
        f"add rule {_CHAIN} meta l4proto != udp accept",
        f"add rule {_CHAIN} udp dport != {{ 500, 4500 }} accept",
        # ESP in UDP; IKE has four zeros before it (RFC 3948 2.2). With user-space ESP nearly every packet is one of it.
        f"add rule {_CHAIN} udp dport 4500 @th,64,32 != 0 accept",
        f"add rule {_CHAIN} iifname != {interface_names.OUTSIDE} accept",
    ]
    for version, addresses in by_version.items():
        name = f"peers{version}"
        lines.append(f"add set {_TABLE} {name} {{ type ipv{version}_addr; }}")
        if addresses:
            lines.append(f"add element {_TABLE} {name} {{ {', '.join(addresses)} }}")
        lines.append(f"add rule {_CHAIN} {_FAMILY[version]} saddr @{name} accept")
    lines += [f"add rule {_CHAIN} {_STRANGERS}", f"add rule {_CHAIN} counter name dropped drop"]
    return "\n".join(lines) + "\n"
