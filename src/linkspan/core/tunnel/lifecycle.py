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

from linkspan.core.tunnel import (
    cause_context,
    doubts,
    dpd,
    flapping,
    key_rotation,
    peer_refusals,
    pfs_check,
    rechecks,
    traffic,
)
from linkspan.core.tunnel.actions import ListSas
from linkspan.core.tunnel.attempts import (
    ANSWERS,
    ATTEMPT,
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
    RekeyFailed,
    Retracted,
    Retransmitted,
    SaChanged,
)
from linkspan.core.tunnel.events import (
    Adopted,
    Event,
    EventsLost,
    KeyLoaded,
    Loaded,
    LoadFailed,
    PeerDeclaredDead,
    PeerDoubted,
    RecheckPeer,
    SasListed,
    Tick,
    Unresolved,
    WatchDue,
)
from linkspan.core.tunnel.listing import assess, distrusted_at, rotated, with_turn_of_key
from linkspan.core.tunnel.phase import TRANSITIONS, phase_of
from linkspan.core.tunnel.traffic import Traffic
from linkspan.core.tunnel.tunnel import (
    Tunnel,
    because,
    has_dpd,
    is_complete,
    may_initiate,
    running_children,
    without_cause,
)

_set = msgspec.structs.replace


def step(tunnel: Tunnel, event: Event, now: float) -> Step:
    """The tunnel after an event, and the actions to carry out. `now` in seconds on one monotonic clock.

    An event that the tunnel's phase does not list in `phase.TRANSITIONS` changes nothing.
    """
    if type(event) not in TRANSITIONS[phase_of(tunnel)]:
        return tunnel, ()
    after, actions = _HANDLERS[type(event)](tunnel, event, now)
    after, following = _followed(tunnel, after, now)
    return after, actions + following


def _followed(before: Tunnel, after: Tunnel, now: float) -> Step:
    """The tunnel with the history of its ups and downs, and the other key, if the loaded one has failed before."""
    was_up, is_up = bool(running_children(before)), bool(running_children(after))
    if was_up and not is_up:
        after = _set(after, downs=flapping.went_down(after.downs, now), traffic=Traffic())
        is_trying = after.attempt_ends_at is not None
        return (after, ()) if is_trying else rotated(after, key_rotation.alone(after.key_rotation))
    return _set(after, traffic=traffic.came_up(now)) if is_up and not was_up else after, ()


def wake_at(tunnel: Tunnel) -> float | None:
    """The time of the next `Tick`, None if no timer runs."""
    if tunnel.config is None:
        return None
    times = [tunnel.attempt_ends_at, tunnel.retry_at, tunnel.list_at, tunnel.expiry_at, tunnel.pfs_check.due]
    times += [tunnel.duplicate_until, tunnel.overlap_until, tunnel.settles_at, tunnel.partial_until]
    times += [tunnel.replacements.due, tunnel.rechecks.due, tunnel.distrusted_at, tunnel.prefer_at]
    times.append(tunnel.key_rotation.new_at)
    if has_dpd(tunnel):
        times.append(tunnel.doubts.due)
        times.append(dpd.deadline(tunnel.dpd_state, tunnel.connection.dpd.timeout))
    return min((time for time in times if time is not None), default=None)


def watch_at(tunnel: Tunnel) -> float | None:
    """The time of the next `WatchDue`, None if there is nothing to watch."""
    if tunnel.config is None:
        return None
    times = (tunnel.traffic.due, flapping.ends_at(tunnel.downs))
    return min((time for time in times if time is not None), default=None)


# --- answers of the gateway ---------------------------------------------------------------------------------------


def _loaded(tunnel: Tunnel, _event: Loaded, now: float) -> Step:
    assert tunnel.config
    ends_at = distrusted_at(tunnel, tunnel.config, now)
    tunnel = _set(tunnel, applied=True, list_at=None, distrusted_at=ends_at)
    if tunnel.by_pairs and tunnel.previous and tunnel.previous.up:
        # The children for pairs that both versions have are up already: the listing shows those that are missing.
        return _set(tunnel, retry_at=now if may_initiate(tunnel) else None), (ListSas(),)
    if tunnel.key_rotation.has_turned and tunnel.retry_at is not None and tunnel.retry_at > now:
        # Both keys have failed.
        return tunnel, ()
    return initiate_missing(tunnel, now)


