"""The consequences of a listing of IKE SAs: which children are up, what is redundant, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.codes import Code
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, pairs_of
from linkspan.core.tunnel import (
    coverage,
    doubts,
    dpd,
    duplicate_sas,
    fallback,
    ike_replacement,
    key_rotation,
    pfs_check,
    rechecks,
    sa_expiry,
    traffic,
)
from linkspan.core.tunnel.actions import Action, DeleteChildSa, DeleteIkeSa, Reconcile
from linkspan.core.tunnel.attempts import ANSWERS, ATTEMPT, SETTLE, Step, back_off, in_progress, peer_dead
from linkspan.core.tunnel.coverage import MissingPair
from linkspan.core.tunnel.install_order import InstallOrder, installed_children
from linkspan.core.tunnel.key_rotation import KeyRotation
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import (
    Previous,
    Tunnel,
    because,
    children,
    configs,
    has_dpd,
    has_other_key,
    joined_pairs,
    kept_previous,
    may_initiate,
    running_children,
    running_configs,
    split_into_pairs,
    without_cause,
)

DUPLICATE = 10.0
"""Seconds after which this end deletes a redundant IKE SA that the peer was expected to delete."""
FRESH = 2.0
"""Seconds for which a redundant IKE SA or child that the peer has initiated stays: until it has the response, the peer
ignores a delete, and would go on to send by what this end has no more."""
OVERLAP = 1.0
"""Seconds for which the previous version stays once its successor is up by IKEv1: a responder installs a child when the
third message of quick mode reaches it, and sends by the previous one until then (RFC 2409 5.5)."""

DISTRUST = 10.0
"""Seconds that a peer has to show what is admitted now: a certificate of another trust anchor, or another key."""
DISTRUSTED = causes.sentence("CERT_UNTRUSTED_ROOT", "anchor")
OUTDATED = causes.sentence("PSK_MISMATCH", "outdated")

_set = msgspec.structs.replace


def assess(tunnel: Tunnel, config: IkeConfig, listed: tuple[IkeSa, ...], now: float, order: InstallOrder) -> Step:
    """The tunnel after a listing of the IKE SAs with its peer."""
    previous = tunnel.previous.config if tunnel.previous else None
    alive = (sa for sa in listed if sa.state not in ("DELETING", "DESTROYING"))
    sas = fallback.relabel(alive, config, previous)
    tunnel, given_up, actions = _check_peer(tunnel, sas, now)
    expired, expiry_at = sa_expiry.expired(configs(tunnel), sas, now)
    tunnel = _set(tunnel, expiry_at=expiry_at)
    tunnel = _unless_known(tunnel, sa_expiry.EXPIRED, "HARD_EXPIRY") if expired else tunnel
    usable = tuple(sa for sa in sas if sa.unique_id not in given_up | expired)
    tunnel = _set(tunnel, installed=installed_children(tunnel.installed, usable, children(tunnel), order))
    tunnel, following = _assess_children(tunnel, config, usable, now)
    tunnel = _set(tunnel, traffic=traffic.listed(tunnel.traffic, usable, children(tunnel), now))
    tunnel, ended = _without_distrusted(tunnel, config, usable, now)
    tunnel, checks = _recheck(_set(tunnel, without_ppk=_is_without_ppk(tunnel, config, usable)), usable, now)
    tunnel, questions = _ask_doubted(tunnel, (*usable, *(sa for sa in listed if sa.state == "DELETING")), now)
    following += ended + checks + questions
    check, rekeys = pfs_check.due_rekeys(tunnel.pfs_check, usable, running_children(tunnel), now)
    tunnel = _set(tunnel, pfs_check=check)
    # An end that only waits must not initiate an IKE SA either.
    refused = running_configs(tunnel) if check.refused and may_initiate(tunnel) else {}
    replacements, renewals = ike_replacement.due_replacements(tunnel.replacements, usable, refused, now)
    deletions = (DeleteIkeSa(unique_id) for unique_id in sorted(expired))
    return _set(tunnel, replacements=replacements), (*actions, *deletions, *following, *rekeys, *renewals)


def _recheck(tunnel: Tunnel, sas: tuple[IkeSa, ...], now: float) -> Step:
    names = {config.name for config in configs(tunnel) if config.certificates}
    checks, actions = rechecks.advance(tunnel.rechecks, tuple(sa for sa in sas if sa.name in names), now)
    failed = any(isinstance(action, DeleteIkeSa) for action in actions)
    tunnel = _set(tunnel, rechecks=checks)
    return _unless_known(tunnel, rechecks.FAILED, "PEER_REAUTH_FAILED") if failed else tunnel, actions


def _ask_doubted(tunnel: Tunnel, sas: tuple[IkeSa, ...], now: float) -> Step:
    state, actions = doubts.advance(tunnel.doubts, tunnel.dpd_state, sas, running_children(tunnel), now)
    return _set(tunnel, doubts=state), actions


def _unless_known(tunnel: Tunnel, text: str, code: Code) -> Tunnel:
    """The tunnel with this cause, unless it has one."""
    return tunnel if tunnel.reason else because(tunnel, text, code)


def _is_without_ppk(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...]) -> bool:
    if config.ppk is None:
        return False
    own = (sa for sa in sas if sa.name == config.name and sa.established and sa.installed & tunnel.up)
    return any(not sa.ppk for sa in own)


def _without_distrusted(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], now: float) -> Step:
    """Ends the previous version if it admits peers that this one does not, and this one has had its time."""
    if tunnel.previous is None:
        return _set(tunnel, distrusted_at=None), ()
    if not tunnel.applied:
        return tunnel, ()
    if tunnel.distrusted_at is None:
        return _set(tunnel, distrusted_at=distrusted_at(tunnel, config, now)), ()
    if now < tunnel.distrusted_at:
        return tunnel, ()
    is_outdated = has_other_key(tunnel)
    actions = _delete_other_versions(tunnel, config, sas)
    tunnel = _set(tunnel, previous=None, distrusted_at=None, applied=True)
    if tunnel.up:
        return tunnel, actions
    if is_outdated:
        return because(tunnel, OUTDATED, "PSK_MISMATCH"), actions
    return _unless_known(tunnel, DISTRUSTED, "CERT_UNTRUSTED_ROOT"), actions


def distrusted_at(tunnel: Tunnel, config: IkeConfig, now: float) -> float | None:
    """The time at which a previous version ends that admits peers which this one does not."""
    previous = tunnel.previous
    if previous is None:
        return None
    is_outdated = has_other_key(tunnel) and not key_rotation.accepts(tunnel.key_rotation, previous.psk_ref)
    return now + DISTRUST if is_outdated or fallback.distrusts(config, previous.config) else None


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
    if up and not tunnel.up:
        tunnel = _set(tunnel, key_rotation=key_rotation.settled(tunnel.key_rotation))
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
    failed = _failed_attempts(tunnel, idle)
    tunnel = _with_answers(before, tunnel, len(config.children), bool(superfluous), now)
    tunnel, due = _once_known(tunnel, superfluous, sas, now)
    actions += due
    if in_progress(tunnel, own, now):
        return tunnel, actions
    if tunnel.up and not _carries(tunnel.previous):
        tunnel, deletions = _delete_duplicates(tunnel, config, sas, now)
        actions += deletions
    if _is_backing_off(tunnel):
        return tunnel, actions
    tunnel = _with_reason(before, tunnel)
    actions += failed
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
    return tunnel if running_children(before) else _set(without_cause(tunnel), failed_attempt=None)


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

    If the peer refuses the single pairs too, the attempt after that is for the list again. If it may have the other
    pre-shared key, the next attempt is with that.
    """
    tunnel = tunnel if tunnel.attempt_ends_at is None else with_turn_of_key(tunnel)
    if tunnel.key_rotation.is_due:
        return back_off(tunnel, now), (Reconcile(),)
    if config.version == 1 or not may_initiate(tunnel):
        return back_off(tunnel, now), ()
    if tunnel.up and not tunnel.by_pairs:
        tunnel = _set(split_into_pairs(tunnel), failures=0, attempt_ends_at=None, retry_at=now + SETTLE)
        return tunnel, (Reconcile(),)
    if not tunnel.up and tunnel.refused_with == "SELECTORS_UNACCEPTABLE" and len(pairs_of(config)) > 1:
        tunnel = joined_pairs(tunnel) if tunnel.by_pairs else split_into_pairs(tunnel)
        return back_off(tunnel, now), (Reconcile(),)
    return back_off(tunnel, now), ()


