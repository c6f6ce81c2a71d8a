"""Connections of one gateway for which charon can hold only one pre-shared key, and the key that it holds. Pure.

charon selects a key by the two identities, and in IKEv1 main mode by the addresses, because the identities arrive
encrypted (RFC 2409 5.4). So connections that agree in these share a key: the one that was written last. While a key is
rotated, by one edit after another, the connections that still have an earlier key use it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from linkspan.core.ipsec import ends
from linkspan.core.state.desired import Connection


def share(one: Connection, other: Connection) -> bool:
    """True if charon cannot hold a key for each of two connections of one gateway."""
    if one.fault or other.fault:
        return False
    return not _finds(one).isdisjoint(_finds(other))


def in_use(connections: Iterable[Connection]) -> dict[str, Connection]:
    """By the uuid of each connection: the one whose key is in use for it, itself included."""
    groups: dict[tuple[str, ...], list[Connection]] = {}
    members: dict[str, list[Connection]] = {}
    for connection in connections:
        merged = {id(group): group for found in _finds(connection) if (group := groups.get(found))}
        together = [*(member for group in merged.values() for member in group), connection]
        for member in together:
            members[member.id] = together
            groups.update(dict.fromkeys(_finds(member), together))
    return {uuid: max(group, key=lambda member: (member.psk_written_at, member.id)) for uuid, group in members.items()}


def with_keys_in_use(connections: Mapping[str, Connection]) -> dict[str, Connection]:
    """The connections of a gateway, by uuid, each with the key in use for it. Disabled and faulty ones load no key."""
    used = in_use(loaded(connections))
    return {uuid: _with_key(connection, used.get(uuid, connection)) for uuid, connection in connections.items()}


def loaded(connections: Mapping[str, Connection]) -> list[Connection]:
    """The connections of a gateway that load a key."""
    return [connection for connection in connections.values() if connection.enabled and not connection.fault]


def _with_key(connection: Connection, used: Connection) -> Connection:
    # Keys with the same reference are equal, and so are keys of two projects that a node compares by value.
    if connection.psk != used.psk:
        connection = msgspec.structs.replace(connection, psk=used.psk, psk_ref=used.psk_ref, psk_from=used.id)
    if connection.previous_psk == used.previous_psk:
        return connection
    return msgspec.structs.replace(connection, previous_psk=used.previous_psk)


def _finds(connection: Connection) -> frozenset[tuple[str, ...]]:
    """What charon may find the connection's key by."""
    if connection.auth_mode != "psk":
        return frozenset()
    both = ends.ends_of(connection)
    found = {("identities", *both.identities)}
    if connection.ike.ike_version == "v1" and connection.ike.phase1_negotiation_mode == "main":
        found.add(("addresses", *both.addresses))
    return frozenset(found)
