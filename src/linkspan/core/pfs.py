"""Perfect forward secrecy that nobody has tried yet: IKEv2's first child has keys of IKE's own group (RFC 7296 1.2).

So two ends whose `pfs` differ come up, and part hours later when the first key is renewed. charon lists the group of
a child only if its own key exchange had one: a child without one is renewed early, once, and what the peer says to
that is known at once. Pure; times in seconds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import msgspec

from linkspan.core.actions import Rekey
from linkspan.core.facts import IkeSa

EARLY = 0.3
"""Seconds after which the initiator of the IKE SA renews a child that is not verified."""
LATE = 3.0
"""Seconds after which the responder does, if the initiator has not."""


class Check(msgspec.Struct, frozen=True):
    """How far it is: when to ask, the children (unique ids) that charon was asked to renew, whether it was refused."""

    due: float | None = None
    asked: frozenset[int] = frozenset()
    refused: bool = False


def seen(check: Check, sas: Iterable[IkeSa], names: Container[str], now: float) -> tuple[Check, tuple[Rekey, ...]]:
    """The check after a look at the IKE SAs, and what to renew now; `names` are the children that count."""
    unverified = {
        child.unique_id: sa.initiator
        for sa in sas
        for child in sa.children
        if child.name in names and child.state == "INSTALLED" and not child.group
    }
    waiting = unverified.keys() - check.asked
    if not waiting:
        return Check(asked=check.asked, refused=check.refused) if unverified else Check(), ()
    if check.due is None:
        wait = EARLY if any(unverified[id] for id in waiting) else LATE
        return msgspec.structs.replace(check, due=now + wait), ()
    if now < check.due:
        return check, ()
    asked = check.asked | waiting
    return Check(asked=asked, refused=check.refused), tuple(Rekey(id) for id in sorted(waiting))


def failed(check: Check) -> Check:
    """charon says that a renewal failed."""
    return msgspec.structs.replace(check, refused=bool(check.asked))


def reason(group: str) -> str:
    """What a refusal means, in one sentence."""
    return (
        f"the peer refuses pfs {group} when keys are renewed: the tunnel will end when its key's lifetime does; "
        "compare pfs on both sides"
    )
