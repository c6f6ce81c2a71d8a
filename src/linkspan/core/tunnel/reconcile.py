"""(desired, what charon holds) -> what to load, end and unload.

Names carry digests of what charon was told (`core.ipsec.config`), so comparing names compares configurations. A
connection that runs but is neither desired nor named gone stays: absence never deletes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.state.desired import Connection
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import fallback, peer_names, tunnel
from linkspan.core.tunnel.actions import Action, DeleteChildSa, DeleteIkeSa
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel

LoadedChildren = Mapping[str, frozenset[str]]
"""What charon holds: names of IKE connections, and of their children."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`lives` are the connections after it, `fresh` and `keep` are uuids.

    In this order: `inspect` the SAs of these IKE connections, and end every child of ours that does not `stay`; `load`
    these, in place where the name is there; `unload` these. `fresh` connections are loaded by it, `keep` were there
    already and only have to be looked at.
    """

    lives: dict[str, Tunnel]
    ours: frozenset[str]
    stay: frozenset[str]
    inspect: tuple[str, ...]
    load: tuple[IkeConfig, ...]
    unload: tuple[str, ...]
    fresh: tuple[str, ...]
    keep: tuple[str, ...]


def tunnel_for(connection: Connection, backend: Backend) -> Tunnel:
    """A connection as its gateway will run it: without a configuration where it is disabled, impossible, or
    its peer's name has no address."""
    if not connection.enabled:
        return tunnel.new(connection, None, "")
    error = ipsec_config.unsupported(connection, backend)
    config = None if error or peer_names.peer_name_of(connection) else ipsec_config.build(connection)
    return tunnel.new(connection, config, error, can_trap=backend == "kernel")


def reconcile(
    lives: Mapping[str, Tunnel],
    desired: Mapping[str, Connection],
    gone: Iterable[str],
    loaded: LoadedChildren,
    backend: Backend,
) -> Plan:
    """What makes charon hold exactly the desired connections, touching none that is as desired."""
    after = {id: _after(lives.get(id), connection, backend) for id, connection in desired.items()}
    wanted = _wanted(after)
    ours = frozenset(after) | frozenset(gone)
    present = frozenset(child for children in loaded.values() for child in children)
    running = [one.previous.config for one in after.values() if one.previous and one.previous.up]
    loose = frozenset(child.name for config in (*wanted.values(), *running) for child in config.children)
    stay = loose | {fallback.fallback_name(name) for name in loose}
    # A child that was edited while its IKE connection stayed is loaded no more, and may still be up.
    moved = {
        old.config.peer
        for id, old in lives.items()
        if old.config and (id not in after or after[id].config != old.config)
    }
    in_use = wanted.keys() | {config.name for config in running}
    began, begin = _begin(lives), _begin(after)
    load = tuple(
        config if config.version == 2 or begin[name] else ipsec_config.without_rekey(config)
        for name, config in wanted.items()
        if _differs(config, loaded.get(name), ours) or (config.version == 1 and began.get(name) != begin[name])
    )
    told = {config.name for config in load}
    fresh: list[str] = []
    keep: list[str] = []
    for id, one in after.items():
        if one.config and not one.applied:
            new = one.config.name in told and not {child.name for child in one.config.children} <= present
            (fresh if new else keep).append(id)
    return Plan(
        lives=after,
        ours=ours,
        stay=stay,
        inspect=tuple(
            name
            for name, children in loaded.items()
            if ipsec_config.peer_of(name) in moved
            or any(ipsec_config.owner_of(child) in ours for child in children - stay)
        ),
        load=load,
        unload=tuple(
            name
            for name, children in loaded.items()
            if name not in in_use and all(ipsec_config.owner_of(child) in ours for child in children)
        ),
        fresh=tuple(fresh),
        keep=tuple(keep),
    )


def deletions(sas: Iterable[IkeSa], plan: Plan) -> tuple[Action, ...]:
    """How the SAs of our children that do not stay end: with their IKE SA, unless it carries others.

    An IKE SA without a child goes with its IKE connection: a half-open one would go on with the old key for ever, and
    charon would queue the new children in it.
    """
    actions: list[Action] = []
    for sa in sas:
        ending = [
            child
            for child in sa.children
            if child.name not in plan.stay and ipsec_config.owner_of(child.name) in plan.ours
        ]
        if len(ending) == len(sa.children) and (ending or sa.name in plan.unload):
            actions.append(DeleteIkeSa(sa.unique_id))
        else:
            actions += [DeleteChildSa(child.unique_id) for child in ending]
    return tuple(actions)


def _after(old: Tunnel | None, connection: Connection, backend: Backend) -> Tunnel:
    if old is None:
        return tunnel_for(connection, backend)
    if old.connection is connection:
        return old
    new = tunnel_for(connection, backend)
    if old.config and old.config == new.config:
        return tunnel.refreshed(old, connection)
    return tunnel.replaced(old, new)


def _wanted(lives: Mapping[str, Tunnel]) -> dict[str, IkeConfig]:
    """The IKE connections, each with the children of all connections to its peer.

    The one of a version before stays for its own children, not for those of its successor.
    """
    peers: dict[str, dict[str, IkeConfig]] = {}
    before: list[tuple[str, IkeConfig]] = []
    for id, one in lives.items():
        if one.config:
            old = one.previous.config if one.previous else None
            peers.setdefault(one.config.peer, {})[id] = fallback.with_fallback(one.config, old)
            if old and fallback.distinguishable(one.config, old):
                before.append((id, old))
    found = {
        config.name: config if len(siblings) == 1 else ipsec_config.with_sibling_children(config, siblings.values())
        for siblings in peers.values()
        for config in siblings.values()
    }
    instead: dict[str, dict[str, IkeConfig]] = {}
    for id, old in before:
        instead.setdefault(old.name, {})[id] = old
    for name, olds in instead.items():
        bare = msgspec.structs.replace(next(iter(olds.values())), children=())
        found[name] = ipsec_config.with_sibling_children(bare, (peers.get(bare.peer, {}) | olds).values())
    return found


def _begin(lives: Mapping[str, Tunnel]) -> dict[str, bool]:
    """By IKE connection, whether one of those that share it may begin an IKE SA. No name tells: an edit of that keeps
    what is up."""
    found: dict[str, bool] = {}
    for one in lives.values():
        for config in tunnel.configs(one):
            found[config.name] = found.get(config.name, False) or one.connection.initiator == "bi-directional"
    return found


def _differs(config: IkeConfig, holds: frozenset[str] | None, ours: Container[str]) -> bool:
    """Whether charon has to be told; children of connections that nobody spoke of are none of our affair."""
    names = {child.name for child in config.children}
    return holds is None or not names <= holds or any(ipsec_config.owner_of(name) in ours for name in holds - names)
