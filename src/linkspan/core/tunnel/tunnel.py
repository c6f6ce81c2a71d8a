"""One connection on its gateway: its configuration, its progress, and its report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import MAX_CHILDREN, ChildConfig, IkeConfig, pairs_of
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Connection
from linkspan.core.state.observed import ConnectionReport
from linkspan.core.tunnel import dpd, fallback, peer_conflicts, peer_refusals, pfs_check
from linkspan.core.tunnel.actions import Initiate
from linkspan.core.tunnel.coverage import MissingPair
from linkspan.core.tunnel.dpd import DpdState
from linkspan.core.tunnel.ike_replacement import Replacements
from linkspan.core.tunnel.peer_conflicts import PeerConflict
from linkspan.core.tunnel.peer_refusals import FailedAttempt
from linkspan.core.tunnel.pfs_check import PfsCheck

NAMED_PAIRS = 4
"""Missing pairs that a reason names."""

_set = msgspec.structs.replace


class Previous(msgspec.Struct, frozen=True):
    """The version in use while its successor comes up. `up`, `missing`: as of a tunnel."""

    config: IkeConfig
    revision: int
    up: frozenset[str]
    missing: tuple[MissingPair, ...] = ()


class Tunnel(msgspec.Struct, frozen=True, kw_only=True):
    """A connection on its gateway. Times are seconds on one monotonic clock; None means not set.

    `config` is None while the connection is disabled, in `error`, held by a `conflict`, or its peer's name has no
    address. `applied`: charon has taken this revision, or has nothing to take. `up`: names of the children that carry
    traffic. `missing`: the pairs that they do not carry entirely. `by_pairs`: the peer narrows the list of pairs, so
    that `config` has a child for each of them too, `max_children` at most. `reason` and `code`: the newest cause.
    `failed_attempt`: the peer's newest one since the tunnel was up. `failures`: failed attempts in a row. `list_at`: a
    listing of the SAs is due after a cause. `can_trap`: traffic can make charon initiate on this gateway.
    `duplicate_until`: until then the peer is expected to delete a redundant SA. `overlap_until`: until then the
    previous version stays beside its successor. `expiry_at`: an IKE SA reaches its lifetime. `newest`: the highest
    unique id of the children of each name that are installed. `preferred_at`, `rekeyed`: times of rekeying for spares,
    and the children (`core.tunnel.spares`).
    """

    connection: Connection
    config: IkeConfig | None
    error: str = ""
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
    code: str = ""
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
    newest: tuple[tuple[str, int], ...] = ()
    preferred_at: tuple[float, ...] = ()
    rekeyed: frozenset[int] = frozenset()


Tunnels = Mapping[str, Tunnel]
"""Tunnels by the uuid of their connection."""


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

    Its user has acted: a tunnel that is down and may initiate does so at once, whatever it was waiting for.
    """
    acted = connection.revision != tunnel.connection.revision
    tunnel = _set(tunnel, connection=connection)
    if tunnel.config is None or not acted:
        return tunnel
    tunnel = _set(tunnel, dpd_state=dpd.resume(tunnel.dpd_state))
    if not may_initiate(tunnel):
        return _set(tunnel, attempt_ends_at=None, retry_at=None)
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

    It does not go on towards another peer, which the user no longer wants to talk to. Nor with another key: charon
    compares everything but the key, and would put the new version into the IKE SA that the old key authenticated.
    """
    if old.config is None or new.config is None or not fallback.same_peer(old.config, new.config):
        return new
    new = split_into_pairs(new) if old.by_pairs else new
    if old.connection.psk_ref != new.connection.psk_ref:
        return new
    assert new.config
    running = Previous(old.config, old.connection.revision, old.up, old.missing) if old.up else old.previous
    if running is None:
        return new
    state = dpd.resume(old.dpd_state)
    if ipsec_config.same_version(running.config, new.config):
        if not running.up:
            return new
        kept: dict[str, Any] = {"up": running.up, "missing": running.missing, "newest": old.newest}
        return _set(new, applied=True, dpd_state=state, **kept)
    if not running.up and not fallback.needs_fallback(new.config, running.config):
        return new
    return _set(new, previous=running, newest=old.newest, dpd_state=state)


def after_charon_restart(tunnel: Tunnel) -> Tunnel:
    """The tunnel after its charon was restarted and has nothing loaded. What charon refused stays refused."""
    if tunnel.config is None:
        return tunnel
    new = new_tunnel(tunnel.connection, tunnel.config, "", tunnel.can_trap, tunnel.max_children)
    new = _set(new, previous=kept_previous(tunnel, frozenset()), by_pairs=tunnel.by_pairs)
    if tunnel.dpd_state.waits_for:
        return _set(new, reason=tunnel.reason, dpd_state=DpdState(waits_for=tunnel.dpd_state.waits_for))
    return _set(new, reason="the gateway's charon was restarted")


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
    down = (child for child in children[1:] if child.name not in tunnel.up and _is_missing(tunnel, child))
    first: dict[tuple[str, ...], str] = {}
    for child in down:
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
    """True if the connection may initiate and does not wait for its peer or for traffic."""
    return tunnel.connection.initiator == "bi-directional" and not tunnel.dpd_state.waits_for


def has_dpd(tunnel: Tunnel) -> bool:
    """True if dead peer detection is enabled."""
    return tunnel.connection.dpd.action != "disabled"


def report(tunnel: Tunnel, generation: int) -> ConnectionReport | None:
    """The report for the API; None until the revision is applied."""
    plain = _report(tunnel, generation) if tunnel.applied else None
    if plain is None or plain.state not in ("up", "down"):
        return plain
    own = "" if tunnel.conflict.held else plain.reason
    return _set(plain, reason="; ".join(text for text in (own, tunnel.conflict.text, _key_note(tunnel)) if text))


def _key_note(tunnel: Tunnel) -> str:
    """The sentence about a key that is in use instead of the connection's own; empty without one."""
    if not tunnel.connection.psk_from:
        return ""
    return (
        f"the psk of connection {tunnel.connection.psk_from}, which was changed later, is in use for both: "
        "change the psk of this connection too"
    )


