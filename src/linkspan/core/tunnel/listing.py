"""The consequences of a listing of IKE SAs: which children are up, what is redundant, and what to try next."""

from __future__ import annotations

import math

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, pairs_of
from linkspan.core.tunnel import coverage, dpd, duplicate_sas, fallback, ike_replacement, pfs_check, sa_expiry
from linkspan.core.tunnel.actions import Action, DeleteIkeSa, Reconcile
from linkspan.core.tunnel.attempts import ANSWERS, ATTEMPT, SETTLE, Step, back_off, in_progress, peer_dead
from linkspan.core.tunnel.coverage import MissingPair
from linkspan.core.tunnel.sas import IkeSa, newest_children
from linkspan.core.tunnel.tunnel import (
    Previous,
    Tunnel,
    children,
    configs,
    has_dpd,
    joined_pairs,
    kept_previous,
    may_initiate,
    running_children,
    running_configs,
    split_into_pairs,
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
    up = frozenset(child.name for child in config.children) & installed
    missing = coverage.missing_pairs(config, sas)
    if not missing:
        return _complete(tunnel, config, sas, up, now)
    after, ended = _without_superseded(_with_running(tunnel, up, missing, installed), config, sas)
    after, following = _incomplete(tunnel, after, config, sas, now)
    return after, (*ended, *following)


# --- some pairs are missing ---------------------------------------------------------------------------------------


def _incomplete(before: Tunnel, tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], now: float) -> Step:
    actions: tuple[Action, ...] = (Reconcile(),) if _carries(before.previous) and not _carries(tunnel.previous) else ()
    own = [sa for sa in sas if sa.name == config.name]
    idle = [sa for sa in own if sa.initiator and not sa.children]
    superfluous = duplicate_sas.superfluous_children(config, sas)
    tunnel = _with_attempt_of_trap(tunnel, idle, now)
    tunnel = _with_answers(before, tunnel, len(config.children), bool(superfluous), now)
    actions += superfluous
    if in_progress(tunnel, own, now):
        return tunnel, actions
    if tunnel.up and not _carries(tunnel.previous):
        tunnel, deletions = _delete_duplicates(tunnel, config, sas, now)
        actions += deletions
    if _is_backing_off(tunnel):
        return tunnel, actions
    tunnel = _with_reason(before, tunnel)
    actions += tuple(DeleteIkeSa(sa.unique_id) for sa in idle)
    tunnel, following = _next_attempt(tunnel, config, now)
    return tunnel, actions + following


def _with_running(
    before: Tunnel, up: frozenset[str], missing: tuple[MissingPair, ...], installed: frozenset[str]
) -> Tunnel:
    """The tunnel with the children that are installed, of its own version and the previous one."""
    previous = kept_previous(before, installed)
    tunnel = _set(before, up=up, missing=missing if up else (), previous=previous, overlap_until=None)
    tunnel = tunnel if up else _set(tunnel, duplicate_until=None)
    if not running_children(tunnel):
        return tunnel
    tunnel = _set(tunnel, dpd_state=dpd.resume(tunnel.dpd_state))
    # A peer that comes back with the previous version ends the cause from the time when nothing was up.
    return tunnel if running_children(before) else _set(tunnel, reason="", code="", failed_attempt=None)


def _without_superseded(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...]) -> Step:
    """Ends the previous version if the peer narrows this one, and the previous one carries nothing beside it."""
    previous = tunnel.previous
    if config.version == 1 or not tunnel.up or previous is None or not previous.up:
        return tunnel, ()
    if coverage.adds_to(config, previous.config, tunnel.missing, sas):
        return tunnel, ()
    tunnel = _set(tunnel, previous=None, applied=True)
    return tunnel, _delete_other_versions(tunnel, config, sas)


def _with_answers(before: Tunnel, tunnel: Tunnel, children: int, answered: bool, now: float) -> Tunnel:
    """The tunnel with the end of its attempt, if the peer has created children. `children`: of the configuration.

    An attempt for all children is over with the last of them. One that asks for the pairs of a list goes on while the
    peer creates more of them.
    """
    if tunnel.attempt_ends_at is None or not tunnel.up:
        return tunnel
    if not tunnel.by_pairs:
        return _set(tunnel, attempt_ends_at=None) if len(tunnel.up) == children else tunnel
    if answered or not before.up or len(tunnel.missing) < len(before.missing):
        return _set(tunnel, attempt_ends_at=now + ANSWERS)
    return tunnel


def _next_attempt(tunnel: Tunnel, config: IkeConfig, now: float) -> Step:
    """Sets the time of the next attempt. It asks for single pairs if the peer has narrowed the list or refused it.

    If the peer refuses the single pairs too, the attempt after that is for the list again.
    """
    if config.version == 1 or not may_initiate(tunnel):
        return back_off(tunnel, now), ()
    if tunnel.up and not tunnel.by_pairs:
        tunnel = _set(split_into_pairs(tunnel), failures=0, attempt_ends_at=None, retry_at=now + SETTLE)
        return tunnel, (Reconcile(),)
    if not tunnel.up and tunnel.code == "selectors" and len(pairs_of(config)) > 1:
        tunnel = joined_pairs(tunnel) if tunnel.by_pairs else split_into_pairs(tunnel)
        return back_off(tunnel, now), (Reconcile(),)
    return back_off(tunnel, now), ()


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
            return _set(tunnel, up=up, missing=(), overlap_until=until, attempt_ends_at=None), ()
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
        missing=(),
        reason="",
        code="",
        failed_attempt=None,
        failures=0,
        attempt_ends_at=attempt_ends_at,
        retry_at=None,
        dpd_state=dpd.resume(tunnel.dpd_state),
    )
    actions += duplicate_sas.superfluous_children(config, sas)
    if tunnel.by_pairs and up == {config.children[0].name}:
        # The peer takes the whole list again.
        tunnel, actions = joined_pairs(tunnel), (*actions, Reconcile())
    tunnel, deletions = _delete_duplicates(tunnel, config, sas, now)
    return tunnel, actions + deletions


def _delete_duplicates(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], now: float) -> Step:
    complete = [sa for sa in sas if sa.established and coverage.missing_pairs(config, (sa,)) == tunnel.missing]
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
