"""Redundant SAs: which of several equal ones are deleted. Both ends decide alike, each by itself. Pure.

Simultaneous initiation leaves two IKE SAs, or two children inside one; an end that has lost its own initiates another.
"""

from __future__ import annotations

import collections
import ipaddress
from collections.abc import Iterable

from linkspan.core.ipsec.config import IkeConfig, is_pair_child
from linkspan.core.tunnel.actions import Action, DeleteChildSa, DeleteIkeSa
from linkspan.core.tunnel.coverage import carrying_children, selector_pairs
from linkspan.core.tunnel.sas import ChildSa, IkeSa

SIMULTANEOUS = 5
"""Seconds between two IKE SAs that may stem from simultaneous initiation; a later one replaces a lost one."""


def redundant_ike_sas(
    sas: list[IkeSa], children: frozenset[str], late: bool, settled: bool = False
) -> tuple[Action, ...]:
    """Deletes the redundant IKE SAs, or these `children` in them where they carry others too.

    Same initiator, or more than SIMULTANEOUS seconds apart: the older one, because its initiator has lost it.
    Simultaneous initiation: the one initiated by the higher address; only the end with the lower one acts, so that the
    two do not delete each other's, and with `late` either. An end keeps its own, because only of that it knows that it
    lives: for INITIAL_CONTACT charon forgets an IKE SA without a delete, and the peer goes on to list it.

    With `settled`, after a takeover, all have lived for a while. Then the end with the lower address keeps the one by
    which it sends, that with the newest child: what it sends until the peer's response would be lost.
    """
    newest = _newest(sas)
    lower = is_lower(sas[0].local_address, sas[0].remote_address)
    keep = newest[True] if True in newest else newest[False]
    if settled and lower:
        keep, late = max(sas, key=lambda sa: max(child.unique_id for child in sa.children)), True
    return tuple(
        action
        for sa in sas
        if sa is not keep and (late or sa is not newest.get(sa.initiator) or lower)
        for action in delete(sa, children)
    )


def has_fresh(sas: Iterable[IkeSa], children: frozenset[str], seconds: float) -> bool:
    """True if the peer has initiated one of these, or one of these children was installed, less than so many seconds
    ago."""
    return any(
        (not sa.initiator and sa.age < seconds)
        or any(child.is_younger_than(seconds) for child in sa.children if child.name in children)
        for sa in sas
    )


def _newest(sas: list[IkeSa]) -> dict[bool, IkeSa]:
    """Of the IKE SAs that may stem from simultaneous initiation, the newest one of each initiator."""
    youngest = min(sa.age for sa in sas)
    simultaneous = [sa for sa in sas if sa.age - youngest <= SIMULTANEOUS]
    return {sa.initiator: sa for sa in sorted(simultaneous, key=lambda sa: sa.unique_id)}


def stale_attempts(sas: Iterable[IkeSa], name: str) -> tuple[Action, ...]:
    """Deletes this end's attempts that have no child, once another attempt has succeeded and they have had their time.

    Not at once: such an IKE SA may be up at the peer, which then deletes its own for it, and charon notifies nobody of
    an attempt that it ends.
    """
    return tuple(
        DeleteIkeSa(sa.unique_id)
        for sa in sas
        if sa.state == "CONNECTING" and sa.initiator and sa.name == name and not sa.children
    )


def is_lower(local: str, remote: str) -> bool:
    """True at the end of a tunnel that has the lower address: of the two it acts first."""
    return _packed(local) < _packed(remote)


def delete(sa: IkeSa, children: frozenset[str]) -> tuple[Action, ...]:
    """Deletes these children of an IKE SA, and the IKE SA itself if it has no others."""
    if all(child.name in children for child in sa.children):
        return (DeleteIkeSa(sa.unique_id),)
    return tuple(DeleteChildSa(child.unique_id) for child in sa.children if child.name in children)


def redundant_children(sas: list[IkeSa], children: frozenset[str]) -> tuple[Action, ...]:
    """Deletes equal children inside one IKE SA, all but the one with the lowest SPI, if this end has the lower address.
    Equal ones have the same selectors: a peer may create one child for each pair of a list.

    Both ends see the same SPIs, so they agree on the child that stays; the end with the lower address acts.
    """
    deletions: list[Action] = []
    for sa in sas:
        equal: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[ChildSa]] = {}
        for child in sa.children if is_lower(sa.local_address, sa.remote_address) else ():
            if child.name in children and child.state == "INSTALLED":
                equal.setdefault(_identity(child), []).append(child)
        for twins in equal.values():
            twins.sort(key=lambda child: (min(child.spi_in, child.spi_out), child.unique_id))
            deletions += [DeleteChildSa(child.unique_id) for child in twins[1:]]
    return tuple(deletions)


def superfluous_children(config: IkeConfig, sas: Iterable[IkeSa]) -> tuple[DeleteChildSa, ...]:
    """Deletes the children for single pairs with selectors that other children have too, the newest first.

    The peer has narrowed a pair as before, or initiates it itself; this end alone initiates these children. A narrower
    child stays beside a wider one: with user-space ESP both may have one route, which is lost with the first of them.
    """
    children = [child for child in carrying_children(config, sas) if child.state == "INSTALLED"]
    carried = collections.Counter(pair for child in children for pair in selector_pairs(child))
    deletions: list[DeleteChildSa] = []
    for child in sorted(children, key=lambda child: -child.unique_id):
        own = selector_pairs(child)
        if config.version == 2 and is_pair_child(child.name) and all(carried[pair] > 1 for pair in own):
            carried.subtract(own)
            deletions.append(DeleteChildSa(child.unique_id))
    return tuple(deletions)


def _identity(child: ChildSa) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What equal children have in common."""
    return child.name, child.local_ts, child.remote_ts


def _packed(address: str) -> bytes:
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return address.encode()
