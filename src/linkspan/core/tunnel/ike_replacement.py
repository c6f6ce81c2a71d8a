"""Replacement of the IKE SA of a peer that refuses pfs, before the key of the child ends.

Such a peer takes a child only as IKE_AUTH creates it, without a key exchange of its own (`core.tunnel.pfs_check`), and
never rekeys it. A new IKE SA gives a new key by a new exchange, which is no less than `pfs` asks for, and charon makes
it before it deletes the old one. The end that initiated the IKE SA acts first. Pure; times in seconds.

The responder sends by a child of IKE_AUTH before its response has arrived (RFC 7296 2.8; only after a rekey it waits):
what it sends until the initiator has the child too is lost, for about half a round trip on an idle machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from linkspan.core.ipsec.config import ChildConfig
from linkspan.core.tunnel.actions import ReplaceIkeSa
from linkspan.core.tunnel.sas import ChildSa, IkeSa

INITIATOR, RESPONDER = 0.2, 0.1
"""The part of a key's lifetime that is left when an end of the IKE SA replaces it."""
AGAIN = 3.0
"""Seconds after which a replacement that has not come about is asked for again."""
BUSY = 0.25
"""Seconds between two looks at an attempt with this peer, which may be the replacement itself, and at a child that
charon tries to rekey: meanwhile charon puts off a replacement for ten seconds."""
USED = 0.75
"""The part of a volume after which it is replaced: charon tries to rekey at 90 % less a random tenth, and says so."""


class Replacements(msgspec.Struct, frozen=True):
    """Requested replacements: when each may be asked for again, by unique id. `due`: the time of the next request."""

    again_at: Mapping[int, float] = {}
    due: float | None = None


def due_replacements(
    before: Replacements, sas: tuple[IkeSa, ...], children: Mapping[str, ChildConfig], now: float
) -> tuple[Replacements, tuple[ReplaceIkeSa, ...]]:
    """The replacements after a listing of the IKE SAs, and those that are due.

    `children`: the configurations by name of the children that the peer will not rekey. Other children in an IKE SA
    move with it. IKE SAs that are being replaced stay listed until charon has deleted them.
    """
    is_busy = any(_is_busy(sa) for sa in sas)
    again_at, times, actions = dict[int, float](), list[float](), list[ReplaceIkeSa]()
    for sa in sas:
        requested = before.again_at.get(sa.unique_id)
        at = max(now + _seconds_left(sa, children), requested or 0.0)
        if requested is not None:
            again_at[sa.unique_id] = requested
        if is_busy:
            at = max(at, now + BUSY)
        elif at <= now:
            actions.append(ReplaceIkeSa(sa.unique_id))
            at = again_at[sa.unique_id] = now + AGAIN
        times.append(at)
    due = min(times, default=math.inf)
    return Replacements(again_at, None if math.isinf(due) else due), tuple(actions)


def _is_busy(sa: IkeSa) -> bool:
    return sa.state == "CONNECTING" or any(child.state == "REKEYING" for child in sa.children)


def _seconds_left(sa: IkeSa, children: Mapping[str, ChildConfig]) -> float:
    """Seconds until this end replaces an IKE SA."""
    if not sa.established:
        return math.inf
    part = INITIATOR if sa.initiator else RESPONDER
    refused = (child for child in sa.children if child.name in children and _is_refused(child))
    return min((_seconds_of(child, children[child.name], part) for child in refused), default=math.inf)


def _is_refused(child: ChildSa) -> bool:
    """True if a child of a peer that refuses pfs was created in IKE_AUTH, so that no rekey will replace it."""
    return child.state in ("INSTALLED", "REKEYING") and not child.group


def _seconds_of(child: ChildSa, config: ChildConfig, part: float) -> float:
    """Seconds until only this part of a key is left; of a volume, the time cannot be foretold."""
    if config.life_bytes and max(child.bytes_in, child.bytes_out) >= config.life_bytes * USED:
        return 0.0
    if not config.life_time or child.life_left < 0:
        return math.inf
    return max(0.0, child.life_left - config.life_time * part)
