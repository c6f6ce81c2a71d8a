"""One connection on its gateway: its configuration, its progress, and its report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.codes import NOTHING, Code, Details
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import MAX_CHILDREN, ChildConfig, IkeConfig
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import dpd, fallback, key_rotation, peer_conflicts
from linkspan.core.tunnel.actions import Initiate
from linkspan.core.tunnel.coverage import MissingPair
from linkspan.core.tunnel.doubts import Doubts
from linkspan.core.tunnel.dpd import DpdState
from linkspan.core.tunnel.flapping import Downs
from linkspan.core.tunnel.ike_replacement import Replacements
from linkspan.core.tunnel.install_order import InstalledChildren
from linkspan.core.tunnel.key_rotation import KeyRotation
from linkspan.core.tunnel.peer_conflicts import PeerConflict
from linkspan.core.tunnel.peer_refusals import FailedAttempt
from linkspan.core.tunnel.pfs_check import PfsCheck
from linkspan.core.tunnel.rechecks import Rechecks
from linkspan.core.tunnel.traffic import Traffic

_set = msgspec.structs.replace


class Previous(msgspec.Struct, frozen=True):
    """The version in use while its successor comes up. `up`, `missing`: as of a tunnel. `psk_ref`: of its key."""

    config: IkeConfig
    revision: int
    up: frozenset[str]
    missing: tuple[MissingPair, ...] = ()
    psk_ref: str = ""


class Tunnel(msgspec.Struct, frozen=True, kw_only=True):
    """A connection on its gateway. Times are seconds on one monotonic clock; None means not set.

    `config` is None while the connection is disabled, in `error`, held by a `conflict`, or its peer's name has no
    address. `applied`: charon has taken this revision, or has nothing to take. `up`: names of the children that carry
    traffic. `missing`: the pairs that they do not carry entirely. `by_pairs`: the peer narrows the list of pairs, so
    that `config` has a child for each of them too, `max_children` at most. `reason`, `code` and `details`: the newest
    cause. `refused_with`: the code of the newest failure of the attempt in progress. `failed_attempt`: of the peer,
    since the tunnel was up. `failures`: failed attempts in a row. `list_at`: a listing of the SAs is due after a
    cause. `can_trap`: traffic can make charon initiate on this gateway.
    `duplicate_until`: until then the peer is expected to delete a redundant SA. `overlap_until`: until then the
    previous version stays beside its successor. `expiry_at`: an IKE SA reaches its lifetime. `installed`: the places
    of the children that are installed, by name. `preferred_at`, `rekeyed`, `outlasted`: times of rekeying for spares,
    the children, and those of the spares that were installed before (`core.tunnel.spares`). `prefer_at`: it may be
    rekeyed for spares again, and has to be. `keeping`: a newer
    connection is loaded instead, and this one only keeps its SAs. `joining`: the IKE connection of one that it
    supersedes, in whose IKE SA it creates its children if it may only respond, as it may rekey there
    (`core.tunnel.takeover`). `taking_over`: one that it supersedes goes on. `settles_at`: until then the peer may end
    SAs because of its own takeover, so nothing counts as redundant. `partial_until`: until then a successor that
    carries some of its pairs counts as coming up. `rechecks`: of the peer's certificate. `doubts`: about the
    peer's having its SAs. `distrusted_at`: the previous version ends then, since it admits peers that this one does
    not. `without_ppk`: it is up without its optional post-quantum key. `downs`: when it went down lately.
    """

    connection: Connection
    config: IkeConfig | None
    error: str = ""
    error_code: Code = "CONFIG_REFUSED_HERE"
    conflict: PeerConflict = peer_conflicts.NONE
    previous: Previous | None = None
    pfs_check: PfsCheck = PfsCheck()
    replacements: Replacements = Replacements()
    applied: bool = False
    up: frozenset[str] = frozenset()
    missing: tuple[MissingPair, ...] = ()
    by_pairs: bool = False
    max_children: int = MAX_CHILDREN
    reason: str = ""
    code: Code | None = None
    details: Details = NOTHING
    refused_with: Code | None = None
    failed_attempt: FailedAttempt | None = None
    failures: int = 0
    attempt_ends_at: float | None = None
    retry_at: float | None = None
    list_at: float | None = None
    can_trap: bool = False
    dpd_state: DpdState = DpdState()
    duplicate_until: float | None = None
    overlap_until: float | None = None
    expiry_at: float | None = None
    installed: InstalledChildren = ()
    preferred_at: tuple[float, ...] = ()
    rekeyed: frozenset[int] = frozenset()
    outlasted: frozenset[int] = frozenset()
    prefer_at: float | None = None
    keeping: bool = False
    joining: str = ""
    taking_over: bool = False
    settles_at: float | None = None
    partial_until: float | None = None
    rechecks: Rechecks = Rechecks()
    doubts: Doubts = Doubts()
    distrusted_at: float | None = None
    without_ppk: bool = False
    downs: Downs = ()
    traffic: Traffic = Traffic()
    key_rotation: KeyRotation = KeyRotation()


Tunnels = Mapping[str, Tunnel]
"""Tunnels by the uuid of their connection."""


def because(tunnel: Tunnel, text: str, code: Code | None, details: Details = NOTHING) -> Tunnel:
    """The tunnel with this as its newest cause."""
    return _set(tunnel, reason=text, code=code, details=details)


def without_cause(tunnel: Tunnel) -> Tunnel:
    """The tunnel without a cause of its own."""
    return because(tunnel, "", None)


def new_tunnel(
    connection: Connection,
    config: IkeConfig | None,
    error: str,
    can_trap: bool = False,
    max_children: int = MAX_CHILDREN,
) -> Tunnel:
    """A tunnel without history. Without a configuration it is applied at once, since nothing is loaded."""
    return Tunnel(
        connection=connection,
        config=config,
        error=error,
        applied=config is None,
        can_trap=can_trap,
        max_children=max_children,
    )


def refreshed(tunnel: Tunnel, connection: Connection) -> Tunnel:
    """The tunnel under a new revision that leaves charon's configuration unchanged.

    Its user has acted: a tunnel that is down and may initiate does so at once, whatever it was waiting for. One that
    may not any more ends its attempt once it is listed, unless the peer has answered, and may be up by it already.
    """
    acted = connection.revision != tunnel.connection.revision
    tunnel = _set(tunnel, connection=connection)
    if tunnel.config is None or not acted:
        return tunnel
    tunnel = _set(tunnel, dpd_state=dpd.resume(tunnel.dpd_state))
    if not may_initiate(tunnel):
        return _set(tunnel, retry_at=None, list_at=None if tunnel.attempt_ends_at is None else 0.0)
    return tunnel if tunnel.attempt_ends_at is not None else _set(tunnel, failures=0, retry_at=0.0)


def peer_addresses(tunnels: Iterable[Tunnel]) -> frozenset[str]:
    """The addresses from which charon takes IKE: those of the versions that are loaded, or may still have SAs."""
    return frozenset(config.remote_address for tunnel in tunnels for config in configs(tunnel))


def split_into_pairs(tunnel: Tunnel) -> Tunnel:
    """The tunnel with a child for each pair too, if its peer may take one pair a child; IKEv1 has only those."""
    if tunnel.config is None or tunnel.config.version == 1:
        return tunnel
    return _set(tunnel, by_pairs=True, config=ipsec_config.with_pair_children(tunnel.config, tunnel.max_children))


def joined_pairs(tunnel: Tunnel) -> Tunnel:
    """The inverse of `split_into_pairs`."""
    return _set(tunnel, by_pairs=False, config=tunnel.config and ipsec_config.without_pair_children(tunnel.config))


def replaced(old: Tunnel, new: Tunnel) -> Tunnel:
    """The tunnel under a revision that changes charon's configuration. The version that is up goes on if it can.

    It does not go on towards another peer, which the user no longer wants to talk to. Nor with another pre-shared key,
    unless that is kept beside the new one for a while (`core.tunnel.key_rotation`): whoever changes it wants the
    earlier one to end. A new connection with another key lets it go on (`core.tunnel.takeover`), and so does another
    certificate.
    """
    if old.config is None or new.config is None or not fallback.same_peer(old.config, new.config):
        return new
    new = split_into_pairs(new) if old.by_pairs else new
    new = _with_history(old, new) if old.key_rotation.is_due else new
    assert new.config
    running = _running_version(old)
    if running is None or (running.config.auth == new.config.auth == "psk" and not _may_go_on(running, old, new)):
        return new
    state = dpd.resume(old.dpd_state)
    if ipsec_config.same_version(running.config, new.config):
        if not running.up:
            return new
        kept: dict[str, Any] = {"up": running.up, "missing": running.missing, "installed": old.installed}
        return _set(new, applied=True, dpd_state=state, **kept)
    if not running.up and not fallback.needs_fallback(new.config, running.config):
        return new
    return _set(new, previous=running, installed=old.installed, dpd_state=state)


def _running_version(tunnel: Tunnel) -> Previous | None:
    if not tunnel.up:
        return tunnel.previous
    connection = tunnel.connection
    assert tunnel.config
    return Previous(tunnel.config, connection.revision, tunnel.up, tunnel.missing, connection.psk_ref)


def _may_go_on(running: Previous, old: Tunnel, new: Tunnel) -> bool:
    """True if the key of the version that runs is accepted under the new revision."""
    if running.psk_ref == new.connection.psk_ref:
        return True
    return key_rotation.goes_on(old.key_rotation, new.key_rotation, running.psk_ref)


def _with_history(old: Tunnel, new: Tunnel) -> Tunnel:
    """A version that differs only in the key that is tried, at once unless both have failed."""
    retry_at = old.retry_at if old.key_rotation.has_turned else None
    kept = {"reason": old.reason, "code": old.code, "failed_attempt": old.failed_attempt, "failures": old.failures}
    return _set(new, retry_at=retry_at, **kept)


def with_rotation(tunnel: Tunnel, rotation: KeyRotation) -> Tunnel:
    """The tunnel with the state of its key. Once the peer has shown to another connection that it has the new one, this
    end does not wait to use it."""
    if tunnel.key_rotation == rotation:
        return tunnel
    if rotation.is_over and not tunnel.key_rotation.is_over and tunnel.retry_at is not None:
        tunnel = _set(tunnel, failures=0, retry_at=0.0)
    return _set(tunnel, key_rotation=rotation)


def has_other_key(tunnel: Tunnel) -> bool:
    """True if another pre-shared key than the loaded one has authenticated the previous version."""
    previous = tunnel.previous
    if previous is None or tunnel.config is None or not previous.config.auth == tunnel.config.auth == "psk":
        return False
    return previous.psk_ref != tunnel.connection.psk_ref


def after_charon_restart(tunnel: Tunnel) -> Tunnel:
    """The tunnel after its charon was restarted and has nothing loaded. What charon refused stays refused."""
    if tunnel.config is None:
        return tunnel
    new = new_tunnel(tunnel.connection, tunnel.config, "", tunnel.can_trap, tunnel.max_children)
    previous = kept_previous(tunnel, frozenset())
    new = _set(new, previous=previous, by_pairs=tunnel.by_pairs, key_rotation=tunnel.key_rotation)
    if tunnel.dpd_state.waits_for:
        return _set(
            because(new, tunnel.reason, tunnel.code, tunnel.details),
            dpd_state=DpdState(waits_for=tunnel.dpd_state.waits_for),
        )
    return because(new, causes.sentence("IKE_DAEMON_DOWN"), "IKE_DAEMON_DOWN")


def traps(tunnel: Tunnel) -> frozenset[Initiate]:
    """The children that charon initiates by itself for traffic."""
    if tunnel.config is None or tunnel.dpd_state.waits_for != "trap":
        return frozenset()
    return frozenset(Initiate(tunnel.config.name, child) for child in children_to_initiate(tunnel))


def configs(tunnel: Tunnel) -> tuple[IkeConfig, ...]:
    """The configurations that may have IKE SAs: the tunnel's own, and the previous one while it is in use."""
    return tuple(config for config in (tunnel.config, tunnel.previous and tunnel.previous.config) if config)


