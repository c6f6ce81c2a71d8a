"""Spares: of several tunnels to different peers with equally specific selectors exactly one carries the traffic. Pure.

charon sends through the child that was installed last (`core.ipsec.overlaps`, `core.tunnel.install_order`). The others
are up as spares: when that child is deleted, charon sends through the next one at once. Every child that is rekeyed is
the last one for a moment, so the preferred tunnel is then rekeyed too, and also if it is not known which of the two was
the last: what is rekeyed now is installed after what is up now. Which one is preferred follows from the addresses of
both ends, so that two gateways agree and do not rekey in turns.

User-space ESP compares policies, which have the whole lists of networks, before it looks for an SA. A rekey adds one
that is equal, and the first of the equal ones is removed with the old child (`ipsec_policy_mgr.c`). So of children with
other lists the one that came up last carries what both have, and a rekey changes nothing.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Container, Iterable, Iterator

import msgspec

from linkspan.core.ipsec import overlaps
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.actions import Rekey
from linkspan.core.tunnel.install_order import NOWHERE, Installed, Place
from linkspan.core.tunnel.tunnel import Tunnel, configs, running_children

PERIOD = 60.0
"""Seconds in which a tunnel is rekeyed for its spares MOST times at most: with address translation in between, two
gateways may disagree."""
MOST = 4

_set = msgspec.structs.replace


class Carrier(msgspec.Struct, frozen=True):
    """The child that carries a selector pair. `lists`: the local and the peer's networks that it has in all."""

    installed: Installed
    lists: tuple[tuple[str, ...], ...]

    def place(self, other: Carrier, backend: Backend) -> Place:
        """The place that counts beside another child."""
        return self.installed.last if self.can_pass(other, backend) else self.installed.first

    def can_pass(self, other: Carrier, backend: Backend) -> bool:
        """True if a rekey makes this child the last one of the two."""
        return backend == "kernel" or self.lists == other.lists


Carried = dict[SelectorPair, Carrier]
"""The selector pairs of a tunnel that are up, each with the child that was installed last for it."""
_NOWHERE = Installed(NOWHERE, NOWHERE)


def carried(tunnel: Tunnel) -> Carried:
    """Pairs that a tunnel carries, or would carry without its rivals."""
    installed, running = dict(tunnel.installed), running_children(tunnel)
    pairs: Carried = {}
    for config in configs(tunnel):
        for child in config.children if running else ():
            if child.name in running:
                up = {SelectorPair(local, remote) for local in child.local_ts for remote in child.remote_ts}
                carrier = Carrier(installed.get(child.name, _NOWHERE), (child.local_ts, child.remote_ts))
                last = carrier.installed.last
                pairs |= {
                    pair: carrier for pair in up if pair not in pairs or last.is_after(pairs[pair].installed.last)
                }
    return pairs


def is_to_compare(before: Tunnel, tunnel: Tunnel) -> bool:
    """True if a tunnel has to be compared with its rivals: what it carries has changed, or it may be rekeyed again."""
    may_again = before.prefer_at is not None and tunnel.prefer_at is None
    return may_again or carried(before) != carried(tunnel)


def note(tunnel: Tunnel, rivals: Iterable[Tunnel], backend: Backend) -> str:
    """The part of the reason that names the connections whose spare this one is; empty if it carries its traffic."""
    own = carried(tunnel)
    taken, carriers = set[SelectorPair](), list[str]()
    for rival in rivals if own else ():
        lost = _lost(own, carried(rival), backend)
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


def prefer(tunnel: Tunnel, rivals: Iterable[Tunnel], now: float, backend: Backend) -> tuple[Tunnel, tuple[Rekey, ...]]:
    """Rekeys the children of a tunnel whose traffic goes through a tunnel that is to be its spare."""
    if tunnel.previous or tunnel.pfs_check.refused or not _may_rekey(tunnel):
        return tunnel, ()
    others = [(rival, carried(rival)) for rival in rivals]
    numbers = _to_renew(tunnel, others, backend)
    recent = tuple(time for time in tunnel.preferred_at if now - time < PERIOD)
    if numbers <= tunnel.rekeyed:
        return tunnel, ()
    if len(recent) >= MOST:
        return _set(tunnel, prefer_at=recent[-MOST] + PERIOD), ()
    actions = tuple(Rekey(number) for number in sorted(numbers - tunnel.rekeyed))
    outlasted = _seen(pairs for _, pairs in others)
    return _set(tunnel, preferred_at=(*recent, now), rekeyed=numbers, outlasted=outlasted, prefer_at=None), actions


def _seen(rivals: Iterable[Carried]) -> frozenset[int]:
    """The unique ids of the children of rivals that are known to be installed."""
    places = [carrier.installed.last for pairs in rivals for carrier in pairs.values()]
    return frozenset(place.unique_id for place in places if place.seen_at is not None)


def _to_renew(tunnel: Tunnel, rivals: Iterable[tuple[Tunnel, Carried]], backend: Backend) -> frozenset[int]:
    """The unique ids of the children that carry nothing, or may carry nothing, although no better tunnel can carry
    it."""
    own = carried(tunnel)
    lost, others = set[SelectorPair](), set[SelectorPair]()
    for rival, theirs in rivals if own else ():
        both = list(_both(own, theirs))
        lost |= {pair for pair, other in both if _has_to_pass(own[pair], theirs[other], tunnel.outlasted, backend)}
        if _rank(rival) < _rank(tunnel):
            others |= {pair for pair, _ in both}
    places = (own[pair].installed.last for pair in lost - others)
    return frozenset(place.unique_id for place in places if place != NOWHERE)


def _lost(own: Carried, theirs: Carried, backend: Backend) -> set[SelectorPair]:
    """The own pairs whose traffic goes through a newer child of another tunnel."""
    return {pair for pair, other in _both(own, theirs) if _is_after(theirs[other], own[pair], backend)}


def _is_after(one: Carrier, other: Carrier, backend: Backend) -> bool:
    return one.place(other, backend).is_after(other.place(one, backend))


def _has_to_pass(own: Carrier, other: Carrier, outlasted: Container[int], backend: Backend) -> bool:
    """True if the traffic goes through another child, or may because both were installed at the same time, and a rekey
    changes that. `outlasted`: children that were installed before the own one was begun."""
    one, two = own.installed.last, other.installed.last
    is_unknown = two.is_beside(one) and two.unique_id not in outlasted
    return own.can_pass(other, backend) and (is_unknown or _is_after(other, own, backend))


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
