"""Compares desired connections with what charon holds: the plan of what to load, delete and unload.

Names carry digests of the configuration (`core.ipsec.config`), so comparing names compares configurations. A connection
that charon holds but that is neither desired nor has a tombstone stays: absence never deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from typing import Any

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import ends, local_keys, overlaps
from linkspan.core.ipsec.config import MAX_CHILDREN, ChildConfig, IkeConfig
from linkspan.core.ipsec.overlaps import Overlaps
from linkspan.core.state.desired import Connection
from linkspan.core.state.observed import Backend, Capabilities
from linkspan.core.tunnel import fallback, key_choice, key_rotation, peer_conflicts, peer_names, takeover
from linkspan.core.tunnel.key_rotation import KeyRotation
from linkspan.core.tunnel.peer_conflicts import PeerConflict
from linkspan.core.tunnel.stray_sas import Needed
from linkspan.core.tunnel.takeover import Seen, Situation, Takeover
from linkspan.core.tunnel.tunnel import (
    Tunnel,
    Tunnels,
    configs,
    has_other_key,
    new_tunnel,
    refreshed,
    replaced,
    split_into_pairs,
    with_rotation,
)

_set = msgspec.structs.replace

LoadedChildren = Mapping[str, frozenset[str]]
"""Names of the children that charon holds, by the name of their IKE connection."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of reconciling, in this order.

    List the SAs of the IKE connections in `inspect`, and delete those that are not `needed`. Unload `park`. Then load
    the configurations in `load`, replacing those of the same name. Then unload `unload`, but for those that are
    retained (`stray_sas.is_retained`), and delete what the peer has created meanwhile.

    `park`: those of them that are unloaded even so, and before anything is loaded: others with another key take their
    place, and charon has to have one key for two identities at each time. `awaited`: uuids of tunnels
    after whose next change a new plan is due. `tunnels` are the tunnels afterwards, with the `overlaps` of their
    selectors. `fresh` are the uuids of those that
    the plan loads, `keep` of those that charon held already, whose SAs have to be listed. `wanted`: all that charon
    holds afterwards, as it is loaded.
    """

    tunnels: dict[str, Tunnel]
    overlaps: Overlaps
    needed: Needed
    inspect: tuple[str, ...]
    load: tuple[IkeConfig, ...]
    wanted: tuple[IkeConfig, ...]
    unload: tuple[str, ...]
    fresh: tuple[str, ...]
    keep: tuple[str, ...]
    park: frozenset[str] = frozenset()
    awaited: frozenset[str] = frozenset()


def tunnel_for(
    connection: Connection,
    backend: Backend,
    node: Capabilities | None = None,
    max_children: int = MAX_CHILDREN,
    conflict: PeerConflict = peer_conflicts.NONE,
) -> Tunnel:
    """The tunnel of a connection. It has no configuration if the connection is disabled or cannot work on this node,
    while another one is in use instead, or while its peer's name has no address. `node` as in `config.unsupported`."""
    if not connection.enabled:
        return new_tunnel(connection, None, "")
    fault = ipsec_config.fault_of(connection, backend, node)
    absent = fault.text or conflict.held or peer_names.peer_name_of(connection)
    config = None if absent else ipsec_config.build(connection)
    can_trap = backend == "kernel"
    tunnel = new_tunnel(connection, config, fault.text, can_trap=can_trap, max_children=max_children)
    return _set(tunnel, error_code=fault.code, conflict=conflict)


