"""Connections of one gateway to different peers whose traffic selectors overlap. Pure.

charon prefers the policy with the most bits in both prefixes together; of policies with equally many, the one that was
installed last. So a more specific pair of selectors wins, and of equal ones exactly one carries the traffic.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from linkspan.core.addresses import Network, as_networks
from linkspan.core.ipsec import ends
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Connection


class Overlaps(msgspec.Struct, frozen=True):
    """`rivals`: by uuid, the enabled connections with an equally specific pair that overlaps one of the connection's.

    `nested`: pairs, of disabled connections too, that overlap a less specific pair of an enabled one.
    """

    rivals: dict[str, frozenset[str]] = {}
    nested: frozenset[SelectorPair] = frozenset()


def find(connections: Iterable[Connection]) -> Overlaps:
    """The overlaps between connections of one gateway that have different ends."""
    rivals: dict[str, set[str]] = {}
    nested: set[SelectorPair] = set()
    entries = list(connections)
    both_ends = [ends.ends_of(connection) for connection in entries]
    local = [as_networks(connection.local_cidrs) for connection in entries]
    moved = [frozenset(connection.superseded) for connection in entries]
    for one, wide, other, narrow in _overlapping(entries):
        if both_ends[one] == both_ends[other]:
            continue
        for left, right in itertools.product(local[one], local[other]):
            if left.version != wide.version or not _overlap(left, right):
                continue
            if (str(left), str(wide)) in moved[one] or (str(right), str(narrow)) in moved[other]:
                continue
            difference = right.prefixlen + narrow.prefixlen - left.prefixlen - wide.prefixlen
            if difference == 0 and entries[one].enabled and entries[other].enabled:
                rivals.setdefault(entries[one].id, set()).add(entries[other].id)
                rivals.setdefault(entries[other].id, set()).add(entries[one].id)
            elif difference > 0 and entries[one].enabled:
                nested.add(SelectorPair(str(right), str(narrow)))
            elif difference < 0 and entries[other].enabled:
                nested.add(SelectorPair(str(left), str(wide)))
    return Overlaps({id: frozenset(others) for id, others in rivals.items()}, frozenset(nested))


def specificity(pair: SelectorPair) -> int:
    """The bits in both prefixes together, by which charon orders policies."""
    return sum(int(network.rpartition("/")[2]) for network in (pair.local, pair.remote))


def overlap(one: SelectorPair, other: SelectorPair) -> bool:
    """True if a packet can match both pairs."""
    sides = ((one.local, other.local), (one.remote, other.remote))
    return all(_overlap(ipaddress.ip_network(left), ipaddress.ip_network(right)) for left, right in sides)


def _overlap(left: Network, right: Network) -> bool:
    return left.version == right.version and left.overlaps(right)


def _overlapping(connections: Sequence[Connection]) -> Iterator[tuple[int, Network, int, Network]]:
    """Overlapping peer networks of two connections, by their positions: the wider network first, then the other.

    Networks are disjoint or nested, so in the order of their addresses those around one are a stack.
    """
    networks = sorted(
        (network.version, int(network.network_address), network.prefixlen, position)
        for position, connection in enumerate(connections)
        for network in set(as_networks(connection.peer_cidrs))
    )
    around: list[tuple[int, int, int, Network]] = []
    for version, start, length, position in networks:
        make = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
        network = make((start, length))
        while around and (around[-1][0] != version or around[-1][1] < start):
            around.pop()
        yield from ((other, wide, position, network) for _, _, other, wide in around if other != position)
        around.append((version, int(network.broadcast_address), position, network))