def _key_loaded(tunnel: Tunnel, _event: KeyLoaded, now: float) -> Step:
    return _set(tunnel, key_rotation=key_rotation.key_loaded(tunnel.key_rotation, now)), ()


def _adopted(tunnel: Tunnel, _event: Adopted, _now: float) -> Step:
    return _set(tunnel, applied=True), (ListSas(),)


def _load_failed(tunnel: Tunnel, event: LoadFailed, _now: float) -> Step:
    return _set(tunnel, applied=True, error=event.text, config=None, attempt_ends_at=None, retry_at=None), ()


def _unresolved(tunnel: Tunnel, event: Unresolved, _now: float) -> Step:
    return because(tunnel, event.text, "PEER_NAME_UNRESOLVED"), ()


def _sas_listed(tunnel: Tunnel, event: SasListed, now: float) -> Step:
    assert tunnel.config

    def is_past(time: float | None) -> bool:
        return time is not None and time <= now

    expired = {name: None for name in ("settles_at", "partial_until", "prefer_at") if is_past(getattr(tunnel, name))}
    after, actions = assess(_set(tunnel, list_at=None), tunnel.config, event.sas, now, event.order)
    after = _set(after, **expired)
    if after.taking_over and after.up and not tunnel.up:
        after = _set(after, partial_until=now + ATTEMPT)
    return after, actions


def _tick(tunnel: Tunnel, _event: Tick, now: float) -> Step:
    if tunnel.retry_at is not None and tunnel.retry_at <= now:
        return initiate_missing(_set(tunnel, retry_at=None), now)
    due = wake_at(tunnel)
    if due is not None and due <= now:
        return _set(tunnel, list_at=None), (ListSas(),)
    return tunnel, ()


def _watch_due(tunnel: Tunnel, _event: WatchDue, now: float) -> Step:
    return _set(tunnel, downs=flapping.recent(tunnel.downs, now)), (ListSas(),) if tunnel.up else ()


def _events_lost(tunnel: Tunnel, _event: EventsLost, _now: float) -> Step:
    return _set(tunnel, dpd_state=dpd.forget_probes(tunnel.dpd_state)), ()


# --- events of charon ---------------------------------------------------------------------------------------------


def _cause(tunnel: Tunnel, event: Cause, now: float) -> Step:
    assert tunnel.config
    if not (tunnel.up and event.code == "SELECTORS_UNACCEPTABLE"):
        # Of a tunnel that is up in part the pairs that are missing are named anyway.
        event = cause_context.in_context(event, tunnel.connection)
    tunnel, actions = _with_refused_key(tunnel, event, now)
    if is_complete(tunnel):
        return tunnel, actions
    if event.at is not None and not may_initiate(tunnel):
        return _refused(tunnel, event, event.at, now), actions
    refused = tunnel.by_pairs and event.code in FATAL_TO_CHILD and tunnel.attempt_ends_at is not None
    ends_at = now + ANSWERS if refused else tunnel.attempt_ends_at
    if tunnel.key_rotation.has_failed and tunnel.attempt_ends_at is not None:
        # In main mode charon would go on sending.
        ends_at = now + SETTLE
    tunnel = because(tunnel, event.text, event.code, event.details)
    return _set(tunnel, refused_with=event.code, list_at=now + SETTLE, attempt_ends_at=ends_at), actions


def _with_refused_key(tunnel: Tunnel, event: Cause | PeerRefused, now: float) -> Step:
    """The tunnel after a failed authentication that another pre-shared key may explain, of this end or of its peer."""
    before = tunnel.key_rotation
    if event.code not in key_rotation.OF_KEYS and not (event.code == "PEER_BROKE_OFF" and _is_aggressive(tunnel)):
        return tunnel, ()
    if event.at is not None:
        return rotated(tunnel, key_rotation.peers_attempt_refused(before, event.attempt, now))
    rotation = key_rotation.own_attempt_refused(before, event.attempt)
    if tunnel.attempt_ends_at is None:
        # The listing after the attempt was faster than charon's log.
        rotation = with_turn_of_key(_set(tunnel, key_rotation=rotation)).key_rotation
    return rotated(tunnel, rotation)


