"""Checks of the peer of a tunnel that is up, after a certificate has expired or a revocation list has changed.

charon checks certificates when an IKE SA is authenticated, and never again: rekeying in IKEv2 goes on without them. So
the IKE SA is authenticated anew. Its successor is made before it is deleted, so a good peer loses nothing. A peer that
is not, or that does not let itself be authenticated, loses the IKE SA. Pure; times in seconds.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import msgspec

from linkspan.core.tunnel.actions import DeleteIkeSa, ReplaceIkeSa
from linkspan.core.tunnel.sas import IkeSa

ANSWERED = 5.0
"""Seconds in which the successor of an IKE SA has to be up."""
BUSY = 0.25
"""Seconds between two looks at a child that is being replaced: meanwhile charon would put off the check by 15 s."""
PATIENCE = 10.0
"""Seconds after which a check does not wait for such a child any more."""
FAILED = "the peer could not be authenticated again after a certificate or a revocation list had changed"


class Rechecks(msgspec.Struct, frozen=True):
    """`is_wanted`: every IKE SA that is up has to be checked. `waiting`: those that are busy, and until when they are
    waited for. `requested`: when each of the others has to be replaced by. By unique id. `due`: the next look."""

    is_wanted: bool = False
    waiting: Mapping[int, float] = {}
    requested: Mapping[int, float] = {}
    due: float | None = None


def want(before: Rechecks, now: float) -> Rechecks:
    """Every IKE SA has to be checked."""
    return msgspec.structs.replace(before, is_wanted=True, due=now)


def advance(
    before: Rechecks, sas: tuple[IkeSa, ...], now: float
) -> tuple[Rechecks, tuple[ReplaceIkeSa | DeleteIkeSa, ...]]:
    """The checks after a listing of the IKE SAs that certificates have authenticated, and what to do.

    An IKE SA that is not established any more has been replaced, or has ended.
    """
    established = {sa.unique_id: sa for sa in sas if sa.established}
    requested = _among(established, before.requested)
    waiting = _among(established, before.waiting)
    if before.is_wanted:
        waiting = dict.fromkeys(established.keys() - requested.keys(), now + PATIENCE) | waiting
    failed = sorted(id for id, until in requested.items() if until <= now)
    ready = sorted(id for id, until in waiting.items() if until <= now or not _is_busy(established[id]))
    waiting = _among(waiting.keys() - {*ready}, waiting)
    requested = _among(requested.keys() - {*failed}, requested) | dict.fromkeys(ready, now + ANSWERED)
    actions: list[ReplaceIkeSa | DeleteIkeSa] = [DeleteIkeSa(id) for id in failed]
    actions += [ReplaceIkeSa(id) for id in ready]
    return Rechecks(False, waiting, requested, _due(waiting, requested, now)), tuple(actions)


def _due(waiting: Mapping[int, float], requested: Mapping[int, float], now: float) -> float | None:
    return min([*requested.values(), *(now + BUSY for _ in waiting)], default=None)


def _among(ids: Container[int], times: Mapping[int, float]) -> dict[int, float]:
    return {id: time for id, time in times.items() if id in ids}


def _is_busy(sa: IkeSa) -> bool:
    return any(child.state != "INSTALLED" for child in sa.children)
