"""Which of several equal SAs stay: what both ends, each by itself, decide alike. Pure.

Two ends that initiate at once make two IKE SAs, or two children inside one; an end that lost its own makes another.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from linkspan.core.tunnel.actions import Action, DeleteChildSa, DeleteIkeSa
from linkspan.core.tunnel.sas import IkeSa

SIMULTANEOUS = 5
"""Seconds between two IKE SAs that two ends may have initiated at once; a later one was made by who lost the first."""


def redundant_ike_sas(sas: list[IkeSa], children: frozenset[str], late: bool) -> tuple[Action, ...]:
    """Which of several equal IKE SAs we end, or our children in them where they carry others too.

    Of two that the same end initiated, the older one, and so of two that did not meet: whoever initiates again has lost
    it. Of two that met, the one that the higher address initiated: that end does it at once, so that both do not each
    end the other's; `late`, any.
    """
    youngest = min(sa.age for sa in sas)
    met = [sa for sa in sas if sa.age - youngest <= SIMULTANEOUS]
    newest = {
        initiator: max(of, key=lambda sa: sa.unique_id) for initiator in (True, False) if (of := _by(met, initiator))
    }
    lower = _is_lower(sas[0])
    keep = newest[lower] if lower in newest else newest[not lower]
    return tuple(
        action
        for sa in sas
        if sa is not keep and (late or sa is not newest.get(sa.initiator) or (sa.initiator and not lower))
        for action in delete(sa, children)
    )


def stale_attempts(sas: Iterable[IkeSa], name: str) -> tuple[Action, ...]:
    """The end of our own attempts that have no child yet, once another one has succeeded and they have had their time.

    Not at once: the peer may have such an IKE SA up already and end its own for it, and charon tells nobody of an
    attempt that is ended.
    """
    return tuple(
        DeleteIkeSa(sa.unique_id)
        for sa in sas
        if sa.state == "CONNECTING" and sa.initiator and sa.name == name and not sa.children
    )


def delete(sa: IkeSa, children: frozenset[str]) -> tuple[Action, ...]:
    """The end of these children of an IKE SA, and of it too if it has no others."""
    if all(child.name in children for child in sa.children):
        return (DeleteIkeSa(sa.unique_id),)
    return tuple(DeleteChildSa(child.unique_id) for child in sa.children if child.name in children)


def redundant_children(sas: list[IkeSa], children: frozenset[str]) -> tuple[Action, ...]:
    """Children that both ends made at once inside one IKE SA: all but the one with the lowest SPI, at the lower end.

    Both ends see the same two SPIs of a pair, so they agree on which one stays; the lower address ends the others.
    """
    found: list[Action] = []
    for sa in sas:
        for name in children if _is_lower(sa) else ():
            same = sorted(
                (min(child.spi_in, child.spi_out), child.unique_id)
                for child in sa.children
                if child.name == name and child.state == "INSTALLED"
            )
            found += [DeleteChildSa(unique_id) for _, unique_id in same[1:]]
    return tuple(found)


def _is_lower(sa: IkeSa) -> bool:
    return _packed(sa.local_address) < _packed(sa.remote_address)


def _by(sas: list[IkeSa], initiator: bool) -> list[IkeSa]:
    return [sa for sa in sas if sa.initiator == initiator]


def _packed(address: str) -> bytes:
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return address.encode()
