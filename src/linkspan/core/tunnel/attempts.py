"""Attempts to bring a tunnel up: initiating, back-off, and the handling of a dead peer."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

from linkspan.core.diagnosis.codes import NOTHING, Code
from linkspan.core.tunnel import dpd, key_rotation
from linkspan.core.tunnel.actions import Action, DeclarePeerDead, GiveUpSa, Initiate, Reconcile
from linkspan.core.tunnel.dpd import DpdState
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel, children_to_initiate, kept_previous, may_initiate

SETTLE = 0.05
"""Seconds between a cause and the listing of what it left behind: charon logs before it acts."""
ATTEMPT = 15.0
"""Seconds after which an attempt has failed, so that a peer that comes back is reached soon."""
BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between attempts; the last delay repeats for ever."""
BACKOFF_FOR_PART = (*BACKOFF, 60.0, 120.0, 300.0)
"""The same for the missing part of a tunnel that is up, or for a new key while the previous one does: most often it has
to wait until somebody edits the peer."""
ANSWERS = 2.0
"""Seconds without an answer after which an attempt for several pairs is over: charon asks for one after the other."""
FATAL_TO_CHILD: Final[frozenset[Code]] = frozenset(
    {
        *("ESP_PROPOSAL_MISMATCH", "ESP_PROPOSAL_MISMATCH_ENCRYPTION", "ESP_PROPOSAL_MISMATCH_INTEGRITY"),
        *("ESP_PROPOSAL_MISMATCH_PROTOCOL", "PFS_MISMATCH", "SELECTORS_UNACCEPTABLE", "ENCAPSULATION_MODE_MISMATCH"),
    }
)
"""Causes after which charon keeps an IKE SA that will never have a child."""

Step = tuple[Tunnel, tuple[Action, ...]]
_set = msgspec.structs.replace


def initiate_missing(tunnel: Tunnel, now: float) -> Step:
    """Starts an attempt for the children that are not up, if the tunnel may initiate, or joins an IKE SA."""
    assert tunnel.config
    names = children_to_initiate(tunnel)
    if not names or not (may_initiate(tunnel) or tunnel.joining):
        return tunnel, ()
    ike = tunnel.config.name if may_initiate(tunnel) else tunnel.joining
    actions = tuple(Initiate(ike, name) for name in names)
    rotation = key_rotation.own_attempt_begins(tunnel.key_rotation)
    tunnel = _set(tunnel, attempt_ends_at=now + ATTEMPT, retry_at=None, refused_with=None, key_rotation=rotation)
    return tunnel, actions


def in_progress(tunnel: Tunnel, sas: list[IkeSa], now: float) -> bool:
    """True if an attempt has time left and charon is still working on it. An end that may not initiate any more has no
    time for a peer that has not answered."""
    if tunnel.attempt_ends_at is None or now >= tunnel.attempt_ends_at:
        return False
    may_go_on = may_initiate(tunnel) or bool(tunnel.joining) or tunnel.dpd_state.waits_for == "trap"
    if any(sa.state == "CONNECTING" and (sa.answered or may_go_on) for sa in sas):
        return True
    return any(sa.established for sa in sas) and (tunnel.by_pairs or tunnel.refused_with not in FATAL_TO_CHILD)


def back_off(tunnel: Tunnel, now: float) -> Tunnel:
    """Ends the attempt and sets the time of the next one, if the tunnel may initiate."""
    if not may_initiate(tunnel):
        return _set(tunnel, attempt_ends_at=None, retry_at=None)
    delays = BACKOFF_FOR_PART if tunnel.up or _waits_for_key(tunnel) else BACKOFF
    delay = delays[min(tunnel.failures, len(delays) - 1)]
    # Both ends of a tunnel that failed together must not try again together: spread by id, reproducibly.
    key = tunnel.connection.id + tunnel.connection.local_address
    spread = 0.75 + zlib.crc32(key.encode()) % 512 / 1024
    return _set(tunnel, failures=tunnel.failures + 1, attempt_ends_at=None, retry_at=now + delay * spread)


def _waits_for_key(tunnel: Tunnel) -> bool:
    """True while the previous version is up and the peer may not have the new key yet."""
    return key_rotation.is_active(tunnel.key_rotation) and bool(tunnel.previous and tunnel.previous.up)


def peer_dead(tunnel: Tunnel, unique_ids: frozenset[int], now: float) -> Step:
    """Gives up these IKE SAs. If no other one carries the connection, its DPD action decides what follows."""
    state = dpd.mark_dead(tunnel.dpd_state, unique_ids, "")
    if state.last_seen:
        return _set(tunnel, dpd_state=state), give_up(unique_ids)
    connection = tunnel.connection
    waits_for = dpd.wait_mode(connection, tunnel.can_trap)
    others = (DeclarePeerDead(),) if connection.dpd.action == "restart-by-peer" else ()
    unload = (Reconcile(),) if tunnel.previous and tunnel.previous.up else ()
    state = dpd.mark_dead(state, unique_ids, waits_for)
    return down(tunnel, state, dpd.reason(connection, waits_for), now), (*give_up(unique_ids), *others, *unload)


def down(tunnel: Tunnel, state: DpdState, reason: str, now: float) -> Tunnel:
    """The tunnel after its peer was declared dead. If it may initiate, it does so at once."""
    previous = kept_previous(tunnel, frozenset())
    tunnel = _set(
        tunnel,
        dpd_state=state,
        up=frozenset(),
        missing=(),
        previous=previous,
        reason=reason,
        code="DPD_TIMEOUT",
        details=NOTHING,
        failed_attempt=None,
        failures=0,
        attempt_ends_at=None,
    )
    return _set(tunnel, retry_at=now if may_initiate(tunnel) else None)


def give_up(unique_ids: Iterable[int]) -> tuple[Action, ...]:
    """Actions that give up these IKE SAs."""
    return tuple(GiveUpSa(unique_id) for unique_id in sorted(unique_ids))
