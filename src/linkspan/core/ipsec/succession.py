"""Connections of one service for the same two ends with overlapping selectors: the newest is in charge. Pure.

So a client can create a connection's replacement before it deletes the connection. A pair of selectors belongs to the
newest enabled connection that covers it. One that is wider than a newer connection's stays, because charon prefers the
more specific one anyway. An edit changes nothing in that order.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from linkspan.core.addresses import canonical_host, contains
from linkspan.core.ipsec import ends
from linkspan.core.ipsec.selectors import SelectorPair, named_pairs, selectors_overlap
from linkspan.core.state.desired import Connection

Successors = Mapping[str, Mapping[SelectorPair, str]]
"""By uuid: the pairs that belong to newer connections, each with the uuid of the newest one."""
Line = tuple[object, ...]
"""Key that connections share which can supersede each other: their service and both ends."""


def age(connection: Connection) -> tuple[float, str]:
    """The place of a connection in the order of creation, equal times ordered by uuid."""
    return connection.created_at, connection.id


def successors(connections: Iterable[Connection]) -> dict[str, dict[SelectorPair, str]]:
    """The connections of a gateway that newer ones supersede, entirely or in part.

    Disabled and faulty ones do not count.
    """
    lines: dict[Line, list[Connection]] = {}
    for connection in connections:
        if connection.enabled and not connection.fault:
            lines.setdefault(line(connection), []).append(connection)
    found: dict[str, dict[SelectorPair, str]] = {}
    for members in lines.values():
        order = sorted(members, key=age, reverse=True)
        for position, connection in enumerate(order):
            newer = [other for other in order[:position] if selectors_overlap(connection, other)]
            if moved := _moved(connection, newer):
                found[connection.id] = moved
    return found


def wholly_superseded(connections: Iterable[Connection]) -> frozenset[str]:
    """The uuids of the connections of a gateway all of whose pairs belong to newer ones."""
    by_id = {connection.id: connection for connection in connections}
    moved = successors(by_id.values())
    return frozenset(id for id, pairs in moved.items() if pairs.keys() == named_pairs(by_id[id]))


def covers(wide: SelectorPair, narrow: SelectorPair) -> bool:
    """True if every packet of the second pair matches the first."""
    sides = ((wide.local, narrow.local), (wide.remote, narrow.remote))
    return all(contains(ipaddress.ip_network(left), ipaddress.ip_network(right)) for left, right in sides)


def title(connection: Connection) -> str:
    """A connection in a sentence for its user."""
    return f"{connection.name} ({connection.id})" if connection.name else f"connection {connection.id}"


def supersedes(connection: Connection, others: Iterable[Connection]) -> str:
    """Sentence about what a new connection takes over from older ones; empty if it takes nothing."""
    entries = {other.id: other for other in (*others, connection)}
    moved = successors(entries.values())
    parts: list[str] = []
    for other in sorted(entries.values(), key=age):
        taken = [pair for pair, successor in moved.get(other.id, {}).items() if successor == connection.id]
        if taken:
            count, all_pairs = len(taken), len(named_pairs(other))
            share = "" if count == all_pairs else f" for {count} of {all_pairs} pairs of networks"
            parts.append(f"{title(other)}{share}")
    return f"supersedes {', '.join(parts)} once it is up" if parts else ""


def with_pairs_taken(connection: Connection, taken: Iterable[SelectorPair], note: str) -> Connection:
    """A connection without the pairs that newer ones have taken. Without any pair left it is disabled."""
    pairs = frozenset(taken)
    superseded = tuple(sorted((pair.local, pair.remote) for pair in pairs))
    if (superseded, note) == (connection.superseded, connection.succession):
        return connection
    changed = msgspec.structs.replace(connection, superseded=superseded, succession=note)
    if pairs and pairs == named_pairs(connection):
        return msgspec.structs.replace(changed, enabled=False, admin_reason=note)
    return changed


def line(connection: Connection) -> Line:
    """The line of a connection. Of a peer with a DNS name it has the name, whatever its address is."""
    identities = ends.ends_of(connection).identities
    peer = canonical_host(connection.peer_name or connection.peer_address)
    return connection.service_id, identities, canonical_host(connection.local_address), peer


def _moved(connection: Connection, newer: Iterable[Connection]) -> dict[SelectorPair, str]:
    moved: dict[SelectorPair, str] = {}
    own = sorted(named_pairs(connection))
    for other in newer:
        theirs = named_pairs(other)
        for pair in own:
            if pair not in moved and (pair in theirs or any(covers(wide, pair) for wide in theirs)):
                moved[pair] = other.id
    return moved