def rotated(tunnel: Tunnel, rotation: KeyRotation) -> Step:
    """The tunnel with this state of its key. A new plan loads the other one if its turn has come."""
    has_come = rotation.is_due and not tunnel.key_rotation.is_due
    return _set(tunnel, key_rotation=rotation), (Reconcile(),) if has_come else ()


def with_turn_of_key(tunnel: Tunnel) -> Tunnel:
    """The tunnel after an attempt of its own that has failed, perhaps because the peer has the other key."""
    config = tunnel.config
    rotation = key_rotation.own_attempt_over(
        tunnel.key_rotation,
        in_main_mode=config is not None and config.version == 1 and not config.aggressive,
        code=tunnel.code,
        is_alone=not running_children(tunnel),
    )
    return _set(tunnel, key_rotation=rotation)


def _with_attempt_of_trap(tunnel: Tunnel, idle: list[IkeSa], now: float) -> Tunnel:
    """The tunnel with an attempt, if traffic has made charon initiate."""
    if tunnel.dpd_state.waits_for != "trap" or not idle:
        return tunnel
    return _set(tunnel, attempt_ends_at=tunnel.attempt_ends_at or now + ATTEMPT)


def _failed_attempts(tunnel: Tunnel, idle: list[IkeSa]) -> tuple[Action, ...]:
    """Deletes what the tunnel's own attempt leaves behind. Without one it is the attempt of another connection, and so
    may be what has begun since an attempt failed for want of a key."""
    if tunnel.attempt_ends_at is None:
        return ()
    rotation = tunnel.key_rotation
    ended = (sa.unique_id for sa in idle if not rotation.has_failed or sa.unique_id == rotation.failed)
    return tuple(DeleteIkeSa(unique_id) for unique_id in ended)


