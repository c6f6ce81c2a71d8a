"""The life of one connection as a machine: pure, and time comes in.

The machine decides when to initiate, when an attempt has failed, when a peer is dead and what follows from that, which
of two equal IKE SAs goes, and what is to be reported. It never trusts an event about SAs: an event makes it `Look`, and
what was seen decides. It does not load or unload: `core.plan` says what a gateway's charon holds.

States, read from the fields: error or disabled (nothing is loaded); up (`up` is not empty); an attempt runs
(`attempt_until`); waiting to try again (`retry_at`); waiting for the peer (neither).

An edit of a connection that is up does not interrupt it: what was up goes on as `previous` until the new version is up,
and only then ends. A peer that refuses the new version keeps the one before.
"""

from __future__ import annotations

import zlib

import msgspec

from linkspan.core import answering, duplicates, ike, pfs
from linkspan.core.actions import Action, EndSa, Initiate, Look, Settle
from linkspan.core.desired import Connection
from linkspan.core.facts import Alive, Cause, Fact, IkeSa, SaChanged, Unanswered
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
FATAL_TO_CHILD = frozenset({"esp-proposal", "selectors"})
"""Causes after which charon keeps an IKE SA that will never have a child."""


class Loaded(msgspec.Struct, frozen=True):
    """charon has taken the configuration anew."""


class Adopted(msgspec.Struct, frozen=True):
    """charon had the configuration already, perhaps with SAs that are up: look before doing anything."""


class LoadFailed(msgspec.Struct, frozen=True):
    """charon has refused the configuration, in its own words."""

    text: str


class Seen(msgspec.Struct, frozen=True):
    """The IKE SAs with this connection's peer, as listed: other connections may have children in them."""

    sas: tuple[IkeSa, ...]


class Tick(msgspec.Struct, frozen=True):
    """Time has passed: `wake_at` is reached."""


Event = Loaded | Adopted | LoadFailed | Seen | Tick | Fact


class Previous(msgspec.Struct, frozen=True):
    """The version that is in use while its successor comes up; `up` are its children that carry traffic, if any."""

    config: IkeConfig
    revision: int
    up: frozenset[str]


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connection stands. `error` is set if it cannot come up; `config` is None then and while disabled.

    `attempt` counts failures in a row. `alive_at` is the last authenticated sign of the peer, `silent` whether a
    request is unanswered since, `dead` whether it was given up and its DPD action says to wait.
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
    alive_at: float = 0.0
    silent: bool = False
    dead: bool = False
    duplicate_since: float | None = None


Step = tuple[Life, tuple[Action, ...]]
_set = msgspec.structs.replace


def born(connection: Connection, config: IkeConfig | None, error: str) -> Life:
    """A connection of which nothing is known yet. Without a configuration it is applied at once: nothing is loaded."""
    return Life(connection=connection, config=config, error=error, applied=config is None)


def again(life: Life, connection: Connection) -> Life:
    """The same life under a new revision that changed nothing that charon is told."""
    return _set(life, connection=connection)


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
        return _set(new, applied=True, up=running.up, alive_at=old.alive_at) if running.up else new
    if not running.up and not answering.answers(new.config, running.config):
        return new
    return _set(new, previous=running, alive_at=old.alive_at, silent=old.silent)


def restarted(life: Life) -> Life:
    """The same connection after its charon was started anew and knows nothing; what charon refused stays refused."""
    if life.config is None:
        return life
    anew = _set(born(life.connection, life.config, ""), reason="the gateway's charon was restarted")
    return _set(anew, previous=_still(life, frozenset()))


def wake_at(life: Life) -> float | None:
    """When the next `Tick` is due, None if nothing is."""
    times = [life.attempt_until, life.retry_at, life.look_at, life.pfs.due, _deadline(life)]
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
    if life.config is None:
        return _set(make, state="disabled", reason="admin_state_up is false")
    if life.up:
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
        return life, ()
    match event:
        case Loaded():
            return _try(_set(life, applied=True, alive_at=max(life.alive_at, now), look_at=None), now)
        case Adopted():
            return _set(life, applied=True, alive_at=now), (Look(),)
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
        case Alive():
            return _set(life, alive_at=now, silent=False), ()
        case Unanswered():
            return (_set(life, silent=True) if _running(life) and life.config.dpd_delay else life), ()
        case SaChanged():
            return life, (Look(),)
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
    return life.connection.initiator == "bi-directional" and not life.dead


