"""The life of one connection as a machine: pure, and time comes in.

The machine decides when to initiate, when an attempt has failed, what follows when a peer is dead (`core.tunnel.dpd`),
which of two equal IKE SAs goes, and what is to be reported. It never trusts an event about SAs: an event makes it
`Look`, and what was seen decides. It does not load or unload: `core.tunnel.reconcile` says what a gateway's charon
holds.

States, read from the fields: error or disabled (nothing is loaded); up (`up` is not empty); an attempt runs
(`attempt_until`); waiting to try again (`retry_at`); waiting for the peer or for traffic (neither).

An edit of a connection that is up does not interrupt it: what was up goes on as `previous` until the new version is up,
and only then ends. A peer that refuses the new version keeps the one before.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.tunnel import dpd, duplicate_sas, fallback, pfs_check, sa_expiry
from linkspan.core.tunnel.actions import Action, DeclarePeerDead, DeleteIkeSa, GiveUpSa, Initiate, ListSas, Reconcile
from linkspan.core.tunnel.charon_events import (
    Cause,
    Initiating,
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
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel, configs, kept_previous, may_initiate, running_children

ATTEMPT = 15.0
"""Seconds after which an attempt that came to nothing is given up, so that a peer that appears is met soon."""
BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between attempts; the last one repeats for ever."""
SETTLE = 0.05
"""Seconds between a cause and a look at what it left behind: charon logs first and acts then."""
DUPLICATE = 10.0
"""Seconds after which a second equal IKE SA goes, if the peer, whose turn it was, has not ended it."""
OVERLAP = 1.0
"""Seconds for which the version before stays once its successor is up by IKEv1: a responder installs a child when the
third message of quick mode reaches it, and sends by the one before until then (RFC 2409 5.5)."""
FATAL_TO_CHILD = frozenset({"esp-proposal", "selectors"})
"""Causes after which charon keeps an IKE SA that will never have a child."""
Step = tuple[Tunnel, tuple[Action, ...]]
_set = msgspec.structs.replace


def wake_at(life: Tunnel) -> float | None:
    """When the next `Tick` is due, None if nothing is."""
    times = [life.attempt_until, life.retry_at, life.look_at, life.overlap_until, life.over_at]
    times += [life.pfs_check.due, _deadline(life)]
    if life.duplicate_since is not None:
        times.append(life.duplicate_since + DUPLICATE)
    return min((time for time in times if time is not None), default=None)


def step(life: Tunnel, event: Event, now: float) -> Step:
    """What an event makes of a life, and what is to be done. `now` in seconds on one monotonic clock."""
    if life.config is None:
        return (_set(life, reason=event.text) if isinstance(event, Unresolved) else life), ()
    match event:
        case Loaded():
            return _try(_set(life, applied=True, look_at=None), now)
        case Adopted():
            return _set(life, applied=True), (ListSas(),)
        case LoadFailed(text):
            return _set(life, applied=True, error=text, config=None, attempt_until=None, retry_at=None), ()
        case SasListed(sas):
            return _seen(_set(life, look_at=None), life.config, sas, now)
        case Cause(code="rekey-failed"):
            # The line before it read as if an attempt had failed; there may have been none.
            words = {} if life.attempt_until is not None else {"reason": "", "code": ""}
            return _set(life, pfs_check=pfs_check.failed(life.pfs_check), **words), ()
        case Cause() if not life.up or len(life.up) < len(life.config.children):
            return _set(life, reason=event.text, code=event.code, look_at=now + SETTLE), ()
        case SaChanged():
            return life, (ListSas(),)
        case Initiating():
            return life, (ListSas(),) if life.watch.rest else ()
        case PeerSeen(_, number):
            back = number in life.watch.given_up
            return _set(life, watch=dpd.peer_seen(life.watch, number, now)), (ListSas(),) if back else ()
        case ProbeSent(_, number) | Retransmitted(_, number):
            return _set(life, watch=dpd.probe_sent(life.watch, number)), ()
        case EventsLost():
            return _set(life, watch=dpd.forget_probes(life.watch)), ()
        case PeerTimedOut(_, number) if number in life.watch.signs and _has_dpd(life):
            return _dead(life, frozenset({number}), now)
        case PeerDeclaredDead() if life.watch.signs or life.watch.rest:
            ends = _give_up(life.watch.signs)
            return _down(
                life, dpd.mark_dead(life.watch, frozenset(life.watch.signs), ""), dpd.DEAD_FOR_ANOTHER, now
            ), ends
        case Tick():
            return _tick(life, now)
    return life, ()