def reconcile(
    tunnels: Tunnels,
    desired: Mapping[str, Connection],
    gone: Iterable[str],
    loaded: LoadedChildren,
    backend: Backend,
    node: Capabilities | None = None,
    max_children: int = MAX_CHILDREN,
    seen: Seen = Seen(),  # noqa: B008 # frozen
) -> Plan:
    """The plan after which charon holds exactly the desired connections; it touches none that is as desired.

    `gone`: uuids of connections with a tombstone. `max_children`: of one connection whose peer takes one pair in each.
    """
    taken = _takeover(tunnels, desired, seen, _runs_on(backend, node))
    after, found = _next_tunnels(tunnels, taken, loaded, backend, node, max_children, seen.adopted)
    ours = frozenset(after) | frozenset(gone)
    siblings = _siblings(after, taken)
    wanted = _wanted_configs(after, siblings, taken)
    running = _running_configs(after)
    stay = _child_names((*wanted.values(), *running))
    park = _outdated_keys(taken.keeping | _rotated(after), after, loaded) - wanted.keys()
    unload = _to_unload(wanted.keys() | ({config.name for config in running} - park), loaded, ours)
    leaving = _leaving(wanted.keys() | park, loaded, ours)
    reduced = _reduced_configs(tunnels, after, siblings, leaving, unload, seen.configs)
    load = _to_load(tunnels, after, wanted, loaded, ours) + reduced
    fresh, keep = _fresh_and_kept(after, load, loaded)
    return Plan(
        tunnels=after,
        overlaps=found,
        needed=_needed(stay, ours, loaded, load, unload),
        inspect=_to_inspect(_edited_peers(tunnels, after), loaded, ours, stay),
        load=load,
        wanted=_all_as_loaded(after, wanted),
        unload=unload,
        fresh=fresh,
        keep=keep,
        park=park,
        awaited=taken.awaited,
    )


def _takeover(
    tunnels: Tunnels, desired: Mapping[str, Connection], seen: Seen, can_run: Callable[[Connection], bool]
) -> Takeover:
    loaded = {key for tunnel in tunnels.values() for config in configs(tunnel) if (key := _key_of(config))}
    in_use = {id for id, each in desired.items() if each.certificates and each.certificates.local.key_id in loaded}
    return takeover.resolve(local_keys.with_faults(desired, in_use), Situation(tunnels, seen, can_run))


def _key_of(config: IkeConfig) -> str:
    return config.certificates.key_id if config.certificates else ""


def _next_tunnels(
    tunnels: Tunnels,
    taken: Takeover,
    loaded: LoadedChildren,
    backend: Backend,
    node: Capabilities | None,
    max_children: int,
    adopted: frozenset[str],
) -> tuple[dict[str, Tunnel], Overlaps]:
    desired = taken.connections
    conflicts = _peer_conflicts(tunnels, desired, loaded, backend, node)
    used = {id: connection for id, connection in desired.items() if not _conflict(conflicts, id).held}
    # What only keeps its SAs needs no key.
    with_keys = {id: each for id, each in used.items() if id not in taken.keeping}
    chosen = key_choice.choose(with_keys, tunnels, adopted, loaded)
    keyed = {id: each.connection for id, each in chosen.items()}
    found = overlaps.find({**used, **keyed}.values())
    after = dict[str, Tunnel]()
    for id, connection in {**desired, **keyed}.items():
        tunnel, conflict = tunnels.get(id), _conflict(conflicts, id)
        rotation = chosen[id].rotation if id in chosen else KeyRotation()
        if tunnel is None or tunnel.connection != connection or tunnel.conflict.held != conflict.held:
            new = _set(tunnel_for(connection, backend, node, max_children, conflict), key_rotation=rotation)
            tunnel = _next_tunnel(tunnel, new, loaded)
        joining = taken.joining.get(id)
        after[id] = _changed(
            with_rotation(tunnel, rotation),
            conflict=conflict,
            keeping=id in taken.keeping,
            joining=joining or "",
            taking_over=joining is not None,
            # Traffic goes to another tunnel meanwhile, so it would never make charon initiate.
            can_trap=backend == "kernel" and id not in found.rivals,
        )
    return after, found


def _next_tunnel(old: Tunnel | None, new: Tunnel, loaded: LoadedChildren) -> Tunnel:
    if old is None:
        return split_into_pairs(new) if _is_loaded_by_pairs(new, loaded) else new
    if old.config and new.config and ipsec_config.same_version(old.config, new.config):
        return refreshed(old, new.connection)
    return replaced(old, new)


def _is_loaded_by_pairs(tunnel: Tunnel, loaded: LoadedChildren) -> bool:
    """True if an earlier run of the agent has found that the peer takes one pair a child."""
    if tunnel.config is None or tunnel.config.version == 1:
        return False
    children = loaded.get(tunnel.config.name, ())
    return any(
        ipsec_config.is_pair_child(name) and ipsec_config.owner_of(name) == tunnel.connection.id for name in children
    )


def _changed(tunnel: Tunnel, **changes: Any) -> Tunnel:
    """The tunnel with these values, the same object if it has them."""
    return tunnel if all(getattr(tunnel, name) == value for name, value in changes.items()) else _set(tunnel, **changes)


