"""The life of one connection as a machine: pure, and time comes in.

The machine decides when to initiate, when an attempt has failed, what follows when a peer is dead (`core.dpd`), which
of two equal IKE SAs goes, and what is to be reported. It never trusts an event about SAs: an event makes it `Look`, and
what was seen decides. It does not load or unload: `core.plan` says what a gateway's charon holds.

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

from linkspan.core import aging, answering, dpd, duplicates, ike, pfs
from linkspan.core.actions import Abandon, Action, EndSa, GiveUp, Initiate, Look, Settle
from linkspan.core.desired import Connection
from linkspan.core.facts import Alive, Begun, Cause, Expired, Fact, IkeSa, Probed, SaChanged, Unanswered
from linkspan.core.ike import IkeConfig
from linkspan.core.observed import ConnectionReport

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


class Loaded(msgspec.Struct, frozen=True):
    """charon has taken the configuration anew."""


class Adopted(msgspec.Struct, frozen=True):
    """charon had the configuration already, perhaps with SAs that are up: look before doing anything."""


class LoadFailed(msgspec.Struct, frozen=True):
    """charon has refused the configuration, in its own words."""

    text: str


class Unresolved(msgspec.Struct, frozen=True):
    """The peer's name has no address, in one sentence."""

    text: str


class Seen(msgspec.Struct, frozen=True):
    """The IKE SAs with this connection's peer, as listed: other connections may have children in them."""

    sas: tuple[IkeSa, ...]


class Tick(msgspec.Struct, frozen=True):
    """Time has passed: `wake_at` is reached."""


class Abandoned(msgspec.Struct, frozen=True):
    """The peer is dead for another connection, whose DPD action takes along all that have this peer."""


class Deaf(msgspec.Struct, frozen=True):
    """Facts may have been lost, answers of the peer among them."""


Event = Loaded | Adopted | LoadFailed | Unresolved | Seen | Tick | Abandoned | Deaf | Fact