def _seen(life: Life, config: IkeConfig, sas: tuple[IkeSa, ...], now: float) -> Step:
    running = life.previous.config if life.previous else None
    alive = answering.told((sa for sa in sas if sa.state not in ("DELETING", "DESTROYING")), config, running)
    installed = frozenset(name for sa in alive for name in sa.installed)
    life, actions = _judged(life, config, alive, installed, now)
    check, rekeys = pfs.seen(life.pfs, alive, _running(life), now)
    return _set(life, pfs=check), actions + rekeys


def _judged(life: Life, config: IkeConfig, alive: tuple[IkeSa, ...], installed: frozenset[str], now: float) -> Step:
    children = frozenset(child.name for child in config.children)
    up = children & installed
    if up == children:
        return _complete(life, config, alive, up, now)
    before, life = life, _set(life, up=up, previous=_still(life, installed), duplicate_since=None)
    lost = (Settle(),) if before.previous and before.previous.up and not (life.previous and life.previous.up) else ()
    if _running(life):
        if not _running(before):
            # A peer has come back with the version before: what was said while nothing was up is over.
            life = _set(life, reason="", code="", alive_at=now, silent=False)
        dead = _if_dead(life, alive, now)
        if dead:
            return dead[0], dead[1] + lost
    ours = [sa for sa in alive if sa.name == config.name]
    if life.attempt_until is not None and now < life.attempt_until and _in_progress(life, ours):
        return life, lost
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
    fresh = life.up != up
    ended = _replaced(life, sas)
    life = _set(
        life,
        previous=None,
        applied=True,
        up=up,
        reason="",
        code="",
        attempt=0,
        attempt_until=None,
        retry_at=None,
        dead=False,
        alive_at=now if fresh else life.alive_at,
        silent=life.silent and not fresh,
    )
    dead = _if_dead(life, sas, now)
    if dead:
        return dead
    half_open = ended + tuple(
        EndSa(sa.unique_id)
        for sa in sas
        if sa.state == "CONNECTING" and sa.initiator and sa.name == config.name and not sa.children
    )
    complete = [sa for sa in sas if sa.established and up <= sa.installed]
    twins = duplicates.twins(complete, up)
    if len(complete) < 2 and not twins:
        return _set(life, duplicate_since=None), half_open
    since = now if life.duplicate_since is None else life.duplicate_since
    late = now >= since + DUPLICATE
    surplus = duplicates.surplus(complete, up, late) if len(complete) > 1 else twins if late else ()
    return _set(life, duplicate_since=None if surplus else since), half_open + surplus


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


def _deadline(life: Life) -> float | None:
    return life.alive_at + life.connection.dpd.timeout if life.silent and _running(life) else None


def _if_dead(life: Life, sas: tuple[IkeSa, ...], now: float) -> Step | None:
    """Dead peer detection (RFC 3706, RFC 7296 2.4): no authenticated sign of the peer, ESP included, for `timeout`."""
    deadline = _deadline(life)
    if deadline is None or now < deadline:
        return None
    running = _running(life)
    idle = [child.idle_in for sa in sas for child in sa.children if child.name in running and child.idle_in >= 0]
    timeout = life.connection.dpd.timeout
    if idle and min(idle) < timeout:
        return _set(life, alive_at=now - min(idle)), ()
    gone = tuple(EndSa(sa.unique_id) for sa in sas if any(child.name in running for child in sa.children))
    previous = _still(life, frozenset())
    text = f"the peer gave no sign of life for {timeout} s (dead peer detection)"
    if life.connection.dpd.action == "clear":
        text += "; dpd action clear: waits for the peer"
        return _set(life, up=frozenset(), previous=previous, silent=False, dead=True, reason=text, retry_at=None), gone
    again = now if _may_initiate(life) else None
    return _set(life, up=frozenset(), previous=previous, silent=False, reason=text, attempt=0, retry_at=again), gone


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