def _peer_conflicts(
    tunnels: Tunnels,
    desired: Mapping[str, Connection],
    loaded: LoadedChildren,
    backend: Backend,
    node: Capabilities | None,
) -> dict[str, PeerConflict]:
    """The conflicts by uuid. In use is what has a configuration; after a restart of the agent, what charon has."""
    present = {ipsec_config.owner_of(child) for children in loaded.values() for child in children}

    def in_use(connection: Connection) -> bool:
        old = tunnels.get(connection.id)
        if old is None:
            return connection.id in present
        return old.config is not None and ends.ends_of(old.connection) == ends.ends_of(connection)

    return peer_conflicts.find(desired.values(), in_use, _runs_on(backend, node))


def _runs_on(backend: Backend, node: Capabilities | None) -> Callable[[Connection], bool]:
    return lambda connection: not ipsec_config.unsupported(connection, backend, node)


def _conflict(conflicts: Mapping[str, PeerConflict], id: str) -> PeerConflict:
    return conflicts.get(id, peer_conflicts.NONE)


# --- configurations -----------------------------------------------------------------------------------------------


def _siblings(tunnels: Tunnels, taken: Takeover) -> dict[str, dict[str, IkeConfig]]:
    """The configurations of the connections to each peer, as they are loaded, by peer and uuid."""
    peers: dict[str, dict[str, IkeConfig]] = {}
    for id, tunnel in tunnels.items():
        if tunnel.config and not tunnel.keeping:
            previous = tunnel.previous.config if tunnel.previous else None
            loaded = fallback.with_fallback(tunnel.config, previous)
            peers.setdefault(tunnel.config.peer, {})[id] = ipsec_config.ranked(loaded, len(taken.newer.get(id, ())))
    return peers


def _running_configs(tunnels: Tunnels) -> list[IkeConfig]:
    """The configurations that are not loaded, or not wanted any more, while their SAs go on."""
    previous = [tunnel.previous.config for tunnel in tunnels.values() if tunnel.previous and tunnel.previous.up]
    return previous + [tunnel.config for tunnel in tunnels.values() if tunnel.keeping and tunnel.config]


def _wanted_configs(
    tunnels: Tunnels, peers: Mapping[str, Mapping[str, IkeConfig]], taken: Takeover
) -> dict[str, IkeConfig]:
    """The IKE connections by name, each with the children of all connections to its peer."""
    wanted = {
        config.name: config if len(siblings) == 1 else _with_siblings(config, siblings, taken)
        for siblings in peers.values()
        for config in siblings.values()
    }
    for name, previous_configs in _previous_configs(tunnels).items():
        # A previous IKE connection stays for its own children, not for those of its successor.
        bare = msgspec.structs.replace(next(iter(previous_configs.values())), children=())
        siblings = {**peers.get(bare.peer, {}), **previous_configs}
        wanted[name] = _with_siblings(bare, siblings, taken)
    return wanted


def _with_siblings(config: IkeConfig, siblings: Mapping[str, IkeConfig], taken: Takeover) -> IkeConfig:
    """An IKE connection with its siblings' children, but for those of a connection that it is to supersede, or that is
    to supersede it, if the peer can distinguish the two: then each comes up by its own IKE configuration. Nor with
    those of one that admits other peers."""
    users = {id for id, sibling in siblings.items() if sibling.name == config.name}
    others = {other for id in users for other in taken.newer.get(id, ())}
    others |= {id for id, newer in taken.newer.items() if not users.isdisjoint(newer)}
    together = (
        sibling
        for id, sibling in siblings.items()
        if id in users
        or (fallback.same_trust(sibling, config) and not (id in others and fallback.distinguishable(sibling, config)))
    )
    return ipsec_config.with_sibling_children(config, together)