def _report(tunnel: Tunnel, generation: int) -> ConnectionReport:
    connection = tunnel.connection
    base = ConnectionReport(connection.id, generation, connection.revision, "down")
    if tunnel.previous and tunnel.previous.up:
        return _set(base, state="up", revision=tunnel.previous.revision, reason=_previous_in_use(tunnel))
    if tunnel.error:
        return _set(base, state="error", reason=tunnel.error)
    if not connection.enabled:
        return _set(base, state="disabled", reason=connection.admin_reason or "admin_state_up is false")
    if tunnel.config and tunnel.up:
        return _set(base, state="up", reason=_incomplete(tunnel, tunnel.config) or connection.admin_reason)
    # While the previous version may come back, its successor is not reported: the API takes no step back.
    revision = tunnel.previous.revision if tunnel.previous else connection.revision
    return _set(base, revision=revision, reason=_cause(tunnel) or _waiting(tunnel))


def _incomplete(tunnel: Tunnel, config: IkeConfig) -> str:
    """The reason of a tunnel that is up: missing pairs, or a peer that refuses pfs; empty without one."""
    text = _missing(tunnel, len(pairs_of(config))) if tunnel.missing else ""
    if tunnel.pfs_check.refused and not text:
        text = pfs_check.reason(tunnel.connection.ipsec.pfs, may_initiate(tunnel))
    cause = _cause(tunnel)
    return f"{text}: {cause}" if text and cause else text


def _missing(tunnel: Tunnel, wanted: int) -> str:
    """The pairs that are not carried, a few of them by name."""
    names = [
        f"{missing.pair.local} - {missing.pair.remote}" + (f" (only {missing.part})" if missing.part else "")
        for missing in tunnel.missing[:NAMED_PAIRS]
    ]
    if len(tunnel.missing) > NAMED_PAIRS:
        names.append(f"{len(tunnel.missing) - NAMED_PAIRS} more")
    text = f"{wanted - len(tunnel.missing)} of {wanted} pairs of networks are up; missing: {', '.join(names)}"
    if tunnel.by_pairs and wanted > tunnel.max_children:
        text += f"; the peer takes one pair a child SA, and the node makes {tunnel.max_children} at most"
    return text


def _previous_in_use(tunnel: Tunnel) -> str:
    """The reason why the previous version is still in use."""
    old, new = tunnel.previous.revision if tunnel.previous else 0, tunnel.connection.revision
    if tunnel.error:
        return f"revision {new} cannot be used: {tunnel.error}; revision {old} in use"
    if cause := _cause(tunnel):
        return f"revision {new} refused by the peer: {cause}; revision {old} in use"
    return f"revision {new} waits for the peer; revision {old} in use"


def _cause(tunnel: Tunnel) -> str:
    """The reason with the peer's failed attempt, empty without both."""
    if tunnel.failed_attempt is None:
        return tunnel.reason
    return peer_refusals.reason(tunnel.failed_attempt, tunnel.reason)


def _waiting(tunnel: Tunnel) -> str:
    if tunnel.attempt_ends_at is not None:
        return f"initiating to {tunnel.connection.peer_address}"
    if tunnel.connection.initiator == "response-only":
        return "waits for the peer to initiate (initiator is response-only)"
    return ""
