"""IKE SAs as each of the connections that share them sees them: its own children, and one that stands for the others.

A tunnel's decisions need of the others only whether there are any, whether charon rekeys one, and how long ago a packet
of theirs arrived. So a listing for a thousand connections is walked once, and not once for each of them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.tunnel.sas import ChildSa, IkeSa

_set = msgspec.structs.replace


class SaViews:
    """One listing of IKE SAs, divided by the owners of their children."""

    def __init__(self, sas: Iterable[IkeSa]) -> None:
        self._divided = tuple(_DividedSa(sa) for sa in sas)

    def of(self, owner: str) -> tuple[IkeSa, ...]:
        """The IKE SAs as the connection with this uuid sees them."""
        return tuple(divided.of(owner) for divided in self._divided)


class _DividedSa:
    """One IKE SA with its children by owner."""

    def __init__(self, sa: IkeSa) -> None:
        self._sa = sa
        self._own: dict[str, list[ChildSa]] = {}
        for child in sa.children:
            self._own.setdefault(ipsec_config.owner_of(child.name), []).append(child)
        # Two of different owners, so that for each owner there is one of another.
        owners = self._own.items()
        self._rekeying = [owner for owner, own in owners if any(child.state == "REKEYING" for child in own)][:2]
        heard = {
            owner: min((child.idle_in for child in own if child.idle_in >= 0), default=-1) for owner, own in owners
        }
        self._heard = sorted((idle, owner) for owner, idle in heard.items() if idle >= 0)[:2]
        self._some = list(self._own)[:2]

    def of(self, owner: str) -> IkeSa:
        other = next((name for name in self._some if name != owner), None)
        if other is None:
            return self._sa
        stand_in = _set(
            self._own[other][0],
            state="REKEYING" if any(name != owner for name in self._rekeying) else self._own[other][0].state,
            idle_in=next((idle for idle, name in self._heard if name != owner), -1),
        )
        return _set(self._sa, children=(*self._own.get(owner, ()), stand_in))