def _tick(life: Tunnel, now: float) -> Step:
    assert life.config
    if life.retry_at is not None and life.retry_at <= now:
        return _try(_set(life, retry_at=None), now)
    due = wake_at(life)
    if due is not None and due <= now:
        return _set(life, look_at=None), (ListSas(),)
    return life, ()


def _try(life: Tunnel, now: float) -> Step:
    """Initiate what is missing, if we may."""
    assert life.config
    missing = [child.name for child in life.config.children if child.name not in life.up]
    if not missing or not may_initiate(life):
        return life, ()
    wanted = tuple(Initiate(life.config.name, child) for child in missing)
    return _set(life, attempt_until=now + ATTEMPT, retry_at=None, code=""), wanted


def _seen(life: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], now: float) -> Step:
    running = life.previous.config if life.previous else None
    here = fallback.relabel((sa for sa in sas if sa.state not in ("DELETING", "DESTROYING")), config, running)
    lost = life.watch.given_up - {sa.unique_id for sa in here}
    timeout = life.connection.dpd.timeout if _has_dpd(life) else math.inf
    watch, dead = dpd.check_liveness(life.watch, here, _children(life), timeout, now)
    life, ends = _set(life, watch=watch), tuple[Action, ...]()
    if dead:
        life, ends = _dead(life, dead, now)
    elif lost and life.retry_at is not None:
        # What could not be made inside an IKE SA that was given up can be made now.
        life = _set(life, retry_at=now)
    over, over_at = sa_expiry.expired(configs(life), here, now)
    life = _set(life, over_at=over_at, reason=life.reason or (sa_expiry.EXPIRED if over else ""))
    gone = watch.given_up | over
    life, actions = _found(life, config, tuple(sa for sa in here if sa.unique_id not in gone), now)
    return life, (*ends, *(DeleteIkeSa(number) for number in sorted(over)), *actions)


def _found(life: Tunnel, config: IkeConfig, alive: tuple[IkeSa, ...], now: float) -> Step:
    installed = frozenset(name for sa in alive for name in sa.installed)
    life, actions = _judged(life, config, alive, installed, now)
    check, rekeys = pfs_check.due_rekeys(life.pfs_check, alive, running_children(life), now)
    return _set(life, pfs_check=check), actions + rekeys


def _judged(life: Tunnel, config: IkeConfig, alive: tuple[IkeSa, ...], installed: frozenset[str], now: float) -> Step:
    children = frozenset(child.name for child in config.children)
    up = children & installed
    if up == children:
        return _complete(life, config, alive, up, now)
    before = life
    life = _set(life, up=up, previous=kept_previous(life, installed), duplicate_since=None, overlap_until=None)
    lost = (Reconcile(),) if before.previous and before.previous.up and not (life.previous and life.previous.up) else ()
    if running_children(life):
        life = _set(life, watch=dpd.resume(life.watch))
        if not running_children(before):
            # A peer has come back with the version before: what was said while nothing was up is over.
            life = _set(life, reason="", code="")
    ours = [sa for sa in alive if sa.name == config.name]
    if life.watch.rest == "trap" and any(sa.initiator and not sa.children for sa in ours):
        life = _set(life, attempt_until=life.attempt_until or now + ATTEMPT)
    if life.attempt_until is not None and now < life.attempt_until and _in_progress(life, ours):
        return life, lost
    idle: tuple[Action, ...] = ()
    if life.attempt_until is not None or life.retry_at is None:
        # While we wait to try again, it is the attempt of another connection to this peer.
        idle = tuple(DeleteIkeSa(sa.unique_id) for sa in ours if sa.initiator and not sa.children)
    if (
        running_children(before)
        and not running_children(life)
        and life.attempt_until is life.retry_at is None
        and not life.reason
    ):
        life = _set(life, reason="the peer ended the tunnel")
    if life.attempt_until is not None or life.retry_at is None:
        life = _again_later(life, now)
    return life, idle + lost


def _in_progress(life: Tunnel, sas: list[IkeSa]) -> bool:
    """Whether charon is still at it: after some causes an IKE SA stays that will never have our child."""
    if any(sa.state == "CONNECTING" for sa in sas):
        return True
    return any(sa.established for sa in sas) and life.code not in FATAL_TO_CHILD


