"""Drops the traffic of tunnels that are down before a less specific tunnel takes it to another peer (nft(8)).

The rules have their own table in the gateway's namespace, apart from the leak guard's, and go from the most specific
pairs to the least specific ones. They stay while neither agent nor charon runs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final

from linkspan.core.ipsec import overlaps
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway
from linkspan.core.tunnel.precedence import Precedence
from linkspan.drivers.linux import interface_names, netns, nft
from linkspan.drivers.linux.nft_tables import TableComparison
from linkspan.drivers.ports import DriverError

_NAME: Final = "linkspan-block"
_TABLE: Final = f"inet {_NAME}"
_CHAIN: Final = f"{_TABLE} outbound"
_PURPOSE: Final = "traffic block"
_IP: Final = {4: "ip", 6: "ip6"}


class NftTrafficBlock:
    """The `TrafficBlock` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, namespace: Callable[[str], str]) -> None:
        self._namespace = namespace
        self._comparison = TableComparison(_NAME, _PURPOSE)

    def apply(self, gateway: Gateway, precedence: Precedence) -> None:
        text = transaction(gateway.outside.addresses, precedence)
        try:
            netns.run_inside(self._namespace(gateway.id), lambda: nft.apply(text, _PURPOSE))
        except FileNotFoundError as error:
            raise DriverError("there is no namespace to block traffic in") from error

    def restore(self, gateway: Gateway, precedence: Precedence) -> tuple[str, ...]:
        script = transaction(gateway.outside.addresses, precedence) if precedence.blocked else ""
        try:
            found = self._comparison.differences(self._namespace(gateway.id), script.splitlines())
        except OSError as error:
            raise DriverError(f"the traffic block cannot be read: {error}") from error
        if found:
            self.apply(gateway, precedence)
        return found

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        name = self._namespace(gateway_id)
        if not netns.exists(name):
            return frozenset()
        sets = netns.run_inside(name, lambda: nft.list_sets(_NAME))
        return frozenset(
            pair for pair_set in sets if pair_set["name"].startswith("blocked") for pair in nft.pairs_in(pair_set)
        )


def transaction(addresses: Iterable[str], precedence: Precedence) -> str:
    """Return the nft transaction that replaces the table. Pure. `addresses`: those of the outside interface, whose IKE
    and ESP always pass."""
    lines = [f"add table {_TABLE}", f"delete table {_TABLE}"]
    if not precedence.blocked:
        return "\n".join(lines) + "\n"
    lines += [
        f"add table {_TABLE}",
        f"add counter {_TABLE} blocked",
        f"add chain {_CHAIN} {{ type filter hook postrouting priority -1; policy accept; }}",
        f"add rule {_CHAIN} oifname != {{ {interface_names.OUTSIDE}, {interface_names.TUN} }} accept",
    ]
    for address in (ipaddress.ip_interface(address).ip for address in addresses):
        lines.append(f"add rule {_CHAIN} {_IP[address.version]} saddr {address} udp sport {{ 500, 4500 }} accept")
        lines.append(f"add rule {_CHAIN} {_IP[address.version]} saddr {address} meta l4proto {{ esp, ah }} accept")
    for (_, name), pairs in sorted(_sets(precedence).items(), key=lambda item: item[0]):
        verdict = "accept" if name.startswith("passing") else "counter name blocked drop"
        version = 6 if ":" in next(iter(pairs)).local else 4
        kind = f"ipv{version}_addr"
        lines += [
            f"add set {_TABLE} {name} {{ type {kind} . {kind}; flags interval; }}",
            nft.element_command("add", _TABLE, name, pairs),
            f"add rule {_CHAIN} {_IP[version]} saddr . {_IP[version]} daddr @{name} {verdict}",
        ]
    return "\n".join(lines) + "\n"


def _sets(precedence: Precedence) -> dict[tuple[tuple[int, int], str], set[SelectorPair]]:
    """Group pairs by their set. The keys sort in the order of the rules: more specific first, then passing first."""
    grouped: dict[tuple[tuple[int, int], str], set[SelectorPair]] = {}
    for order, (prefix, pairs) in enumerate((("passing", precedence.passing), ("blocked", precedence.blocked))):
        for pair in pairs:
            local, remote = ipaddress.ip_network(pair.local), ipaddress.ip_network(pair.remote)
            name = f"{prefix}{local.version}_{local.prefixlen}_{remote.prefixlen}"
            grouped.setdefault(((-overlaps.specificity(pair), order), name), set()).add(pair)
    return grouped