def _reduced_configs(
    before: Tunnels,
    after: Tunnels,
    peers: Mapping[str, Mapping[str, IkeConfig]],
    leaving: LoadedChildren,
    unload: Container[str],
    known: Mapping[str, IkeConfig],
) -> tuple[IkeConfig, ...]:
    """The IKE connections that are not wanted any more, with the children that their IKE SAs may still carry.

    An IKE SA keeps its connection's children, also once the connection is unloaded, and lets the peer create them. It
    stays for the children of other connections or of a previous version, so it has to lose all that it had beside them.
    """
    users = _users_by_name(before)
    initiates = _initiating(before)
    reduced: list[IkeConfig] = []
    for name, held in leaving.items():
        if name not in users:
            continue
        config = next(config for config in configs(next(iter(users[name].values()))) if config.name == name)
        stay = _staying_children(name, users[name], after, peers.get(config.peer, {}))
        kept = tuple(stay[child] for child in sorted(stay.keys() & held))
        if len(kept) < len(held) and (kept or name not in unload):
            reduced.append(_as_loaded(msgspec.structs.replace(config, children=kept), initiates[name]))
    return (*reduced, *_outdated_configs(users, peers, leaving, known))


def _outdated_configs(
    users: Container[str],
    peers: Mapping[str, Mapping[str, IkeConfig]],
    leaving: LoadedChildren,
    known: Mapping[str, IkeConfig],
) -> tuple[IkeConfig, ...]:
    """The IKE connections of earlier versions and connections, with the children that are desired now.

    They stay loaded for what their IKE SAs carry, and their peer may use them for anything, because a responder takes
    the first IKE connection that matches.
    """
    outdated: list[IkeConfig] = []
    for name, held in leaving.items():
        config = known.get(name)
        if config is None or name in users:
            continue
        owners = {ipsec_config.owner_of(child) for child in held}
        siblings = peers.get(config.peer, {})
        usable = [
            each
            for id, each in siblings.items()
            if id in owners or (fallback.same_trust(each, config) and not fallback.distinguishable(each, config))
        ]
        bare = ipsec_config.with_sibling_children(_set(config, children=()), usable)
        children = frozenset(child.name for child in bare.children)
        if children & held and children != held:
            outdated.append(bare)
    return tuple(outdated)


def _users_by_name(tunnels: Tunnels) -> dict[str, dict[str, Tunnel]]:
    """The tunnels that use each IKE connection themselves, by its name and their uuid."""
    users: dict[str, dict[str, Tunnel]] = {}
    for id, tunnel in tunnels.items():
        for config in configs(tunnel):
            users.setdefault(config.name, {})[id] = tunnel
    return users


def _staying_children(
    name: str, users: Container[str], after: Tunnels, siblings: Mapping[str, IkeConfig]
) -> dict[str, ChildConfig]:
    """The children that IKE SAs of an unwanted IKE connection may carry, by name.

    Those of its users only while their previous version is up: their new version has an IKE connection of its own.
    """
    others = [config for id, config in siblings.items() if id not in users]
    running = [
        tunnel.previous.config
        for tunnel in after.values()
        if tunnel.previous and tunnel.previous.up and tunnel.previous.config.name == name
    ]
    return {child.name: child for config in (*others, *running) for child in config.children}


def _previous_configs(tunnels: Tunnels) -> dict[str, dict[str, IkeConfig]]:
    """The previous IKE connections that stay beside their successors, by name and uuid."""
    by_name: dict[str, dict[str, IkeConfig]] = {}
    for id, tunnel in tunnels.items():
        previous = tunnel.previous.config if tunnel.previous else None
        if not (tunnel.config and previous) or has_other_key(tunnel):
            continue  # charon has one key for two identities, and that is the new version's
        if fallback.distinguishable(tunnel.config, previous):
            by_name.setdefault(previous.name, {})[id] = previous
    return by_name


def _to_load(
    before: Tunnels,
    after: Tunnels,
    wanted: Mapping[str, IkeConfig],
    loaded: LoadedChildren,
    ours: Container[str],
) -> tuple[IkeConfig, ...]:
    """The configurations that charon lacks. IKEv1 is loaded without rekeying where no connection may initiate."""
    initiated, initiates = _initiating(before), _initiating(after)
    return tuple(
        _as_loaded(config, initiates[name])
        for name, config in wanted.items()
        if _differs(config, loaded.get(name), ours) or (config.version == 1 and initiated.get(name) != initiates[name])
    )


def _as_loaded(config: IkeConfig, initiates: bool) -> IkeConfig:
    return config if config.version == 2 or initiates else ipsec_config.without_rekey(config)


def _all_as_loaded(tunnels: Tunnels, wanted: Mapping[str, IkeConfig]) -> tuple[IkeConfig, ...]:
    initiates = _initiating(tunnels)
    return tuple(_as_loaded(config, initiates[name]) for name, config in wanted.items())


