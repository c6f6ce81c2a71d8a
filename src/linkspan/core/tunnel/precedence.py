"""Selector pairs whose traffic a less specific tunnel must not take over while their own tunnel is down. Pure."""

from __future__ import annotations

from collections.abc import Container, Set

import msgspec

from linkspan.core.ipsec import overlaps
from linkspan.core.ipsec.selectors import SelectorPair, pairs
from linkspan.core.tunnel import spares
from linkspan.core.tunnel.tunnel import Tunnels


class Precedence(msgspec.Struct, frozen=True):
    """`blocked`: pairs whose tunnel is down, inside a wider pair of another peer. `passing`: pairs that are up and
    overlap a blocked pair that is not more specific."""

    blocked: frozenset[SelectorPair] = frozenset()
    passing: frozenset[SelectorPair] = frozenset()


def precedence(tunnels: Tunnels, nested: Set[SelectorPair], unknown: Container[str]) -> Precedence:
    """What a gateway blocks. `nested`: see `Overlaps`; `unknown`: uuids of tunnels that may be up without being listed
    yet, and count as up."""
    if not nested:
        return Precedence()
    up = {
        pair
        for id, tunnel in tunnels.items()
        for pair in (pairs(tunnel.connection) if id in unknown else spares.carried(tunnel))
    }
    blocked = frozenset(nested - up)
    passing = frozenset(
        pair
        for pair in (up if blocked else ())
        for other in blocked
        if overlaps.specificity(pair) >= overlaps.specificity(other) and overlaps.overlap(pair, other)
    )
    return Precedence(blocked, passing)
