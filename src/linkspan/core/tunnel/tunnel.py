"""One connection on its gateway: what is known of it, and what is reported."""

from __future__ import annotations

import msgspec

from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.state.desired import Connection
from linkspan.core.state.observed import ConnectionReport
from linkspan.core.tunnel import dpd, fallback, pfs_check
from linkspan.core.tunnel.actions import Initiate
from linkspan.core.tunnel.pfs_check import PfsCheck

_set = msgspec.structs.replace


class Previous(msgspec.Struct, frozen=True):
    """The version that is in use while its successor comes up; `up` are its children that carry traffic, if any."""

    config: IkeConfig
    revision: int
    up: frozenset[str]


class Tunnel(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connection stands. `error` is set if it cannot come up; `config` is None then, while disabled, and
    while the peer's name has no address.

    `attempt` counts failures in a row. `can_trap`: whether traffic can make charon initiate here.
    """

    connection: Connection
    config: IkeConfig | None
    error: str = ""
    previous: Previous | None = None
    pfs_check: PfsCheck = PfsCheck()
    applied: bool = False
    up: frozenset[str] = frozenset()
    reason: str = ""
    code: str = ""
    attempt: int = 0
    attempt_until: float | None = None
    retry_at: float | None = None
    look_at: float | None = None
    can_trap: bool = False
    watch: dpd.DpdState = dpd.DpdState()
    duplicate_since: float | None = None
    overlap_until: float | None = None
    over_at: float | None = None


def new(connection: Connection, config: IkeConfig | None, error: str, can_trap: bool = False) -> Tunnel:
    """A connection of which nothing is known yet. Without a configuration it is applied at once: nothing is loaded."""
    return Tunnel(connection=connection, config=config, error=error, applied=config is None, can_trap=can_trap)


def refreshed(life: Tunnel, connection: Connection) -> Tunnel:
    """The same life under a new revision that changed nothing that charon is told.

    Its user has acted: what is down and may initiate does so at once, whatever it waited for.
    """
    acted = connection.revision != life.connection.revision
    life = _set(life, connection=connection)
    if life.config is None or not acted:
        return life
    life = _set(life, watch=dpd.resume(life.watch))
    if not may_initiate(life):
        return _set(life, attempt_until=None, retry_at=None)
    return life if life.attempt_until is not None else _set(life, attempt=0, retry_at=0.0)


def replaced(old: Tunnel, new: Tunnel) -> Tunnel:
    """A life under a revision that changes what charon is told: while it can, the version that is up goes on.

    Not towards another peer: whoever names another one does not want to talk to the one before. Not with another key:
    charon compares everything but the key, and would put the new version into the IKE SA that the old key made.
    """
    if old.config is None or new.config is None or not fallback.same_peer(old.config, new.config):
        return new
    if old.connection.psk_ref != new.connection.psk_ref:
        return new
    running = Previous(old.config, old.connection.revision, old.up) if old.up else old.previous
    if running is None:
        return new
    if running.config == new.config:
        return _set(new, applied=True, up=running.up, watch=dpd.resume(old.watch)) if running.up else new
    if not running.up and not fallback.needs_fallback(new.config, running.config):
        return new
    return _set(new, previous=running, watch=dpd.resume(old.watch))


def after_charon_restart(life: Tunnel) -> Tunnel:
    """The same connection after its charon was started anew and knows nothing; what charon refused stays refused."""
    if life.config is None:
        return life
    fresh = _set(new(life.connection, life.config, "", life.can_trap), previous=kept_previous(life, frozenset()))
    if life.watch.rest:
        return _set(fresh, reason=life.reason, watch=dpd.DpdState(rest=life.watch.rest))
    return _set(fresh, reason="the gateway's charon was restarted")


def traps(life: Tunnel) -> frozenset[Initiate]:
    """What charon is to initiate by itself when traffic wants to pass."""
    if life.config is None or life.watch.rest != "trap":
        return frozenset()
    return frozenset(Initiate(life.config.name, child.name) for child in life.config.children)


def configs(life: Tunnel) -> tuple[IkeConfig, ...]:
    """What a connection may have IKE SAs of: its version, and the one before while that is in use."""
    return tuple(config for config in (life.config, life.previous and life.previous.config) if config)


def report(life: Tunnel, generation: int) -> ConnectionReport | None:
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
        if life.pfs_check.refused and not why:
            why = pfs_check.reason(connection.ipsec.pfs)
        return _set(make, state="up", reason=f"{why}: {life.reason}" if why and life.reason else why)
    # While the version before may come back, nothing is said of its successor: an API takes no step back.
    revision = life.previous.revision if life.previous else connection.revision
    return _set(make, revision=revision, reason=life.reason or _waiting(life))


def may_initiate(life: Tunnel) -> bool:
    return life.connection.initiator == "bi-directional" and not life.watch.rest


def running_children(life: Tunnel) -> frozenset[str]:
    """Every child that carries the connection's traffic, of this version and the one before."""
    return life.up | life.previous.up if life.previous else life.up


def kept_previous(life: Tunnel, installed: frozenset[str]) -> Previous | None:
    """The version before, as long as some of it is up, or a peer that still has it needs something to meet."""
    if life.previous is None or life.config is None:
        return None
    config = life.previous.config
    up = frozenset(child.name for child in config.children) & installed
    return _set(life.previous, up=up) if up or fallback.needs_fallback(life.config, config) else None


def _not_yet(life: Tunnel) -> str:
    """Why the version before is still in use."""
    old, new = life.previous.revision if life.previous else 0, life.connection.revision
    if life.error:
        return f"revision {new} cannot be used: {life.error}; revision {old} in use"
    if life.reason:
        return f"revision {new} refused by the peer: {life.reason}; revision {old} in use"
    return f"revision {new} waits for the peer; revision {old} in use"


def _waiting(life: Tunnel) -> str:
    if life.attempt_until is not None:
        return f"initiating to {life.connection.peer_address}"
    if life.connection.initiator == "response-only":
        return "waits for the peer to initiate (initiator is response-only)"
    return ""
