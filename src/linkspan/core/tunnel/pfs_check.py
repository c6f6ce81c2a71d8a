"""Early verification of perfect forward secrecy.

The first child of an IKEv2 SA has keys of IKE's own group (RFC 7296 1.2), so two ends whose `pfs` differs come up, and
fail hours later at the first rekey. charon lists the group of a child only if its own key exchange had one: a child
without one is rekeyed early, and the peer's answer shows a mismatch at once. Pure; times in seconds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

import msgspec

from linkspan.core.tunnel.actions import Rekey
from linkspan.core.tunnel.sas import ChildSa, IkeSa

EARLY = 0.3
"""Seconds after which the initiator of the IKE SA rekeys an unverified child."""
LATE = 3.0
"""Seconds after which the responder does, if the initiator has not."""
AGAIN = 5.0
"""Seconds after which an unanswered rekey is repeated: two simultaneous rekeys may both fail (RFC 7296 2.25)."""
TRIES = 3


class PendingRekey(msgspec.Struct, frozen=True):
    """The next rekey of one child, how many have been requested, and whether the peer has refused."""

    due: float
    requests: int = 0
    refused: bool = False


class PfsCheck(msgspec.Struct, frozen=True):
    """Pending rekeys by unique id of the child; `due`: time of the next one; `refused`: the peer has refused one.

    A child that replaces a refused one is refused too until its own rekey has shown the contrary.
    """

    pending: Mapping[int, PendingRekey] = {}
    refused: bool = False
    due: float | None = None


def due_rekeys(
    check: PfsCheck, sas: Iterable[IkeSa], children: Container[str], now: float
) -> tuple[PfsCheck, tuple[Rekey, ...]]:
    """The check after a listing of the IKE SAs, and the rekeys that are due. Only these `children` count.

    The ends wait for different times, so that of two simultaneous IKE SAs each end rekeys the child of its own. Two
    ends that rekey one child at once may be left with a new child that sends nothing: where the peer's refusal
    precedes its delete of the old child, charon 5.9 forgets that the new one has no outbound SA yet (child_rekey.c).
    """
    pending, waiting, rekeys = dict[int, PendingRekey](), list[float](), list[Rekey]()
    for child, wait in _unverified(sas, children):
        rekey = check.pending.get(child.unique_id, PendingRekey(now + wait))
        may_rekey = child.state == "INSTALLED" and rekey.requests < (1 if rekey.refused else TRIES)
        if may_rekey and rekey.due <= now:
            rekeys.append(Rekey(child.unique_id))
            rekey = PendingRekey(now + AGAIN, rekey.requests + 1, rekey.refused)
        if may_rekey:
            waiting.append(rekey.due)
        pending[child.unique_id] = rekey
    return PfsCheck(pending, check.refused and bool(pending), min(waiting, default=None)), tuple(rekeys)


def _unverified(sas: Iterable[IkeSa], children: Container[str]) -> Iterator[tuple[ChildSa, float]]:
    """The children without a key exchange of their own, and how long this end waits before it rekeys them."""
    for sa in sas:
        for child in sa.children:
            if child.name in children and child.state in ("INSTALLED", "REKEYING") and not child.group:
                yield child, EARLY if sa.initiator else LATE


def failed(check: PfsCheck) -> PfsCheck:
    """The check after charon has logged that a rekey failed."""
    pending = {
        id: msgspec.structs.replace(rekey, refused=True) if rekey.requests else rekey
        for id, rekey in check.pending.items()
    }
    refused = any(rekey.refused for rekey in pending.values())
    return msgspec.structs.replace(check, pending=pending, refused=refused or (check.refused and bool(pending)))


def reason(group: str, replaces: bool) -> str:
    """The reason of a tunnel whose peer refuses a rekey. `replaces`: this end replaces the IKE SA instead."""
    then = "before its key ends, a new IKE SA replaces it" if replaces else "the tunnel will end with its key"
    return f"the peer refuses pfs {group} at a rekey: {then}; compare pfs on both sides"