class Previous(msgspec.Struct, frozen=True):
    """The version that is in use while its successor comes up; `up` are its children that carry traffic, if any."""

    config: IkeConfig
    revision: int
    up: frozenset[str]


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connection stands. `error` is set if it cannot come up; `config` is None then, while disabled, and
    while the peer's name has no address.

    `attempt` counts failures in a row. `can_trap`: whether traffic can make charon initiate here.
    """

    connection: Connection
    config: IkeConfig | None
    error: str = ""
    previous: Previous | None = None
    pfs: pfs.Check = pfs.Check()
    applied: bool = False
    up: frozenset[str] = frozenset()
    reason: str = ""
    code: str = ""
    attempt: int = 0
    attempt_until: float | None = None
    retry_at: float | None = None
    look_at: float | None = None
    can_trap: bool = False
    watch: dpd.Watch = dpd.Watch()
    duplicate_since: float | None = None
    overlap_until: float | None = None
    over_at: float | None = None


Step = tuple[Life, tuple[Action, ...]]
_set = msgspec.structs.replace


def born(connection: Connection, config: IkeConfig | None, error: str, can_trap: bool = False) -> Life:
    """A connection of which nothing is known yet. Without a configuration it is applied at once: nothing is loaded."""
    return Life(connection=connection, config=config, error=error, applied=config is None, can_trap=can_trap)


def again(life: Life, connection: Connection) -> Life:
    """The same life under a new revision that changed nothing that charon is told.

    Its user has acted: what is down and may initiate does so at once, whatever it waited for.
    """
    acted = connection.revision != life.connection.revision
    life = _set(life, connection=connection)
    if life.config is None or not acted:
        return life
    life = _set(life, watch=dpd.awake(life.watch))
    if not _may_initiate(life):
        return _set(life, attempt_until=None, retry_at=None)
    return life if life.attempt_until is not None else _set(life, attempt=0, retry_at=0.0)


def edited(old: Life, new: Life) -> Life:
    """A life under a revision that changes what charon is told: while it can, the version that is up goes on.

    Not towards another peer: whoever names another one does not want to talk to the one before. Not with another key:
    charon compares everything but the key, and would put the new version into the IKE SA that the old key made.
    """
    if old.config is None or new.config is None or not answering.same_peer(old.config, new.config):
        return new
    if old.connection.psk_ref != new.connection.psk_ref:
        return new
    running = Previous(old.config, old.connection.revision, old.up) if old.up else old.previous
    if running is None:
        return new
    if running.config == new.config:
        return _set(new, applied=True, up=running.up, watch=dpd.awake(old.watch)) if running.up else new
    if not running.up and not answering.answers(new.config, running.config):
        return new
    return _set(new, previous=running, watch=dpd.awake(old.watch))


def restarted(life: Life) -> Life:
    """The same connection after its charon was started anew and knows nothing; what charon refused stays refused."""
    if life.config is None:
        return life
    fresh = _set(born(life.connection, life.config, "", life.can_trap), previous=_still(life, frozenset()))
    if life.watch.rest:
        return _set(fresh, reason=life.reason, watch=dpd.Watch(rest=life.watch.rest))
    return _set(fresh, reason="the gateway's charon was restarted")


def traps(life: Life) -> frozenset[Initiate]:
    """What charon is to initiate by itself when traffic wants to pass."""
    if life.config is None or life.watch.rest != "trap":
        return frozenset()
    return frozenset(Initiate(life.config.name, child.name) for child in life.config.children)


def wake_at(life: Life) -> float | None:
    """When the next `Tick` is due, None if nothing is."""
    times = [life.attempt_until, life.retry_at, life.look_at, life.overlap_until, life.over_at]
    times += [life.pfs.due, _deadline(life)]
    if life.duplicate_since is not None:
        times.append(life.duplicate_since + DUPLICATE)
    return min((time for time in times if time is not None), default=None)


def report(life: Life, generation: int) -> ConnectionReport | None:
    """What there is to say; None until the revision is applied."""
    if not life.applied:
        return None
    connection = life.connection
    make = ConnectionReport(connection.id, generation, connection.revision, "down")
    if life.previous and life.previous.up:
        return _set(make, state="up", revision=life.previous.revision, reason=_not_yet(life))
    if life.error:
        return _set(make, state="error", reason=life.error)
    if not connection.enabled:
        return _set(make, state="disabled", reason="admin_state_up is false")
    if life.config and life.up:
        missing = len(life.config.children) - len(life.up)
        why = f"{missing} of {len(life.config.children)} child SAs are not up" if missing else ""
        if life.pfs.refused and not why:
            why = pfs.reason(connection.ipsec.pfs)
        return _set(make, state="up", reason=f"{why}: {life.reason}" if why and life.reason else why)
    # While the version before may come back, nothing is said of its successor: an API takes no step back.
    revision = life.previous.revision if life.previous else connection.revision
    return _set(make, revision=revision, reason=life.reason or _waiting(life))


def step(life: Life, event: Event, now: float) -> Step:
    """What an event makes of a life, and what is to be done. `now` in seconds on one monotonic clock."""
    if life.config is None:
        return (_set(life, reason=event.text) if isinstance(event, Unresolved) else life), ()
    match event:
        case Loaded():
            return _try(_set(life, applied=True, look_at=None), now)
        case Adopted():
            return _set(life, applied=True), (Look(),)
        case LoadFailed(text):
            return _set(life, applied=True, error=text, config=None, attempt_until=None, retry_at=None), ()
        case Seen(sas):
            return _seen(_set(life, look_at=None), life.config, sas, now)
        case Cause(code="rekey-failed"):
            # The line before it read as if an attempt had failed; there may have been none.
            words = {} if life.attempt_until is not None else {"reason": "", "code": ""}
            return _set(life, pfs=pfs.failed(life.pfs), **words), ()
        case Cause() if not life.up or len(life.up) < len(life.config.children):
            return _set(life, reason=event.text, code=event.code, look_at=now + SETTLE), ()
        case SaChanged():
            return life, (Look(),)
        case Begun():
            return life, (Look(),) if life.watch.rest else ()
        case Alive(_, number):
            back = number in life.watch.given_up
            return _set(life, watch=dpd.alive(life.watch, number, now)), (Look(),) if back else ()
        case Probed(_, number) | Unanswered(_, number):
            return _set(life, watch=dpd.asked(life.watch, number)), ()
        case Deaf():
            return _set(life, watch=dpd.unheard(life.watch)), ()
        case Expired(_, number) if number in life.watch.signs and _has_dpd(life):
            return _dead(life, frozenset({number}), now)
        case Abandoned() if life.watch.signs or life.watch.rest:
            ends = _give_up(life.watch.signs)
            return _down(life, dpd.buried(life.watch, frozenset(life.watch.signs), ""), dpd.ABANDONED, now), ends
        case Tick():
            return _tick(life, now)
    return life, ()


def _tick(life: Life, now: float) -> Step:
    assert life.config
    if life.retry_at is not None and life.retry_at <= now:
        return _try(_set(life, retry_at=None), now)
    due = wake_at(life)
    if due is not None and due <= now:
        return _set(life, look_at=None), (Look(),)
    return life, ()


def _try(life: Life, now: float) -> Step:
    """Initiate what is missing, if we may."""
    assert life.config
    missing = [child.name for child in life.config.children if child.name not in life.up]
    if not missing or not _may_initiate(life):
        return life, ()
    wanted = tuple(Initiate(life.config.name, child) for child in missing)
    return _set(life, attempt_until=now + ATTEMPT, retry_at=None, code=""), wanted


def _may_initiate(life: Life) -> bool:
    return life.connection.initiator == "bi-directional" and not life.watch.rest


def _seen(life: Life, config: IkeConfig, sas: tuple[IkeSa, ...], now: float) -> Step:
    running = life.previous.config if life.previous else None
    here = answering.told((sa for sa in sas if sa.state not in ("DELETING", "DESTROYING")), config, running)
    lost = life.watch.given_up - {sa.unique_id for sa in here}
    timeout = life.connection.dpd.timeout if _has_dpd(life) else math.inf
    watch, dead = dpd.look(life.watch, here, _children(life), timeout, now)
    life, ends = _set(life, watch=watch), tuple[Action, ...]()
    if dead:
        life, ends = _dead(life, dead, now)
    elif lost and life.retry_at is not None:
        # What could not be made inside an IKE SA that was given up can be made now.
        life = _set(life, retry_at=now)
    over, over_at = aging.look(configs(life), here, now)
    life = _set(life, over_at=over_at, reason=life.reason or (aging.OVER if over else ""))
    gone = watch.given_up | over
    life, actions = _found(life, config, tuple(sa for sa in here if sa.unique_id not in gone), now)
    return life, (*ends, *(EndSa(number) for number in sorted(over)), *actions)


def _found(life: Life, config: IkeConfig, alive: tuple[IkeSa, ...], now: float) -> Step:
    installed = frozenset(name for sa in alive for name in sa.installed)
    life, actions = _judged(life, config, alive, installed, now)
    check, rekeys = pfs.seen(life.pfs, alive, _running(life), now)
    return _set(life, pfs=check), actions + rekeys


def _judged(life: Life, config: IkeConfig, alive: tuple[IkeSa, ...], installed: frozenset[str], now: float) -> Step:
    children = frozenset(child.name for child in config.children)
    up = children & installed
    if up == children:
        return _complete(life, config, alive, up, now)
    before = life
    life = _set(life, up=up, previous=_still(life, installed), duplicate_since=None, overlap_until=None)
    lost = (Settle(),) if before.previous and before.previous.up and not (life.previous and life.previous.up) else ()
    if _running(life):
        life = _set(life, watch=dpd.awake(life.watch))
        if not _running(before):
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
        idle = tuple(EndSa(sa.unique_id) for sa in ours if sa.initiator and not sa.children)
    if _running(before) and not _running(life) and life.attempt_until is life.retry_at is None and not life.reason:
        life = _set(life, reason="the peer ended the tunnel")
    if life.attempt_until is not None or life.retry_at is None:
        life = _again_later(life, now)
    return life, idle + lost


def _in_progress(life: Life, sas: list[IkeSa]) -> bool:
    """Whether charon is still at it: after some causes an IKE SA stays that will never have our child."""
    if any(sa.state == "CONNECTING" for sa in sas):
        return True
    return any(sa.established for sa in sas) and life.code not in FATAL_TO_CHILD


def _again_later(life: Life, now: float) -> Life:
    if not _may_initiate(life):
        return _set(life, attempt_until=None, retry_at=None)
    delay = BACKOFF[min(life.attempt, len(BACKOFF) - 1)]
    # Both ends of a tunnel that failed together must not try again together: spread by id, not by chance.
    spread = 0.75 + zlib.crc32((life.connection.id + life.connection.local_address).encode()) % 512 / 1024
    return _set(life, attempt=life.attempt + 1, attempt_until=None, retry_at=now + delay * spread)


def _complete(life: Life, config: IkeConfig, sas: tuple[IkeSa, ...], up: frozenset[str], now: float) -> Step:
    """Every child is up: forget the trouble, end what is left over."""
    if life.previous and life.previous.up and config.version == 1:
        until = life.overlap_until or now + OVERLAP
        if now < until:
            return _set(life, up=up, overlap_until=until, attempt_until=None), ()
    half_open = duplicates.half_open(sas, config.name)
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
        watch=dpd.awake(life.watch),
    )
    complete = [sa for sa in sas if sa.established and up <= sa.installed]
    twins = duplicates.twins(complete, up)
    if len(complete) < 2 and not twins:
        return _set(life, duplicate_since=None), ended
    since = now if life.duplicate_since is None else life.duplicate_since
    late = now >= since + DUPLICATE
    surplus = duplicates.surplus(complete, up, late) if len(complete) > 1 else twins if late else ()
    return _set(life, duplicate_since=None if surplus else since), ended + surplus


def _running(life: Life) -> frozenset[str]:
    """Every child that carries the connection's traffic, of this version and the one before."""
    return life.up | life.previous.up if life.previous else life.up


