"""Packet filter that lets nothing but IPsec pass a gateway's outside interface, both ways.

The rules are nftables rules in the gateway's namespace, so they outlive charon and the agent. A new namespace is
sealed: nothing is forwarded, only IKE leaves it. The first `apply` replaces the seal, whether or not there are
connections. `drivers.gateway.guard_rules` has the rules. A connection's pairs must be guarded before the connection is
loaded, and until its SAs are deleted: in transport mode they are the gateway's own addresses, some of whose packets may
leave in plaintext otherwise.

There is one set of pairs for each combination of prefix lengths. Different pairs in such a set never overlap, which
the kernel would refuse; a lookup costs the same for one pair as for a thousand; and `current` reads the pairs back
from the sets. Pairs that stay are not touched: a transaction switches rules atomically, but the elements of these sets
become visible a little later, so that replacing the table would let packets out in plaintext. So sets are changed by
their differences, and a new set is filled before a rule refers to it.

Packets on the interfaces of networks whose admin state is down are dropped before all other rules; if the router's is
down, packets on every interface.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.drivers.gateway import guard_rules
from linkspan.drivers.linux import netns, nft
from linkspan.drivers.linux.nft_tables import TableComparison
from linkspan.drivers.ports import DriverError

_NAME: Final = "linkspan"
_PURPOSE: Final = "guard"
_TABLE: Final = f"inet {_NAME}"
_CHAINS: Final = (
    f"add table {_TABLE}",
    *(f"add counter {_TABLE} {counter}" for counter in guard_rules.COUNTERS),
    *(f"add chain {_TABLE} {chain}" + (f" {{ {hook} }}" if hook else "") for chain, hook in guard_rules.CHAINS.items()),
)

PairSets = Mapping[str, frozenset[SelectorPair]]
"""Pairs by the name of their nftables set."""
ChainRules = Mapping[str, list[str]]
"""Rules by their chain."""


class _Applied(msgspec.Struct, frozen=True):
    """What was applied last, in the namespace with this inode; `rules` are empty where unknown."""

    inode: int
    sets: PairSets
    rules: ChainRules


class NftLeakGuard:
    """The `LeakGuard` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, backend: Backend, namespace: Callable[[str], str]) -> None:
        self._backend = backend
        self._namespace = namespace
        self._applied: dict[str, _Applied] = {}
        self._comparison = TableComparison(_NAME, "leak guard")

    def apply(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        name = self._namespace(gateway.id)
        try:
            inode = netns.path(name).stat().st_ino
            wanted = pair_sets(pairs)
            rules = guard_rules.rules(gateway, wanted, self._backend)
            present = self._present(name, inode)
            for text in transactions(rules, present.sets, wanted, present.rules):
                netns.run_inside(name, lambda text=text: nft.apply(text, _PURPOSE))  # type: ignore[misc]
            self._applied[name] = _Applied(inode, wanted, rules)
        except ValueError as error:
            raise DriverError(f"the guard's pairs are invalid: {error}") from error
        except FileNotFoundError as error:
            raise DriverError(f"there is no namespace {name} to guard") from error

    def restore(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> tuple[str, ...]:
        name, wanted = self._namespace(gateway.id), pair_sets(pairs)
        texts = transactions(guard_rules.rules(gateway, wanted, self._backend), {}, wanted)
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

    def _present(self, name: str, inode: int) -> _Applied:
        """Return what was applied last in this namespace, or the sets in the kernel if that is unknown or failed."""
        known = self._applied.pop(name, None)
        return known if known and known.inode == inode else _Applied(inode, netns.run_inside(name, _read), {})

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        name = self._namespace(gateway_id)
        if not netns.exists(name):
            return frozenset()
        return frozenset[SelectorPair]().union(*netns.run_inside(name, _read).values())


def drop_everything() -> None:
    """Seal the interfaces of the calling thread's namespace until the guard is applied."""
    nft.apply(_script([*_CHAINS, *_rules(guard_rules.SEAL)]), _PURPOSE)


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


def transactions(
    rules: ChainRules, present: PairSets, wanted: PairSets, present_rules: ChainRules | None = None
) -> list[str]:
    """Return the nft transactions, one or two, that lead from the present sets to the wanted ones. Pure.

    Chains that have their rules already are left out, as far as anything else changes.
    """
    new = {name: pairs for name, pairs in wanted.items() if name not in present}
    fill = [f"add table {_TABLE}"] if new else []
    for name, pairs in new.items():
        address = f"ipv{name[5]}_addr"
        fill.append(f"add set {_TABLE} {name} {{ type {address} . {address}; flags interval; }}")
        fill.append(nft.element_command("add", _TABLE, name, pairs))
    changed = {chain: lines for chain, lines in rules.items() if lines != (present_rules or {}).get(chain)}
    changed = dict(rules) if present == wanted and not changed else changed
    switch = [*_CHAINS] if len(changed) == len(rules) else []
    for name in sorted(wanted.keys() & present.keys()):
        # Deletes come first: an element that is added while it is still in the set would be deleted with it.
        switch += [nft.element_command("delete", _TABLE, name, gone)] if (gone := present[name] - wanted[name]) else []
        switch += [nft.element_command("add", _TABLE, name, more)] if (more := wanted[name] - present[name]) else []
    switch += _rules(changed)
    switch += [f"delete set {_TABLE} {name}" for name in sorted(present.keys() - wanted.keys())]
    return [_script(lines) for lines in (fill, switch) if lines]


def _rules(by_chain: Mapping[str, Iterable[str]]) -> list[str]:
    return [
        line
        for chain, rules in by_chain.items()
        for line in (f"flush chain {_TABLE} {chain}", *(f"add rule {_TABLE} {chain} {rule}" for rule in rules))
    ]


def _script(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _read() -> dict[str, frozenset[SelectorPair]]:
    """Read the sets of the calling thread's namespace."""
    return {pair_set["name"]: frozenset(nft.pairs_in(pair_set)) for pair_set in nft.list_sets(_NAME)}