def _is_backing_off(tunnel: Tunnel) -> bool:
    """True between two attempts: then an IKE SA without children is the attempt of another connection to this peer."""
    return tunnel.attempt_ends_at is None and tunnel.retry_at is not None


def _carries(previous: Previous | None) -> bool:
    return previous is not None and bool(previous.up)


def _with_reason(before: Tunnel, tunnel: Tunnel) -> Tunnel:
    """The tunnel with a reason, if it has just gone down without an attempt or a cause."""
    if tunnel.attempt_ends_at is not None or tunnel.reason or running_children(tunnel) or not running_children(before):
        return tunnel
    return because(tunnel, causes.sentence("PEER_DELETED"), "PEER_DELETED")


# --- every child is up --------------------------------------------------------------------------------------------


def _complete(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], up: frozenset[str], now: float) -> Step:
    """Forgets failures, and deletes what is redundant."""
    if _overlaps(tunnel, config):
        until = tunnel.overlap_until or now + OVERLAP
        if now < until:
            return _set(tunnel, up=up, missing=(), overlap_until=until, attempt_ends_at=None), ()
    actions = _delete_other_versions(tunnel, config, sas)
    stale = duplicate_sas.stale_attempts(sas, config.name)
    attempt_ends_at = (tunnel.attempt_ends_at or now + ATTEMPT) if stale else None
    if attempt_ends_at is not None and attempt_ends_at <= now:
        actions, attempt_ends_at = actions + stale, None
    tunnel = _set(
        without_cause(tunnel),
        previous=None,
        overlap_until=None,
        applied=True,
        up=up,
        missing=(),
        refused_with=None,
        failed_attempt=None,
        failures=0,
        attempt_ends_at=attempt_ends_at,
        retry_at=None,
        dpd_state=dpd.resume(tunnel.dpd_state),
    )
    tunnel, turn = _with_new_key(tunnel, now)
    tunnel, due = _once_known(tunnel, duplicate_sas.superfluous_children(config, sas), sas, now)
    actions += turn + due
    if tunnel.by_pairs and up == {child.name for child in ipsec_config.whole_children(config)}:
        # The peer takes the whole list again.
        tunnel, actions = joined_pairs(tunnel), (*actions, Reconcile())
    tunnel, deletions = _delete_duplicates(tunnel, config, sas, now)
    return tunnel, actions + deletions