def _still(life: Life, installed: frozenset[str]) -> Previous | None:
    """The version before, as long as some of it is up, or a peer that still has it needs something to meet."""
    if life.previous is None or life.config is None:
        return None
    config = life.previous.config
    up = frozenset(child.name for child in config.children) & installed
    return _set(life.previous, up=up) if up or answering.answers(life.config, config) else None


def _replaced(life: Life, sas: tuple[IkeSa, ...]) -> tuple[Action, ...]:
    """The end of every other version, now that this one is up: of its children, and of IKE SAs with no others."""
    assert life.config
    installed = {name for sa in sas for name in sa.installed if ike.subject(name) == life.connection.id}
    children = frozenset(installed - {child.name for child in life.config.children})
    ended = tuple(action for sa in sas if sa.installed & children for action in duplicates.end(sa, children))
    return (*ended, Settle()) if life.previous else ended


def _has_dpd(life: Life) -> bool:
    return life.connection.dpd.action != "disabled"


def configs(life: Life) -> tuple[IkeConfig, ...]:
    """What a connection may have IKE SAs of: its version, and the one before while that is in use."""
    return tuple(config for config in (life.config, life.previous and life.previous.config) if config)


def _children(life: Life) -> frozenset[str]:
    """Every child that can carry the connection's traffic, of this version and the one before."""
    return frozenset(child.name for config in configs(life) for child in config.children)


