"""TCP segments that fit their tunnel: the MSS of every SYN between two sites is lowered to what the pair allows.

Both ways, so that neither end sends what does not fit even where no ICMP reaches it: the size in our host's SYN limits
what the peer's host sends, that in the peer's answer limits ours. A table of its own in the gateway's namespace: the
guard's rules are never part of its transactions. One map for each combination of prefix lengths, narrow ones looked
into first, as the rules of `drivers.paths` are. The kernel never raises an MSS (nft(8), tcp option maxseg).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from linkspan.core.mtu import Path
from linkspan.core.selectors import SelectorPair
from linkspan.drivers import nft

_NAME: Final = "linkspan-mtu"
_NAMED: Final = "MSS clamp"
_TABLE: Final = f"inet {_NAME}"
_CHAIN: Final = f"{_TABLE} forward"
_SIZE: Final = "tcp option maxseg size"
_IP: Final = {4: "ip", 6: "ip6"}

Sizes = Mapping[SelectorPair, int]
"""The MSS of each pair, bytes."""


def sizes(paths: Iterable[Path]) -> dict[SelectorPair, int]:
    """The MSS of every path. Pure."""
    return {path.pair: path.mss for path in paths}


def apply(present: Sizes, wanted: Sizes) -> None:
    """From the present sizes to the wanted ones, in the namespace of the calling thread. Raises DriverError."""
    text = transaction(present, wanted)
    if text:
        nft.apply(text, _NAMED)


def read() -> dict[SelectorPair, int]:
    """The sizes of the namespace that the calling thread is in."""
    found = {}
    for one in nft.listed("map", _NAME):
        lengths = one["name"].split("_")[1:]
        for key, size in one.get("elem", ()):
            found[SelectorPair(*map(nft.network, key["concat"], lengths))] = size
    return found


def transaction(present: Sizes, wanted: Sizes) -> str:
    """What leads from one to the other, as nft reads it; "" for nothing. Pure."""
    if present == wanted:
        return ""
    if not wanted:
        return f"delete table {_TABLE}\n"
    old, new = _maps(present), _maps(wanted)
    lines = [
        f"add table {_TABLE}",
        f"add chain {_CHAIN} {{ type filter hook forward priority mangle; policy accept; }}",
        *(f"add map {_TABLE} {name} {{ {_kind(name)}; flags interval; }}" for name in new if name not in old),
    ]
    # What goes before what comes: the kernel takes a pair for a double, else.
    for name in new:
        gone = {pair: size for pair, size in old.get(name, {}).items() if new[name].get(pair) != size}
        come = {pair: size for pair, size in new[name].items() if old.get(name, {}).get(pair) != size}
        lines += [_elements("delete", name, gone)] if gone else []
        lines += [_elements("add", name, come)] if come else []
    lines += [f"flush chain {_CHAIN}", *(f"add rule {_CHAIN} {rule}" for rule in _rules(new))]
    lines += [f"delete map {_TABLE} {name}" for name in old if name not in new]
    return "\n".join(lines) + "\n"


def _rules(names: Iterable[str]) -> list[str]:
    rules = ["meta l4proto != tcp accept", "tcp flags & (syn | rst) != syn accept"]
    for name in names:
        ip = _IP[int(name[3])]
        rules += [
            f"{_SIZE} set {ip} {ours} . {ip} {theirs} map @{name} accept"
            for ours, theirs in (("saddr", "daddr"), ("daddr", "saddr"))
        ]
    return rules


def _maps(sizes: Sizes) -> dict[str, dict[SelectorPair, int]]:
    """Sizes by their map, the narrow ones first."""
    found: dict[tuple[int, str], dict[SelectorPair, int]] = {}
    for pair, size in sizes.items():
        local, remote = ipaddress.ip_network(pair.local), ipaddress.ip_network(pair.remote)
        name = f"mss{local.version}_{local.prefixlen}_{remote.prefixlen}"
        found.setdefault((-local.prefixlen - remote.prefixlen, name), {})[pair] = size
    return {name: found[width, name] for width, name in sorted(found)}


def _kind(name: str) -> str:
    ip = _IP[int(name[3])]
    return f"typeof {ip} saddr . {ip} daddr : {_SIZE}"


def _elements(verb: str, name: str, sizes: Sizes) -> str:
    elements = ", ".join(f"{pair.local} . {pair.remote} : {sizes[pair]}" for pair in sorted(sizes))
    return f"{verb} element {_TABLE} {name} {{ {elements} }}"
