"""The choice of the pre-shared key that each connection of a gateway uses, while some are rotated. Pure.

Connections that share a key (`core.ipsec.shared_keys`) change to the other one together. After a restart of the agent,
charon tells which one was in use: names of configurations differ with the key.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import shared_keys
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import key_rotation
from linkspan.core.tunnel.key_rotation import KeyRotation
from linkspan.core.tunnel.tunnel import Tunnels

_set = msgspec.structs.replace


class ChosenKey(msgspec.Struct, frozen=True):
    """A connection with the key that is loaded for it, and the rotation of that key."""

    connection: Connection
    rotation: KeyRotation


def choose(
    connections: Mapping[str, Connection], tunnels: Tunnels, adopted: Container[str], loaded: Container[str]
) -> dict[str, ChosenKey]:
    """The connections of a gateway, by uuid, with their keys. Disabled and faulty ones load none.

    `adopted`: the names of the children that charon carried when the agent started. `loaded`: the names of the IKE
    connections that it holds.
    """
    keyed = shared_keys.with_keys_in_use(connections)
    used = shared_keys.in_use(shared_keys.loaded(connections))
    groups: dict[str, dict[str, Connection]] = {}
    chosen: dict[str, ChosenKey] = {}
    for id, connection in keyed.items():
        chosen[id] = ChosenKey(connection, KeyRotation())
        if connection.id in used:
            groups.setdefault(used[connection.id].id, {})[id] = connection
    for group in groups.values():
        rotations = _rotations(group, tunnels, adopted, loaded)
        chosen |= {id: _chosen(connection, rotations[id]) for id, connection in group.items()}
    return chosen


def _rotations(
    group: Mapping[str, Connection], tunnels: Tunnels, adopted: Container[str], loaded: Container[str]
) -> dict[str, KeyRotation]:
    """The rotations of connections that share a key, by uuid."""
    keys = {id: _keys_of(connection) for id, connection in group.items()}
    before = {id: tunnels[id].key_rotation for id in group if id in tunnels}
    going_on = {id: old for id, old in before.items() if key_rotation.same_keys(old, keys[id])}
    if going_on:
        return _continued(going_on, keys)
    return _begun(keys, not before and _ran(group.values(), adopted, loaded))


def _continued(before: Mapping[str, KeyRotation], keys: Mapping[str, KeyRotation]) -> dict[str, KeyRotation]:
    """All of them use the key that one of them does, or all change to the other one, until the peer has shown to one
    of them that it has the new key."""
    if any(old.is_over for old in before.values()):
        over = {id: _set(each, is_over=bool(each.previous)) for id, each in keys.items()}
        return over | {id: old for id, old in before.items() if old.is_over}
    due = next((old for old in before.values() if old.is_due), None)
    if due:
        turned = {id: key_rotation.turned(old) for id, old in before.items()}
        return _begun(keys, not due.uses_previous) | turned
    uses_previous = next(iter(before.values())).uses_previous
    return _begun(keys, uses_previous) | {id: old for id, old in before.items() if old.uses_previous == uses_previous}


def _begun(keys: Mapping[str, KeyRotation], uses_previous: bool) -> dict[str, KeyRotation]:
    return {id: _set(each, uses_previous=uses_previous and bool(each.previous)) for id, each in keys.items()}


def _keys_of(connection: Connection) -> KeyRotation:
    previous = connection.previous_psk
    return KeyRotation(connection.psk_ref, previous.ref if previous else "")


def _chosen(connection: Connection, rotation: KeyRotation) -> ChosenKey:
    if rotation.uses_previous:
        connection = _with_previous(connection)
    return ChosenKey(connection, rotation)


def _with_previous(connection: Connection) -> Connection:
    previous = connection.previous_psk
    assert previous
    return _set(connection, psk=previous.key, psk_ref=previous.ref)


def _ran(group: Iterable[Connection], adopted: Container[str], loaded: Container[str]) -> bool:
    """True if an earlier run of the agent has left the previous key in use, or alone."""
    rotated = [each for each in group if each.previous_psk]
    new = [ipsec_config.build(each) for each in rotated]
    old = [ipsec_config.build(_with_previous(each)) for each in rotated]
    if _is_among(new, adopted) or _is_among(old, adopted):
        return not _is_among(new, adopted)
    return any(each.name in loaded for each in old) and not any(each.name in loaded for each in new)


def _is_among(configs: Iterable[IkeConfig], adopted: Container[str]) -> bool:
    wholes = (ipsec_config.with_pair_children(config, ipsec_config.MAX_CHILDREN) for config in configs)
    return any(child.name in adopted for config in wholes for child in config.children)