def _deadline(life: Life) -> float | None:
    return dpd.deadline(life.watch, life.connection.dpd.timeout) if _has_dpd(life) else None


def _dead(life: Life, numbers: frozenset[int], now: float) -> Step:
    """The peer is dead in these IKE SAs; if no other one carries the connection, its DPD action says what follows."""
    watch = dpd.buried(life.watch, numbers, "")
    if watch.signs:
        return _set(life, watch=watch), _give_up(numbers)
    rest = dpd.rest(life.connection, life.can_trap)
    others = (Abandon(),) if life.connection.dpd.action == "restart-by-peer" else ()
    settle = (Settle(),) if life.previous and life.previous.up else ()
    life = _down(life, dpd.buried(watch, numbers, rest), dpd.reason(life.connection, rest), now)
    return life, (*_give_up(numbers), *others, *settle)


def _down(life: Life, watch: dpd.Watch, reason: str, now: float) -> Life:
    previous = _still(life, frozenset())
    life = _set(life, watch=watch, up=frozenset(), previous=previous, reason=reason, attempt=0, attempt_until=None)
    return _set(life, retry_at=now if _may_initiate(life) else None)


def _give_up(numbers: Iterable[int]) -> tuple[Action, ...]:
    return tuple(GiveUp(number) for number in sorted(numbers))


def _not_yet(life: Life) -> str:
    """Why the version before is still in use."""
    old, new = life.previous.revision if life.previous else 0, life.connection.revision
    if life.error:
        return f"revision {new} cannot be used: {life.error}; revision {old} in use"
    if life.reason:
        return f"revision {new} refused by the peer: {life.reason}; revision {old} in use"
    return f"revision {new} waits for the peer; revision {old} in use"


def _waiting(life: Life) -> str:
    if life.attempt_until is not None:
        return f"initiating to {life.connection.peer_address}"
    if life.connection.initiator == "response-only":
        return "waits for the peer to initiate (initiator is response-only)"
    return ""
