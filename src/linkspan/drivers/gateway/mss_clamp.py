"""TCP segments that fit their tunnel: the MSS of every SYN between two sites is lowered to what the pair allows.

Both ways, so that neither end sends what does not fit even where no ICMP reaches it: the size in our host's SYN limits
what the peer's host sends, that in the peer's answer limits ours. A table of its own in the gateway's namespace: the
guard's rules are never part of its transactions. One set for each combination of prefix lengths and size, narrow ones
looked into first, as the rules of `drivers.gateway.mtu_routing` are. The kernel never raises an MSS (nft(8), tcp
option maxseg).

Maps from pairs to sizes would be fewer objects, but nft 1.0.6 cannot read back what it lists of such a rule.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.linux import nft

_NAME: Final = "linkspan-mtu"
_NAMED: Final = "MSS clamp"
_TABLE: Final = f"inet {_NAME}"
_CHAIN: Final = f"{_TABLE} forward"
_IP: Final = {4: "ip", 6: "ip6"}

Sizes = Mapping[SelectorPair, int]
"""The MSS of each pair, bytes."""


def sizes(paths: Iterable[PairMtu]) -> dict[SelectorPair, int]:
    """The MSS of every path. Pure."""
    return {path.pair: path.mss for path in paths}


def apply(present: Sizes, wanted: Sizes) -> None:
    """From the present sizes to the wanted ones, in the namespace of the calling thread. Raises DriverError."""
    text = transaction(present, wanted)
    if text:
        nft.apply(text, _NAMED)


def read() -> dict[SelectorPair, int]:
    """The sizes of the namespace that the calling thread is in."""
    return {pair: _size(one["name"]) for one in nft.sets(_NAME) for pair in nft.pairs(one)}


def transaction(present: Sizes, wanted: Sizes) -> str:
    """What leads from one to the other, as nft reads it; "" for nothing. Pure."""
    if present == wanted:
        return ""
    if not wanted:
        return f"delete table {_TABLE}\n"
    old, new = _sets(present), _sets(wanted)
    lines = [
        f"add table {_TABLE}",
        f"add chain {_CHAIN} {{ type filter hook forward priority mangle; policy accept; }}",
    ]
    for name, pairs in new.items():
        address = f"ipv{name[3]}_addr"
        before = old.get(name, set())
        lines += [] if before else [f"add set {_TABLE} {name} {{ type {address} . {address}; flags interval; }}"]
        lines += [nft.elements("delete", _TABLE, name, gone)] if (gone := before - pairs) else []
        lines += [nft.elements("add", _TABLE, name, come)] if (come := pairs - before) else []
    lines += [f"flush chain {_CHAIN}", *(f"add rule {_CHAIN} {rule}" for rule in _rules(new))]
    lines += [f"delete set {_TABLE} {name}" for name in old if name not in new]
    return "\n".join(lines) + "\n"


def _rules(names: Iterable[str]) -> list[str]:
    # The first rule is for bulk TCP, which is nearly every packet.
    rules = ["tcp flags & (syn | rst) != syn accept", "meta l4proto != tcp accept"]
    for name in names:
        ip = _IP[int(name[3])]
        rules += [
            f"{ip} {ours} . {ip} {theirs} @{name} tcp option maxseg size set {_size(name)} accept"
            for ours, theirs in (("saddr", "daddr"), ("daddr", "saddr"))
        ]
    return rules


def _sets(sizes: Sizes) -> dict[str, set[SelectorPair]]:
    """Pairs by their set, the narrow ones first."""
    found: dict[tuple[int, str], set[SelectorPair]] = {}
    for pair, size in sizes.items():
        local, remote = ipaddress.ip_network(pair.local), ipaddress.ip_network(pair.remote)
        name = f"mss{local.version}_{local.prefixlen}_{remote.prefixlen}_{size}"
        found.setdefault((-local.prefixlen - remote.prefixlen, name), set()).add(pair)
    return {name: found[width, name] for width, name in sorted(found)}


def _size(name: str) -> int:
    return int(name.rpartition("_")[2])