def _initiating(tunnels: Tunnels) -> dict[str, bool]:
    """By IKE connection: True if a connection that shares it may initiate.

    `initiator` is not part of the name's digest, so changing it keeps running SAs.
    """
    by_name: dict[str, bool] = {}
    for tunnel in tunnels.values():
        for config in configs(tunnel):
            by_name[config.name] = by_name.get(config.name, False) or tunnel.connection.initiator == "bi-directional"
    return by_name


def _differs(config: IkeConfig, held: frozenset[str] | None, ours: Container[str]) -> bool:
    """True if charon has to load a configuration. Children of unknown connections do not count."""
    children = {child.name for child in config.children}
    if held is None or not children <= held:
        return True
    return any(ipsec_config.owner_of(name) in ours for name in held - children)


def _outdated_keys(ids: Iterable[str], after: Tunnels, loaded: LoadedChildren) -> frozenset[str]:
    """The IKE connections that are loaded for the peers of these connections, which have, or may have, another key."""
    peers = {config.peer for id in ids for config in configs(after[id])}
    return frozenset(name for name in loaded if ipsec_config.peer_of(name) in peers)


def _rotated(tunnels: Tunnels) -> frozenset[str]:
    """The uuids of the connections that may have what another key than the loaded one has authenticated."""
    active = (id for id, each in tunnels.items() if key_rotation.is_active(each.key_rotation) or has_other_key(each))
    return frozenset(active)


# --- what is deleted and unloaded ---------------------------------------------------------------------------------


def _needed(
    children: frozenset[str],
    ours: frozenset[str],
    loaded: LoadedChildren,
    load: Iterable[IkeConfig],
    unload: Iterable[str],
) -> Needed:
    """What may be listed once these IKE connections are loaded and unloaded. Connections not `ours` are spared."""
    strangers = frozenset(map(ipsec_config.owner_of, frozenset().union(*loaded.values()))) - ours
    ike_connections = frozenset((*loaded, *(config.name for config in load))).difference(unload)
    return Needed(children, ike_connections, strangers)


def _child_names(configured: Iterable[IkeConfig]) -> frozenset[str]:
    """The names of the children of IKE connections and of their fallbacks."""
    names = frozenset(child.name for config in configured for child in config.children)
    return names | {fallback.fallback_name(name) for name in names}


def _edited_peers(before: Tunnels, after: Tunnels) -> set[str]:
    """The peers of connections that were edited or are gone.

    A child that was edited while its IKE connection stayed is no longer loaded, and may still be up.
    """
    return {
        old.config.peer
        for id, old in before.items()
        if old.config and (id not in after or after[id].config != old.config)
    }


def _to_inspect(
    peers: Container[str], loaded: LoadedChildren, ours: Container[str], stay: frozenset[str]
) -> tuple[str, ...]:
    return tuple(
        name
        for name, children in loaded.items()
        if ipsec_config.peer_of(name) in peers or _any_owned(children - stay, ours)
    )


def _any_owned(children: Iterable[str], ours: Container[str]) -> bool:
    return any(ipsec_config.owner_of(child) in ours for child in children)


def _leaving(in_use: Container[str], loaded: LoadedChildren, ours: Container[str]) -> LoadedChildren:
    """What is loaded of IKE connections that are not in use and have no children of unknown connections."""
    return {
        name: children
        for name, children in loaded.items()
        if name not in in_use and all(ipsec_config.owner_of(child) in ours for child in children)
    }


def _to_unload(in_use: Container[str], loaded: LoadedChildren, ours: Container[str]) -> tuple[str, ...]:
    return tuple(_leaving(in_use, loaded, ours))


def _fresh_and_kept(
    after: Tunnels, load: Collection[IkeConfig], loaded: LoadedChildren
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The uuids of the tunnels that `load` loads, and of those that charon holds already."""
    present = frozenset(child for children in loaded.values() for child in children)
    loading = {config.name for config in load}
    fresh: list[str] = []
    keep: list[str] = []
    for id, tunnel in after.items():
        if tunnel.config and not tunnel.applied:
            is_present = {child.name for child in tunnel.config.children} <= present
            (fresh if tunnel.config.name in loading and not is_present else keep).append(id)
    return tuple(fresh), tuple(keep)
