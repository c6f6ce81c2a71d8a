"""MSS clamp: lowers the MSS option of every TCP SYN between two sites to what the pair's MTU allows.

It works in both directions, so that TCP fits the tunnel even where ICMP does not reach a host: the MSS in the local
host's SYN limits what the peer's host sends, the MSS in the SYN-ACK limits the local host. The clamp has its own table
in the gateway's namespace, apart from the leak guard's. There is one set for each combination of prefix lengths and
MSS; more specific ones match first, as in `drivers.gateway.mtu_routing`. The kernel never raises an MSS (nft(8), tcp
option maxseg).

A map from pairs to sizes would need fewer objects, but nft 1.0.6 cannot read back its own listing of such a rule.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.linux import nft
from linkspan.drivers.linux.interface_names import INSIDE

NAME: Final = "linkspan-mtu"
PURPOSE: Final = "MSS clamp"
_TABLE: Final = f"inet {NAME}"
_CHAIN: Final = f"{_TABLE} forward"
_IP: Final = {4: "ip", 6: "ip6"}
_BETWEEN_INSIDE: Final = f'iifname "{INSIDE}*" oifname "{INSIDE}*" accept'
"""Between attached networks no packet is in a tunnel, also where a pair with a wide remote prefix contains both."""

MssByPair = Mapping[SelectorPair, int]
"""The MSS of each pair, bytes."""


def mss_by_pair(mtus: Iterable[PairMtu]) -> dict[SelectorPair, int]:
    """Return the MSS of each pair. Pure."""
    return {mtu.pair: mtu.mss for mtu in mtus}


def apply(present: MssByPair, wanted: MssByPair) -> None:
    """Change the present sizes to the wanted ones in the calling thread's namespace. Raises DriverError."""
    text = transaction(present, wanted)
    if text:
        nft.apply(text, PURPOSE)


def rebuild(wanted: MssByPair) -> None:
    """Make the table of the calling thread's namespace anew. Raises DriverError."""
    nft.apply(f"add table {_TABLE}\ndelete table {_TABLE}\n{transaction({}, wanted)}", PURPOSE)


def read_current() -> dict[SelectorPair, int]:
    """Read the sizes of the calling thread's namespace."""
    return {pair: _size(mss_set["name"]) for mss_set in nft.list_sets(NAME) for pair in nft.pairs_in(mss_set)}


def transaction(present: MssByPair, wanted: MssByPair) -> str:
    """Return the nft transaction that leads from the present sizes to the wanted ones; "" if equal. Pure."""
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
        present_pairs = old.get(name, set())
        lines += [] if present_pairs else [f"add set {_TABLE} {name} {{ type {address} . {address}; flags interval; }}"]
        lines += [nft.element_command("delete", _TABLE, name, gone)] if (gone := present_pairs - pairs) else []
        lines += [nft.element_command("add", _TABLE, name, more)] if (more := pairs - present_pairs) else []
    lines += [f"flush chain {_CHAIN}", *(f"add rule {_CHAIN} {rule}" for rule in _rules(new))]
    lines += [f"delete set {_TABLE} {name}" for name in old if name not in new]
    return "\n".join(lines) + "\n"


def _rules(names: Iterable[str]) -> list[str]:
    # The first rule accepts TCP segments without SYN, which nearly every packet is.
    rules = ["tcp flags & (syn | rst) != syn accept", "meta l4proto != tcp accept", _BETWEEN_INSIDE]
    for name in names:
        ip = _IP[int(name[3])]
        rules += [
            f"{ip} {local} . {ip} {remote} @{name} tcp option maxseg size set {_size(name)} accept"
            for local, remote in (("saddr", "daddr"), ("daddr", "saddr"))
        ]
    return rules


def _sets(sizes: MssByPair) -> dict[str, set[SelectorPair]]:
    """Group pairs by their set, the most specific sets first."""
    grouped: dict[tuple[int, str], set[SelectorPair]] = {}
    for pair, size in sizes.items():
        local, remote = ipaddress.ip_network(pair.local), ipaddress.ip_network(pair.remote)
        name = f"mss{local.version}_{local.prefixlen}_{remote.prefixlen}_{size}"
        grouped.setdefault((-local.prefixlen - remote.prefixlen, name), set()).add(pair)
    return {name: grouped[width, name] for width, name in sorted(grouped)}


def _size(name: str) -> int:
    return int(name.rpartition("_")[2])