def _with_new_key(tunnel: Tunnel, now: float) -> Step:
    """The tunnel with a time for the new key, while it is up by the previous one, or with its turn."""
    return rotated(tunnel, key_rotation.while_up(tunnel.key_rotation, now, may_initiate=may_initiate(tunnel)))


def _overlaps(tunnel: Tunnel, config: IkeConfig) -> bool:
    """True if the previous version stays for a while: in IKEv1, and where a newer connection has taken pairs, because
    the peer's agent changes the same at about the same time."""
    if tunnel.previous is None or not tunnel.previous.up:
        return False
    return config.version == 1 or tunnel.previous.revision == tunnel.connection.revision


def _delete_duplicates(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], now: float) -> Step:
    settled = tunnel.settles_at is not None
    if tunnel.settles_at is not None and now < tunnel.settles_at:
        return _set(tunnel, duplicate_until=None), ()
    complete = [sa for sa in sas if sa.established and coverage.missing_pairs(config, (sa,)) == tunnel.missing]
    twins = duplicate_sas.redundant_children(complete, tunnel.up)
    if len(complete) < 2 and not twins:
        return _set(tunnel, duplicate_until=None), ()
    until = tunnel.duplicate_until or now + DUPLICATE
    late = now >= until
    if len(complete) > 1:
        if _is_too_fresh(complete, tunnel.up, until - DUPLICATE, now):
            return _set(tunnel, duplicate_until=until, list_at=until - DUPLICATE + FRESH), ()
        deletions = duplicate_sas.redundant_ike_sas(complete, tunnel.up, late, settled)
    else:
        deletions = twins if late else ()
    return _set(tunnel, duplicate_until=None if deletions else until), deletions


def _is_too_fresh(sas: list[IkeSa], children: frozenset[str], since: float, now: float) -> bool:
    """True if the peer may not have one of these yet. `since`: when they were first seen together."""
    return now < since + FRESH and duplicate_sas.has_fresh(sas, children, FRESH)


def _once_known(tunnel: Tunnel, deletions: Iterable[DeleteChildSa], sas: tuple[IkeSa, ...], now: float) -> Step:
    """Of these deletions, those of children that the peer has by now. The others follow after FRESH."""
    fresh = {child.unique_id for sa in sas for child in sa.children if child.is_younger_than(FRESH)}
    due = tuple(deletion for deletion in deletions if deletion.unique_id not in fresh)
    waits = any(deletion.unique_id in fresh for deletion in deletions)
    return _set(tunnel, list_at=now + FRESH) if waits else tunnel, due


def _delete_other_versions(tunnel: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...]) -> tuple[Action, ...]:
    """Deletes the children of every other version, and IKE SAs without other children."""
    owner = tunnel.connection.id
    installed = {name for sa in sas for name in sa.installed if ipsec_config.owner_of(name) == owner}
    others = frozenset(installed - {child.name for child in config.children})
    deletions = tuple(action for sa in sas if sa.installed & others for action in duplicate_sas.delete(sa, others))
    return (*deletions, Reconcile()) if tunnel.previous else deletions
