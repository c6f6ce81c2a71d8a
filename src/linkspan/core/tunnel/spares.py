"""Spares: of several tunnels to different peers with equally specific selectors exactly one carries the traffic. Pure.

charon sends through the child that was installed last (`core.ipsec.overlaps`), and its unique id is the highest. The
others are up as spares: when that child is deleted, charon sends through the next one at once. Every child that is
rekeyed is the last one for a moment, so the preferred tunnel is then rekeyed too. Which one is preferred follows from
the addresses of both ends, so that two gateways agree and do not rekey in turns.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator

import msgspec

from linkspan.core.ipsec import overlaps
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.tunnel.actions import Rekey
from linkspan.core.tunnel.tunnel import Tunnel, configs, running_children

PERIOD = 60.0
"""Seconds in which a tunnel is rekeyed for its spares MOST times at most: with address translation in between, two
gateways may disagree."""
MOST = 4

_set = msgspec.structs.replace


def carried(tunnel: Tunnel) -> dict[SelectorPair, int]:
    """The selector pairs of a tunnel that are up, each with the unique id of its newest child."""
    ids, running = dict(tunnel.newest), running_children(tunnel)
    pairs: dict[SelectorPair, int] = {}
    for config in configs(tunnel):
        for child in config.children if running else ():
            if child.name in running:
                up = {SelectorPair(local, remote) for local in child.local_ts for remote in child.remote_ts}
                pairs |= {pair: max(ids.get(child.name, 0), pairs.get(pair, 0)) for pair in up}
    return pairs


def note(tunnel: Tunnel, rivals: Iterable[Tunnel]) -> str:
    """The part of the reason that names the connections whose spare this one is; empty if it carries its traffic."""
    own = carried(tunnel)
    taken, carriers = set[SelectorPair](), list[str]()
    for rival in rivals if own else ():
        lost = _lost(own, carried(rival))
        if lost:
            taken |= lost
            carriers.append(rival.connection.id)
    if not taken:
        return ""
    noun = "connections" if len(carriers) > 1 else "connection"
    spare = f"spare of {noun} {', '.join(sorted(carriers))}"
    if len(taken) < len(own):
        return f"{spare} for {len(taken)} of {len(own)} selector pairs"
    return f"{spare}, which {'carry' if len(carriers) > 1 else 'carries'} the traffic"


def prefer(tunnel: Tunnel, rivals: Iterable[Tunnel], now: float) -> tuple[Tunnel, tuple[Rekey, ...]]:
    """Rekeys the children of a tunnel whose traffic goes through a tunnel that is to be its spare."""
    if tunnel.previous or tunnel.pfs_check.refused or not _may_rekey(tunnel):
        return tunnel, ()
    numbers = _to_renew(tunnel, rivals)
    recent = tuple(time for time in tunnel.preferred_at if now - time < PERIOD)
    if numbers <= tunnel.rekeyed or len(recent) >= MOST:
        return tunnel, ()
    actions = tuple(Rekey(number) for number in sorted(numbers - tunnel.rekeyed))
    return _set(tunnel, preferred_at=(*recent, now), rekeyed=numbers), actions


def _to_renew(tunnel: Tunnel, rivals: Iterable[Tunnel]) -> frozenset[int]:
    """The unique ids of the children that carry nothing although no better tunnel can carry it."""
    own = carried(tunnel)
    lost, others = set[SelectorPair](), set[SelectorPair]()
    for rival in rivals if own else ():
        theirs = carried(rival)
        lost |= _lost(own, theirs)
        if _rank(rival) < _rank(tunnel):
            others |= _contested(own, theirs)
    return frozenset(own[pair] for pair in lost - others if own[pair])


def _lost(own: dict[SelectorPair, int], theirs: dict[SelectorPair, int]) -> set[SelectorPair]:
    """The own pairs whose traffic goes through a newer child of another tunnel."""
    return {pair for pair, other in _both(own, theirs) if theirs[other] > own[pair]}


def _contested(own: dict[SelectorPair, int], theirs: dict[SelectorPair, int]) -> set[SelectorPair]:
    """The own pairs that another tunnel can carry too."""
    return {pair for pair, _ in _both(own, theirs)}


def _both(own: Iterable[SelectorPair], theirs: Iterable[SelectorPair]) -> Iterator[tuple[SelectorPair, SelectorPair]]:
    """Pairs of two tunnels that overlap and are equally specific."""
    for pair, other in itertools.product(own, theirs):
        if overlaps.specificity(pair) == overlaps.specificity(other) and overlaps.overlap(pair, other):
            yield pair, other


def _may_rekey(tunnel: Tunnel) -> bool:
    """IKEv1 rekeys as the initiator, which a response-only end must not be."""
    return tunnel.connection.initiator == "bi-directional" or tunnel.connection.ike.ike_version == "v2"


def _rank(tunnel: Tunnel) -> tuple[list[tuple[int, bytes]], str]:
    """The order of preference, the preferred tunnel first: the same at both ends."""
    connection = tunnel.connection
    return sorted(map(_packed, (connection.local_address, connection.peer_address))), connection.id


def _packed(address: str) -> tuple[int, bytes]:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return 0, address.encode()
    return parsed.version, parsed.packed
