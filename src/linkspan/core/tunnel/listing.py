"""The consequences of a listing of IKE SAs: which children are up, what is redundant, and what to try next."""

from __future__ import annotations

import math

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.tunnel import dpd, duplicate_sas, fallback, ike_replacement, pfs_check, sa_expiry
from linkspan.core.tunnel.actions import Action, DeleteIkeSa, Reconcile
from linkspan.core.tunnel.attempts import ATTEMPT, Step, back_off, in_progress, peer_dead
from linkspan.core.tunnel.sas import IkeSa, newest_children
from linkspan.core.tunnel.tunnel import (
    Previous,
    Tunnel,
    children,
    configs,
    has_dpd,
    kept_previous,
    may_initiate,
    running_children,
    running_configs,
)

DUPLICATE = 10.0
"""Seconds after which this end deletes a redundant IKE SA that the peer was expected to delete."""
OVERLAP = 1.0
"""Seconds for which the previous version stays once its successor is up by IKEv1: a responder installs a child when the
third message of quick mode reaches it, and sends by the previous one until then (RFC 2409 5.5)."""

_set = msgspec.structs.replace


def assess(tunnel: Tunnel, config: IkeConfig, listed: tuple[IkeSa, ...], now: float) -> Step:
    """The tunnel after a listing of the IKE SAs with its peer."""
    previous = tunnel.previous.config if tunnel.previous else None
    alive = (sa for sa in listed if sa.state not in ("DELETING", "DESTROYING"))
    sas = fallback.relabel(alive, config, previous)
    tunnel, given_up, actions = _check_peer(tunnel, sas, now)
    expired, expiry_at = sa_expiry.expired(configs(tunnel), sas, now)
    tunnel = _set(tunnel, expiry_at=expiry_at, reason=tunnel.reason or (sa_expiry.EXPIRED if expired else ""))
    usable = tuple(sa for sa in sas if sa.unique_id not in given_up | expired)
    tunnel = _set(tunnel, newest=newest_children(usable, children(tunnel)))
    tunnel, following = _assess_children(tunnel, config, usable, now)
    check, rekeys = pfs_check.due_rekeys(tunnel.pfs_check, usable, running_children(tunnel), now)
    tunnel = _set(tunnel, pfs_check=check)
    # An end that only waits must not initiate an IKE SA either.
    refused = running_configs(tunnel) if check.refused and may_initiate(tunnel) else {}
    replacements, renewals = ike_replacement.due_replacements(tunnel.replacements, usable, refused, now)
    deletions = (DeleteIkeSa(unique_id) for unique_id in sorted(expired))
    return _set(tunnel, replacements=replacements), (*actions, *deletions, *following, *rekeys, *renewals)


def _check_peer(
    tunnel: Tunnel, sas: tuple[IkeSa, ...], now: float
) -> tuple[Tunnel, frozenset[int], tuple[Action, ...]]:
    """The tunnel after the check of liveness, the IKE SAs that are given up, and the actions for a dead peer."""
    vanished = tunnel.dpd_state.given_up - {sa.unique_id for sa in sas}
    timeout = tunnel.connection.dpd.timeout if has_dpd(tunnel) else math.inf
    state, dead = dpd.check_liveness(tunnel.dpd_state, sas, children(tunnel), timeout, now)
    tunnel, actions = _set(tunnel, dpd_state=state), tuple[Action, ...]()
    if dead:
        tunnel, actions = peer_dead(tunnel, dead, now)
    elif vanished and tunnel.retry_at is not None:
        # A child that could not be created inside an IKE SA that was given up can be created now.
        tunnel = _set(tunnel, retry_at=now)
    return tunnel, state.given_up, actions


def _assess_children(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], now: float) -> Step:
    installed = frozenset(name for sa in sas for name in sa.installed)
    wanted = frozenset(child.name for child in config.children)
    if wanted <= installed:
        return _complete(tunnel, config, sas, wanted, now)
    return _incomplete(tunnel, config, sas, wanted & installed, installed, now)


# --- some children are missing ------------------------------------------------------------------------------------


def _incomplete(
    before: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], up: frozenset[str], installed: frozenset[str], now: float
) -> Step:
    tunnel = _with_running(before, up, installed)
    actions: tuple[Action, ...] = (Reconcile(),) if _carries(before.previous) and not _carries(tunnel.previous) else ()
    own = [sa for sa in sas if sa.name == config.name]
    idle = [sa for sa in own if sa.initiator and not sa.children]
    tunnel = _with_attempt_of_trap(tunnel, idle, now)
    if in_progress(tunnel, own, now) or _is_backing_off(tunnel):
        return tunnel, actions
    tunnel = _with_reason(before, tunnel)
    deletions = tuple(DeleteIkeSa(sa.unique_id) for sa in idle)
    return back_off(tunnel, now), deletions + actions