def children(tunnel: Tunnel) -> frozenset[str]:
    """Names of the children that can carry the connection's traffic, of this version and the previous one."""
    return frozenset(child.name for config in configs(tunnel) for child in config.children)


def children_to_initiate(tunnel: Tunnel) -> tuple[str, ...]:
    """Names of the children that this end has to initiate for what its tunnel does not carry.

    In IKEv2 charon refuses to initiate a child that is up, so the pair's second one is initiated if the first one is up
    and carries a part of the pair only. In IKEv1 initiating it again rekeys it.
    """
    if tunnel.config is None:
        return ()
    children = tunnel.config.children
    if tunnel.config.version == 1:
        return tuple(child.name for child in children if _is_missing(tunnel, child))
    if not tunnel.by_pairs:
        return tuple(child.name for child in children if child.name not in tunnel.up)
    down = (child for child in children if child.name not in tunnel.up)
    return _first_of_each_pair(tunnel, (child for child in down if ipsec_config.is_pair_child(child.name)))


def _first_of_each_pair(tunnel: Tunnel, children: Iterable[ChildConfig]) -> tuple[str, ...]:
    """Names of children for single pairs: of each pair that is missing the first one."""
    first: dict[tuple[str, ...], str] = {}
    for child in children:
        if _is_missing(tunnel, child):
            first.setdefault(child.local_ts + child.remote_ts, child.name)
    return tuple(first.values())


