"""Packet filter that keeps protected traffic from passing a gateway's outside interface in plaintext, both ways.

The rules are nftables rules in the gateway's namespace, so they outlive charon and the agent. A new namespace is
sealed: nothing is forwarded, only IKE, ESP and AH leave it. The first `apply` replaces the seal. A connection's pairs
must be guarded before the connection is loaded, and until its SAs are deleted.

There is one set of pairs for each combination of prefix lengths. Different pairs in such a set never overlap, which
the kernel would refuse; a lookup costs the same for one pair as for a thousand; and `current` reads the pairs back
from the sets. Pairs that stay are not touched: a transaction switches rules atomically, but the elements of these sets
become visible a little later, so that replacing the table would let packets out in plaintext. So sets are changed by
their differences, and a new set is filled before a rule refers to it.

Packets on the interfaces of networks whose admin state is down are dropped before all other rules; if the router's is
down, packets on every interface.

With kernel ESP the hooks of the outside interface also see protected packets, marked by `rt ipsec` and `meta ipsec`.
With user-space ESP they do not: every packet of a pair on the outside interface is plaintext.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from linkspan.core.addresses import Address
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.drivers.linux import interface_names, netns, nft
from linkspan.drivers.linux.nft_tables import TableComparison
from linkspan.drivers.ports import DriverError

_NAME: Final = "linkspan"
_PURPOSE: Final = "guard"
_TABLE: Final = f"inet {_NAME}"
_FAMILY: Final = {4: "ip", 6: "ip6"}
_NEIGHBOURS: Final = (
    "ip6 hoplimit 255 icmpv6 type "
    "{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept"
)
_CHAINS: Final = (
    f"add table {_TABLE}",
    f"add counter {_TABLE} dropped_out",
    f"add counter {_TABLE} dropped_in",
    f"add chain {_TABLE} outbound {{ type filter hook postrouting priority 0; policy accept; }}",
    f"add chain {_TABLE} inbound {{ type filter hook prerouting priority 0; policy accept; }}",
)
_SEAL: Final = (
    "oifname lo accept",
    _NEIGHBOURS,
    "udp sport { 500, 4500 } accept",
    "meta l4proto { esp, ah } accept",
    "counter name dropped_out drop",
)

PairSets = Mapping[str, frozenset[SelectorPair]]
"""Pairs by the name of their nftables set."""


class NftLeakGuard:
    """The `LeakGuard` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, backend: Backend, namespace: Callable[[str], str]) -> None:
        self._backend = backend
        self._namespace = namespace
        self._applied: dict[str, tuple[int, PairSets]] = {}
        self._comparison = TableComparison(_NAME, "leak guard")

    def apply(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        name = self._namespace(gateway.id)
        try:
            inode = netns.path(name).stat().st_ino
            wanted = pair_sets(pairs)
            present = self._present(name, inode)
            closed = closed_interfaces(gateway)
            for text in transactions(gateway.outside.addresses, present, wanted, self._backend, closed):
                netns.run_inside(name, lambda text=text: nft.apply(text, _PURPOSE))  # type: ignore[misc]
            self._applied[name] = inode, wanted
        except ValueError as error:
            raise DriverError(f"the guard's pairs are invalid: {error}") from error
        except FileNotFoundError as error:
            raise DriverError(f"there is no namespace {name} to guard") from error

    def restore(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> tuple[str, ...]:
        name, wanted = self._namespace(gateway.id), pair_sets(pairs)
        texts = transactions(gateway.outside.addresses, {}, wanted, self._backend, closed_interfaces(gateway))
        try:
            found = self._comparison.differences(name, "".join(texts).splitlines())
            if found:
                self._applied.pop(name, None)
                self._apply_or_rebuild(gateway, wanted, "".join(texts))
        except OSError as error:
            raise DriverError(f"the leak guard cannot be read: {error}") from error
        return found

    def _apply_or_rebuild(self, gateway: Gateway, wanted: PairSets, script: str) -> None:
        """Change what is there; if it is such that nft refuses that, make the table anew."""
        try:
            self.apply(gateway, frozenset[SelectorPair]().union(*wanted.values()))
        except DriverError:
            anew = f"add table {_TABLE}\ndelete table {_TABLE}\nadd table {_TABLE}\n{script}"
            netns.run_inside(self._namespace(gateway.id), lambda: nft.apply(anew, _PURPOSE))

    def _present(self, name: str, inode: int) -> PairSets:
        """Return the sets of this namespace: as applied last, or read from the kernel if that is unknown or failed."""
        known = self._applied.pop(name, None)
        return known[1] if known and known[0] == inode else netns.run_inside(name, _read)

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        name = self._namespace(gateway_id)
        if not netns.exists(name):
            return frozenset()
        return frozenset[SelectorPair]().union(*netns.run_inside(name, _read).values())


def drop_everything() -> None:
    """Seal the interfaces of the calling thread's namespace until the guard is applied."""
    nft.apply(_script([*_CHAINS, *_rules("outbound", _SEAL)]), _PURPOSE)


def pair_sets(pairs: Iterable[SelectorPair]) -> dict[str, frozenset[SelectorPair]]:
    """Group pairs by their nftables set. Pure. Raises ValueError if a pair mixes IP versions or has host bits."""
    grouped: dict[str, set[SelectorPair]] = {}
    for pair in pairs:
        local, remote = ipaddress.ip_network(pair.local), ipaddress.ip_network(pair.remote)
        if local.version != remote.version:
            raise ValueError(f"{pair.local} and {pair.remote} are not of one IP version")
        name = f"pairs{local.version}_{local.prefixlen}_{remote.prefixlen}"
        grouped.setdefault(name, set()).add(SelectorPair(str(local), str(remote)))
    return {name: frozenset(grouped[name]) for name in sorted(grouped)}


def closed_interfaces(gateway: Gateway) -> str:
    """Return the interfaces that no packet may pass, as nftables matches them; empty if there are none. Pure."""
    if not gateway.enabled:
        return "!= lo"
    closed = [] if gateway.outside.enabled else [interface_names.OUTSIDE]
    closed += [interface_names.inside_interface(inside.network_id) for inside in gateway.inside if not inside.enabled]
    return f"{{ {', '.join(closed)} }}" if closed else ""


def transactions(
    addresses: Iterable[str], present: PairSets, wanted: PairSets, backend: Backend, closed: str = ""
) -> list[str]:
    """Return the nft transactions, one or two, that lead from the present sets to the wanted ones. Pure.

    `addresses` are those of the outside interface; their IKE, ESP and AH always pass, in UDP or not, unless the
    interface is among the `closed_interfaces`.
    """
    new = {name: pairs for name, pairs in wanted.items() if name not in present}
    fill = [f"add table {_TABLE}"] if new else []
    for name, pairs in new.items():
        address = f"ipv{name[5]}_addr"
        fill.append(f"add set {_TABLE} {name} {{ type {address} . {address}; flags interval; }}")
        fill.append(nft.element_command("add", _TABLE, name, pairs))
    switch = [*_CHAINS]
    for name in sorted(wanted.keys() & present.keys()):
        # Deletes come first: an element that is added while it is still in the set would be deleted with it.
        switch += [nft.element_command("delete", _TABLE, name, gone)] if (gone := present[name] - wanted[name]) else []
        switch += [nft.element_command("add", _TABLE, name, more)] if (more := wanted[name] - present[name]) else []
    own = [ipaddress.ip_interface(address).ip for address in addresses]
    protected = backend == "kernel"
    outbound = [
        *([f"oifname {closed} drop"] if closed else []),
        *_tunnelled(own, "s", backend),
        f"oifname != {interface_names.OUTSIDE} accept",
        _NEIGHBOURS,
        *_own(own, "s"),
    ]
    outbound += ["rt ipsec exists accept"] if protected else []
    outbound += [_drop(name, "saddr", "daddr", "dropped_out") for name in wanted]
    outbound += _only_own(own)
    inbound = [
        *([f"iifname {closed} drop"] if closed else []),
        *_tunnelled(own, "d", backend),
        f"iifname != {interface_names.OUTSIDE} accept",
        _NEIGHBOURS,
        *_own(own, "d"),
    ]
    inbound += ["meta ipsec exists accept"] if protected else []
    inbound += [_drop(name, "daddr", "saddr", "dropped_in") for name in wanted]
    switch += [*_rules("outbound", outbound), *_rules("inbound", inbound)]
    switch += [f"delete set {_TABLE} {name}" for name in sorted(present.keys() - wanted.keys())]
    return [_script(lines) for lines in (fill, switch) if lines]


def _rules(chain: str, rules: Iterable[str]) -> list[str]:
    return [f"flush chain {_TABLE} {chain}", *(f"add rule {_TABLE} {chain} {rule}" for rule in rules)]


def _drop(name: str, local: str, remote: str, counter: str) -> str:
    ip = _FAMILY[int(name[5])]
    return f"{ip} {local} . {ip} {remote} @{name} counter name {counter} drop"


def _tunnelled(addresses: Iterable[Address], side: str, backend: Backend) -> list[str]:
    """Accept ESP of the gateway's own addresses. Nearly every packet is ESP, so these rules come first.

    They need not test the interface: everything on other interfaces is accepted anyway.
    """
    esp = "meta l4proto esp" if backend == "kernel" else f"udp {side}port 4500"
    return [f"{_FAMILY[address.version]} {side}addr {address} {esp} accept" for address in addresses]


def _own(addresses: Iterable[Address], side: str) -> list[str]:
    rules = []
    for address in addresses:
        match = f"{_FAMILY[address.version]} {side}addr {address}"
        rules.append(f"{match} udp {side}port {{ 500, 4500 }} accept")
        rules.append(f"{match} meta l4proto {{ esp, ah }} accept")
    return rules


def _script(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _read() -> dict[str, frozenset[SelectorPair]]:
    """Read the sets of the calling thread's namespace."""
    return {pair_set["name"]: frozenset(nft.pairs_in(pair_set)) for pair_set in nft.list_sets(_NAME)}


def _only_own(addresses: Iterable[Address]) -> list[str]:
    """Let all other packets leave only from the gateway's own addresses: a deleted connection has no pairs."""
    allowed: dict[int, list[str]] = {4: [], 6: ["::", "fe80::/10"]}
    for address in addresses:
        allowed[address.version].append(str(address))
    return [
        f"{_FAMILY[version]} saddr != {{ {', '.join(own)} }} counter name dropped_out drop"
        if own
        else "meta nfproto ipv4 counter name dropped_out drop"
        for version, own in allowed.items()
    ]