def _with_running(before: Tunnel, up: frozenset[str], installed: frozenset[str]) -> Tunnel:
    """The tunnel with the children that are installed, of its own version and the previous one."""
    previous = kept_previous(before, installed)
    tunnel = _set(before, up=up, previous=previous, duplicate_until=None, overlap_until=None)
    if not running_children(tunnel):
        return tunnel
    tunnel = _set(tunnel, dpd_state=dpd.resume(tunnel.dpd_state))
    # A peer that comes back with the previous version ends the cause from the time when nothing was up.
    return tunnel if running_children(before) else _set(tunnel, reason="", code="", failed_attempt=None)


def _with_attempt_of_trap(tunnel: Tunnel, idle: list[IkeSa], now: float) -> Tunnel:
    """The tunnel with an attempt, if traffic has made charon initiate."""
    if tunnel.dpd_state.waits_for != "trap" or not idle:
        return tunnel
    return _set(tunnel, attempt_ends_at=tunnel.attempt_ends_at or now + ATTEMPT)


def _is_backing_off(tunnel: Tunnel) -> bool:
    """True between two attempts: then an IKE SA without children is the attempt of another connection to this peer."""
    return tunnel.attempt_ends_at is None and tunnel.retry_at is not None


def _carries(previous: Previous | None) -> bool:
    return previous is not None and bool(previous.up)


def _with_reason(before: Tunnel, tunnel: Tunnel) -> Tunnel:
    """The tunnel with a reason, if it has just gone down without an attempt or a cause."""
    if tunnel.attempt_ends_at is not None or tunnel.reason or running_children(tunnel) or not running_children(before):
        return tunnel
    return _set(tunnel, reason="the peer ended the tunnel")


# --- every child is up --------------------------------------------------------------------------------------------


def _complete(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], up: frozenset[str], now: float) -> Step:
    """Forgets failures, and deletes what is redundant."""
    if tunnel.previous and tunnel.previous.up and config.version == 1:
        until = tunnel.overlap_until or now + OVERLAP
        if now < until:
            return _set(tunnel, up=up, overlap_until=until, attempt_ends_at=None), ()
    actions = _delete_other_versions(tunnel, config, sas)
    stale = duplicate_sas.stale_attempts(sas, config.name)
    attempt_ends_at = (tunnel.attempt_ends_at or now + ATTEMPT) if stale else None
    if attempt_ends_at is not None and attempt_ends_at <= now:
        actions, attempt_ends_at = actions + stale, None
    tunnel = _set(
        tunnel,
        previous=None,
        overlap_until=None,
        applied=True,
        up=up,
        reason="",
        code="",
        failed_attempt=None,
        failures=0,
        attempt_ends_at=attempt_ends_at,
        retry_at=None,
        dpd_state=dpd.resume(tunnel.dpd_state),
    )
    tunnel, deletions = _delete_duplicates(tunnel, sas, now)
    return tunnel, actions + deletions


def _delete_duplicates(tunnel: Tunnel, sas: tuple[IkeSa, ...], now: float) -> Step:
    complete = [sa for sa in sas if sa.established and tunnel.up <= sa.installed]
    twins = duplicate_sas.redundant_children(complete, tunnel.up)
    if len(complete) < 2 and not twins:
        return _set(tunnel, duplicate_until=None), ()
    until = tunnel.duplicate_until or now + DUPLICATE
    late = now >= until
    if len(complete) > 1:
        deletions = duplicate_sas.redundant_ike_sas(complete, tunnel.up, late)
    else:
        deletions = twins if late else ()
    return _set(tunnel, duplicate_until=None if deletions else until), deletions


def _delete_other_versions(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...]) -> tuple[Action, ...]:
    """Deletes the children of every other version, and IKE SAs without other children."""
    owner = tunnel.connection.id
    installed = {name for sa in sas for name in sa.installed if ipsec_config.owner_of(name) == owner}
    others = frozenset(installed - {child.name for child in config.children})
    deletions = tuple(action for sa in sas if sa.installed & others for action in duplicate_sas.delete(sa, others))
    return (*deletions, Reconcile()) if tunnel.previous else deletions