def _is_aggressive(tunnel: Tunnel) -> bool:
    """True if an initiator that finds another key ends its attempt, and the responder does not know why."""
    return tunnel.config is not None and tunnel.config.aggressive


def _rekey_failed(tunnel: Tunnel, _event: RekeyFailed, _now: float) -> Step:
    # The line before it reads like a failed attempt, also when there was none.
    tunnel = tunnel if tunnel.attempt_ends_at is not None else without_cause(tunnel)
    # charon's own rekey shows that time or volume of the key are nearly used up (`ike_replacement`).
    return _set(tunnel, pfs_check=pfs_check.failed(tunnel.pfs_check)), (ListSas(),)


def _retracted(tunnel: Tunnel, event: Retracted, _now: float) -> Step:
    if tunnel.reason == event.text:
        tunnel = without_cause(tunnel)
    if tunnel.failed_attempt and tunnel.failed_attempt.text == event.text:
        tunnel = _set(tunnel, failed_attempt=None)
    return tunnel, ()


def _peer_refused(tunnel: Tunnel, event: PeerRefused, now: float) -> Step:
    tunnel, actions = _with_refused_key(tunnel, event, now)
    if is_complete(tunnel):
        return tunnel, actions
    return _refused(tunnel, cause_context.of_refusal(event, tunnel.connection), event.at, now), actions


def _refused(tunnel: Tunnel, cause: Cause, at: float, now: float) -> Tunnel:
    """The tunnel after an attempt of its peer failed. An end that only waits has no newer reason than this one."""
    failed = peer_refusals.newest(tunnel.failed_attempt, cause, at)
    tunnel = _set(tunnel, failed_attempt=failed, list_at=now + SETTLE)
    return tunnel if may_initiate(tunnel) else without_cause(tunnel)


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


def _probe_sent(tunnel: Tunnel, event: ProbeSent | Retransmitted, now: float) -> Step:
    tunnel = _set(tunnel, dpd_state=dpd.probe_sent(tunnel.dpd_state, event.sa))
    return _set(tunnel, traffic=traffic.probed(tunnel.traffic, now)) if tunnel.up else tunnel, ()


def _peer_timed_out(tunnel: Tunnel, event: PeerTimedOut, now: float) -> Step:
    if event.sa not in tunnel.dpd_state.last_seen or not has_dpd(tunnel):
        return tunnel, ()
    return peer_dead(tunnel, frozenset({event.sa}), now)


def _recheck_peer(tunnel: Tunnel, _event: RecheckPeer, now: float) -> Step:
    return _set(tunnel, rechecks=rechecks.want(tunnel.rechecks, now)), (ListSas(),)


def may_doubt(tunnel: Tunnel) -> bool:
    """True if the tunnel is up and its peer may be asked for more than dead peer detection does (`doubts`)."""
    is_asked = tunnel.config is not None and tunnel.config.version == 2 and has_dpd(tunnel)
    return is_asked and bool(running_children(tunnel)) and may_initiate(tunnel)


def _peer_doubted(tunnel: Tunnel, _event: PeerDoubted, now: float) -> Step:
    return (_set(tunnel, doubts=doubts.signalled(tunnel.doubts, now)) if may_doubt(tunnel) else tunnel), ()


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
    WatchDue: _watch_due,
    EventsLost: _events_lost,
    KeyLoaded: _key_loaded,
    Cause: _cause,
    RekeyFailed: _rekey_failed,
    Retracted: _retracted,
    PeerRefused: _peer_refused,
    SaChanged: _sa_changed,
    Initiating: _initiating,
    PeerSeen: _peer_seen,
    ProbeSent: _probe_sent,
    Retransmitted: _probe_sent,
    PeerTimedOut: _peer_timed_out,
    PeerDeclaredDead: _peer_declared_dead,
    RecheckPeer: _recheck_peer,
    PeerDoubted: _peer_doubted,
}