def _again_later(life: Tunnel, now: float) -> Tunnel:
    if not may_initiate(life):
        return _set(life, attempt_until=None, retry_at=None)
    delay = BACKOFF[min(life.attempt, len(BACKOFF) - 1)]
    # Both ends of a tunnel that failed together must not try again together: spread by id, not by chance.
    spread = 0.75 + zlib.crc32((life.connection.id + life.connection.local_address).encode()) % 512 / 1024
    return _set(life, attempt=life.attempt + 1, attempt_until=None, retry_at=now + delay * spread)


def _complete(life: Tunnel, config: IkeConfig, sas: tuple[IkeSa, ...], up: frozenset[str], now: float) -> Step:
    """Every child is up: forget the trouble, end what is left over."""
    if life.previous and life.previous.up and config.version == 1:
        until = life.overlap_until or now + OVERLAP
        if now < until:
            return _set(life, up=up, overlap_until=until, attempt_until=None), ()
    half_open = duplicate_sas.stale_attempts(sas, config.name)
    attempt_until = (life.attempt_until or now + ATTEMPT) if half_open else None
    ended = _replaced(life, sas)
    if attempt_until is not None and attempt_until <= now:
        ended, attempt_until = ended + half_open, None
    life = _set(
        life,
        previous=None,
        overlap_until=None,
        applied=True,
        up=up,
        reason="",
        code="",
        attempt=0,
        attempt_until=attempt_until,
        retry_at=None,
        watch=dpd.resume(life.watch),
    )
    complete = [sa for sa in sas if sa.established and up <= sa.installed]
    twins = duplicate_sas.redundant_children(complete, up)
    if len(complete) < 2 and not twins:
        return _set(life, duplicate_since=None), ended
    since = now if life.duplicate_since is None else life.duplicate_since
    late = now >= since + DUPLICATE
    surplus = duplicate_sas.redundant_ike_sas(complete, up, late) if len(complete) > 1 else twins if late else ()
    return _set(life, duplicate_since=None if surplus else since), ended + surplus


def _replaced(life: Tunnel, sas: tuple[IkeSa, ...]) -> tuple[Action, ...]:
    """The end of every other version, now that this one is up: of its children, and of IKE SAs with no others."""
    assert life.config
    installed = {name for sa in sas for name in sa.installed if ipsec_config.owner_of(name) == life.connection.id}
    children = frozenset(installed - {child.name for child in life.config.children})
    ended = tuple(action for sa in sas if sa.installed & children for action in duplicate_sas.delete(sa, children))
    return (*ended, Reconcile()) if life.previous else ended


def _has_dpd(life: Tunnel) -> bool:
    return life.connection.dpd.action != "disabled"


def _children(life: Tunnel) -> frozenset[str]:
    """Every child that can carry the connection's traffic, of this version and the one before."""
    return frozenset(child.name for config in configs(life) for child in config.children)


def _deadline(life: Tunnel) -> float | None:
    return dpd.deadline(life.watch, life.connection.dpd.timeout) if _has_dpd(life) else None


def _dead(life: Tunnel, numbers: frozenset[int], now: float) -> Step:
    """The peer is dead in these IKE SAs; if no other one carries the connection, its DPD action says what follows."""
    watch = dpd.mark_dead(life.watch, numbers, "")
    if watch.signs:
        return _set(life, watch=watch), _give_up(numbers)
    rest = dpd.wait_mode(life.connection, life.can_trap)
    others = (DeclarePeerDead(),) if life.connection.dpd.action == "restart-by-peer" else ()
    settle = (Reconcile(),) if life.previous and life.previous.up else ()
    life = _down(life, dpd.mark_dead(watch, numbers, rest), dpd.reason(life.connection, rest), now)
    return life, (*_give_up(numbers), *others, *settle)


def _down(life: Tunnel, watch: dpd.DpdState, reason: str, now: float) -> Tunnel:
    previous = kept_previous(life, frozenset())
    life = _set(life, watch=watch, up=frozenset(), previous=previous, reason=reason, attempt=0, attempt_until=None)
    return _set(life, retry_at=now if may_initiate(life) else None)


def _give_up(numbers: Iterable[int]) -> tuple[Action, ...]:
    return tuple(GiveUpSa(number) for number in sorted(numbers))
