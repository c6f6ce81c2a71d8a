"""Perfect forward secrecy that nobody has tried yet: IKEv2's first child has keys of IKE's own group (RFC 7296 1.2).

So two ends whose `pfs` differ come up, and part hours later when the first key is renewed. charon lists the group of
a child only if its own key exchange had one: a child without one is renewed early, and what the peer says to
that is known at once. Pure; times in seconds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from linkspan.core.actions import Rekey
from linkspan.core.facts import IkeSa

EARLY = 0.3
"""Seconds after which the initiator of the IKE SA renews a child that is not verified."""
LATE = 3.0
"""Seconds after which the responder does, if the initiator has not."""
AGAIN = 5.0
"""Seconds after which it is asked again: of two renewals that met, both may have come to nothing (RFC 7296 2.25)."""
TRIES = 3


class Check(msgspec.Struct, frozen=True):
    """When to ask, how often charon was asked to renew each child (by unique id), and whether the peer refused."""

    due: float | None = None
    asked: Mapping[int, int] = {}
    refused: bool = False


def seen(check: Check, sas: Iterable[IkeSa], names: Container[str], now: float) -> tuple[Check, tuple[Rekey, ...]]:
    """The check after a look at the IKE SAs, and what to renew now; `names` are the children that count."""
    unverified = {
        child.unique_id: (child, sa.initiator)
        for sa in sas
        for child in sa.children
        if child.name in names and child.state in ("INSTALLED", "REKEYING") and not child.group
    }
    asked = {id: check.asked.get(id, 0) for id in unverified}
    limit = 1 if check.refused else TRIES
    waiting = {id for id, (child, _) in unverified.items() if child.state == "INSTALLED" and asked[id] < limit}
    if not waiting:
        return Check(asked=asked, refused=check.refused and bool(asked)), ()
    due = now + min(_wait(asked[id], unverified[id][1]) for id in waiting)
    if check.due is not None:
        due = min(due, check.due)
    if now < due:
        return msgspec.structs.replace(check, asked=asked, due=due), ()
    asked |= {id: asked[id] + 1 for id in waiting}
    return Check(now + AGAIN, asked, check.refused), tuple(Rekey(id) for id in sorted(waiting))


def _wait(asked: int, initiator: bool) -> float:
    return AGAIN if asked else EARLY if initiator else LATE


def failed(check: Check) -> Check:
    """charon says that a renewal failed."""
    return msgspec.structs.replace(check, refused=bool(check.asked))


def reason(group: str) -> str:
    """What a refusal means, in one sentence."""
    return (
        f"the peer refuses pfs {group} when keys are renewed: the tunnel will end when its key's lifetime does; "
        "compare pfs on both sides"
    )
