"""The lifecycle of one connection's tunnel: a state machine. Pure; time is a parameter.

The machine decides when to initiate, when an attempt has failed, what follows when a peer is dead (`core.tunnel.dpd`),
and which of two redundant IKE SAs is deleted. It never trusts an event about SAs: such an event makes it list the SAs,
and the listing decides (`core.tunnel.listing`). It loads and unloads nothing: `core.tunnel.reconcile` says what a
gateway's charon holds. Its phases and transitions are in `core.tunnel.phase`.

An edit does not interrupt a tunnel that is up: the running version goes on as `previous` until the new version is up,
and only then is deleted. If the peer refuses the new version, the previous one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from linkspan.core.tunnel import dpd, peer_refusals, pfs_check
from linkspan.core.tunnel.actions import ListSas
from linkspan.core.tunnel.attempts import (
    ANSWERS,
    FATAL_TO_CHILD,
    SETTLE,
    Step,
    down,
    give_up,
    initiate_missing,
    peer_dead,
)
from linkspan.core.tunnel.charon_events import (
    Cause,
    Initiating,
    PeerRefused,
    PeerSeen,
    PeerTimedOut,
    ProbeSent,
    Retransmitted,
    SaChanged,
)
from linkspan.core.tunnel.events import (
    Adopted,
    Event,
    EventsLost,
    Loaded,
    LoadFailed,
    PeerDeclaredDead,
    SasListed,
    Tick,
    Unresolved,
)
from linkspan.core.tunnel.listing import assess
from linkspan.core.tunnel.phase import TRANSITIONS, phase_of
from linkspan.core.tunnel.tunnel import Tunnel, has_dpd, is_complete, may_initiate

_set = msgspec.structs.replace


def step(tunnel: Tunnel, event: Event, now: float) -> Step:
    """The tunnel after an event, and the actions to carry out. `now` in seconds on one monotonic clock.

    An event that the tunnel's phase does not list in `phase.TRANSITIONS` changes nothing.
    """
    if type(event) not in TRANSITIONS[phase_of(tunnel)]:
        return tunnel, ()
    return _HANDLERS[type(event)](tunnel, event, now)


def wake_at(tunnel: Tunnel) -> float | None:
    """The time of the next `Tick`, None if no timer runs."""
    times = [tunnel.attempt_ends_at, tunnel.retry_at, tunnel.list_at, tunnel.expiry_at, tunnel.pfs_check.due]
    times += [tunnel.duplicate_until, tunnel.overlap_until, tunnel.replacements.due]
    if has_dpd(tunnel):
        times.append(dpd.deadline(tunnel.dpd_state, tunnel.connection.dpd.timeout))
    return min((time for time in times if time is not None), default=None)


# --- answers of the gateway ---------------------------------------------------------------------------------------


def _loaded(tunnel: Tunnel, _event: Loaded, now: float) -> Step:
    tunnel = _set(tunnel, applied=True, list_at=None)
    if tunnel.by_pairs and tunnel.previous and tunnel.previous.up:
        # The children for pairs that both versions have are up already: the listing shows those that are missing.
        return _set(tunnel, retry_at=now if may_initiate(tunnel) else None), (ListSas(),)
    return initiate_missing(tunnel, now)


def _adopted(tunnel: Tunnel, _event: Adopted, _now: float) -> Step:
    return _set(tunnel, applied=True), (ListSas(),)


def _load_failed(tunnel: Tunnel, event: LoadFailed, _now: float) -> Step:
    return _set(tunnel, applied=True, error=event.text, config=None, attempt_ends_at=None, retry_at=None), ()


def _unresolved(tunnel: Tunnel, event: Unresolved, _now: float) -> Step:
    return _set(tunnel, reason=event.text), ()


def _sas_listed(tunnel: Tunnel, event: SasListed, now: float) -> Step:
    assert tunnel.config
    return assess(_set(tunnel, list_at=None), tunnel.config, event.sas, now)


def _tick(tunnel: Tunnel, _event: Tick, now: float) -> Step:
    if tunnel.retry_at is not None and tunnel.retry_at <= now:
        return initiate_missing(_set(tunnel, retry_at=None), now)
    due = wake_at(tunnel)
    if due is not None and due <= now:
        return _set(tunnel, list_at=None), (ListSas(),)
    return tunnel, ()


def _events_lost(tunnel: Tunnel, _event: EventsLost, _now: float) -> Step:
    return _set(tunnel, dpd_state=dpd.forget_probes(tunnel.dpd_state)), ()


# --- events of charon ---------------------------------------------------------------------------------------------


def _cause(tunnel: Tunnel, event: Cause, now: float) -> Step:
    assert tunnel.config
    if event.code == "rekey-failed":
        # The line before it reads like a failed attempt, also when there was none.
        texts = {} if tunnel.attempt_ends_at is not None else {"reason": "", "code": ""}
        # charon's own rekey shows that time or volume of the key are nearly used up (`ike_replacement`).
        return _set(tunnel, pfs_check=pfs_check.failed(tunnel.pfs_check), **texts), (ListSas(),)
    if is_complete(tunnel):
        return tunnel, ()
    if event.at is not None and not may_initiate(tunnel):
        return _refused(tunnel, event.text, event.at, now), ()
    refused = tunnel.by_pairs and event.code in FATAL_TO_CHILD and tunnel.attempt_ends_at is not None
    ends_at = now + ANSWERS if refused else tunnel.attempt_ends_at
    return _set(tunnel, reason=event.text, code=event.code, list_at=now + SETTLE, attempt_ends_at=ends_at), ()


def _peer_refused(tunnel: Tunnel, event: PeerRefused, now: float) -> Step:
    if is_complete(tunnel):
        return tunnel, ()
    return _refused(tunnel, peer_refusals.words(event, tunnel.connection), event.at, now), ()


def _refused(tunnel: Tunnel, text: str, at: float, now: float) -> Tunnel:
    """The tunnel after an attempt of its peer failed. An end that only waits has no newer reason than this one."""
    failed = peer_refusals.newest(tunnel.failed_attempt, text, at)
    tunnel = _set(tunnel, failed_attempt=failed, list_at=now + SETTLE)
    return tunnel if may_initiate(tunnel) else _set(tunnel, reason="", code="")


def _sa_changed(tunnel: Tunnel, event: SaChanged, now: float) -> Step:
    if event.rekeyed and tunnel.up and tunnel.missing and may_initiate(tunnel):
        # A rekeyed child keeps its selectors: what it does not carry has to be asked for again.
        retry_at = now if tunnel.attempt_ends_at is None else tunnel.retry_at
        tunnel = _set(tunnel, failures=0, retry_at=retry_at)
    return tunnel, (ListSas(),)


def _initiating(tunnel: Tunnel, _event: Initiating, _now: float) -> Step:
    return tunnel, (ListSas(),) if tunnel.dpd_state.waits_for else ()


def _peer_seen(tunnel: Tunnel, event: PeerSeen, now: float) -> Step:
    came_back = event.sa in tunnel.dpd_state.given_up
    state = dpd.peer_seen(tunnel.dpd_state, event.sa, now)
    return _set(tunnel, dpd_state=state), (ListSas(),) if came_back else ()


def _probe_sent(tunnel: Tunnel, event: ProbeSent | Retransmitted, _now: float) -> Step:
    return _set(tunnel, dpd_state=dpd.probe_sent(tunnel.dpd_state, event.sa)), ()


def _peer_timed_out(tunnel: Tunnel, event: PeerTimedOut, now: float) -> Step:
    if event.sa not in tunnel.dpd_state.last_seen or not has_dpd(tunnel):
        return tunnel, ()
    return peer_dead(tunnel, frozenset({event.sa}), now)


def _peer_declared_dead(tunnel: Tunnel, _event: PeerDeclaredDead, now: float) -> Step:
    state = tunnel.dpd_state
    if not state.last_seen and not state.waits_for:
        return tunnel, ()
    dead = dpd.mark_dead(state, frozenset(state.last_seen), "")
    return down(tunnel, dead, dpd.DEAD_FOR_ANOTHER, now), give_up(state.last_seen)


_HANDLERS: Final[Mapping[type, Callable[[Tunnel, Any, float], Step]]] = {
    Loaded: _loaded,
    Adopted: _adopted,
    LoadFailed: _load_failed,
    Unresolved: _unresolved,
    SasListed: _sas_listed,
    Tick: _tick,
    EventsLost: _events_lost,
    Cause: _cause,
    PeerRefused: _peer_refused,
    SaChanged: _sa_changed,
    Initiating: _initiating,
    PeerSeen: _peer_seen,
    ProbeSent: _probe_sent,
    Retransmitted: _probe_sent,
    PeerTimedOut: _peer_timed_out,
    PeerDeclaredDead: _peer_declared_dead,
}
