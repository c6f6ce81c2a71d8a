"""Perfect forward secrecy that nobody has tried yet: IKEv2's first child has keys of IKE's own group (RFC 7296 1.2).

So two ends whose `pfs` differ come up, and part hours later when the first key is renewed. charon lists the group of
a child only if its own key exchange had one: a child without one is renewed early, and what the peer says to
that is known at once. Pure; times in seconds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from linkspan.core.tunnel.actions import Rekey
from linkspan.core.tunnel.sas import IkeSa

EARLY = 0.3
"""Seconds after which the initiator of the IKE SA renews a child that is not verified."""
LATE = 3.0
"""Seconds after which the responder does, if the initiator has not."""
AGAIN = 5.0
"""Seconds after which it is asked again: of two renewals that met, both may have come to nothing (RFC 7296 2.25)."""
TRIES = 3


class PendingRekey(msgspec.Struct, frozen=True):
    """Of one child: when it is to be renewed next, and how often charon was asked to."""

    due: float
    asked: int = 0


class PfsCheck(msgspec.Struct, frozen=True):
    """What is known of each child without a key exchange of its own (by unique id); when to look at them again."""

    renewals: Mapping[int, PendingRekey] = {}
    refused: bool = False
    due: float | None = None


def due_rekeys(
    check: PfsCheck, sas: Iterable[IkeSa], names: Container[str], now: float
) -> tuple[PfsCheck, tuple[Rekey, ...]]:
    """The check after a look at the IKE SAs, and what to renew now; `names` are the children that count.

    Each child has a time of its own: of two IKE SAs that met, each end is the responder of one. Two ends that renew one
    child at once may be left with a new one that sends nothing: where the peer's refusal comes before its end of the
    old child, charon 5.9 forgets that the new one has no outbound SA yet.
    """
    unverified = [
        (child, EARLY if sa.initiator else LATE)
        for sa in sas
        for child in sa.children
        if child.name in names and child.state in ("INSTALLED", "REKEYING") and not child.group
    ]
    renewals, waiting, rekeys = dict[int, PendingRekey](), list[float](), list[Rekey]()
    for child, wait in unverified:
        renewal = check.renewals.get(child.unique_id, PendingRekey(now + wait))
        may_ask = child.state == "INSTALLED" and renewal.asked < (1 if check.refused else TRIES)
        if may_ask and renewal.due <= now:
            rekeys.append(Rekey(child.unique_id))
            renewal = PendingRekey(now + AGAIN, renewal.asked + 1)
        if may_ask:
            waiting.append(renewal.due)
        renewals[child.unique_id] = renewal
    refused = check.refused and any(renewal.asked for renewal in renewals.values())
    return PfsCheck(renewals, refused, min(waiting, default=None)), tuple(rekeys)


def failed(check: PfsCheck) -> PfsCheck:
    """charon says that a renewal failed."""
    return msgspec.structs.replace(check, refused=any(renewal.asked for renewal in check.renewals.values()))


def reason(group: str) -> str:
    """What a refusal means, in one sentence."""
    return (
        f"the peer refuses pfs {group} when keys are renewed: the tunnel will end when its key's lifetime does; "
        "compare pfs on both sides"
    )