def _is_missing(tunnel: Tunnel, child: ChildConfig) -> bool:
    """True if the pair of a child for a single pair is missing: every pair is while nothing is up."""
    pair = SelectorPair(child.local_ts[0], child.remote_ts[0])
    return not tunnel.up or any(missing.pair == pair for missing in tunnel.missing)


def is_complete(tunnel: Tunnel) -> bool:
    """True if the tunnel carries everything that its connection desires."""
    return bool(tunnel.up) and not tunnel.missing


def running_children(tunnel: Tunnel) -> frozenset[str]:
    """Names of the children that carry the connection's traffic, of this version and the previous one."""
    return tunnel.up | tunnel.previous.up if tunnel.previous else tunnel.up


def running_configs(tunnel: Tunnel) -> dict[str, ChildConfig]:
    """The configurations of the children that carry the connection's traffic, by name."""
    running = running_children(tunnel)
    return {child.name: child for config in configs(tunnel) for child in config.children if child.name in running}


def kept_previous(tunnel: Tunnel, installed: frozenset[str]) -> Previous | None:
    """The previous version, as long as some of it is up, or a peer that still has it needs the fallback."""
    if tunnel.previous is None or tunnel.config is None:
        return None
    config = tunnel.previous.config
    up = frozenset(child.name for child in config.children) & installed
    return _set(tunnel.previous, up=up) if up or fallback.needs_fallback(tunnel.config, config) else None


def may_initiate(tunnel: Tunnel) -> bool:
    """True if the connection may initiate and does not wait for its peer or for traffic.

    An end that may only respond initiates for one purpose, while it is up: to use a new certificate. Its peer knows
    nothing of that, and rekeys without certificates for as long as both are up.
    """
    may = (tunnel.connection.initiator == "bi-directional" or _renews(tunnel)) and not tunnel.keeping
    return may and not tunnel.dpd_state.waits_for


def _renews(tunnel: Tunnel) -> bool:
    previous = tunnel.previous
    if tunnel.config is None or previous is None or not previous.up:
        return False
    return fallback.is_local_renewal(tunnel.config, previous.config)


def has_dpd(tunnel: Tunnel) -> bool:
    """True if dead peer detection is enabled."""
    return tunnel.connection.dpd.action != "disabled"
