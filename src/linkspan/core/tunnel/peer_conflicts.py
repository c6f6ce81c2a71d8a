"""Conflicts that only a node can find: the name of a peer resolves to the address of another connection's peer. Pure.

Of two connections with the same ends and overlapping selectors the newer one supersedes the older one
(`core.ipsec.succession`), but not where the ends are the same only by what a name resolves to. charon would have two
children with the same selectors in one IKE connection. So of two such connections the one that is in use goes on, and
the other waits until that one is gone or the name has another address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from linkspan.core.addresses import canonical_host
from linkspan.core.ipsec.ends import Ends, ends_of
from linkspan.core.ipsec.selectors import selectors_overlap
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import peer_names


class PeerConflict(msgspec.Struct, frozen=True):
    """The part of a connection in a conflict. `held`: the other one is in use. `text`: the reason, in one sentence."""

    held: bool = False
    text: str = ""


NONE = PeerConflict()


def find(
    connections: Iterable[Connection], in_use: Callable[[Connection], bool], can_run: Callable[[Connection], bool]
) -> dict[str, PeerConflict]:
    """The conflicts between connections of one gateway, by uuid.

    `in_use`: true if charon has a connection with these ends; `can_run`: true if the node can run it at all.
    """
    enabled = [connection for connection in connections if connection.enabled]
    named = {ends_of(connection) for connection in enabled if connection.peer_name}
    groups: dict[Ends, list[Connection]] = {}
    for connection in enabled if named else ():
        if not peer_names.peer_name_of(connection) and (both := ends_of(connection)) in named:
            groups.setdefault(both, []).append(connection)
    conflicts: dict[str, PeerConflict] = {}
    for group in groups.values():
        # A restarted charon has none of them; then the one whose address needs no name server comes first.
        usable = filter(can_run, group)
        order = sorted(usable, key=lambda entry: (not in_use(entry), entry.peer_name != "", entry.id))
        conflicts |= _conflicts_within(order)
    return conflicts


def _conflicts_within(order: Iterable[Connection]) -> dict[str, PeerConflict]:
    """The conflicts between connections with the same ends; of two that overlap, the first is in use."""
    used: list[Connection] = []
    conflicts: dict[str, PeerConflict] = {}
    for connection in order:
        rival = next((entry for entry in used if _overlap(entry, connection)), None)
        if rival is None:
            used.append(connection)
            continue
        why = _resolution(connection, rival)
        held = f"the same peer and networks as connection {rival.id}, which is in use: {why}; delete one of them"
        runs = f"connection {connection.id} has the same peer and networks and is not in use: {why}; delete one of them"
        conflicts[connection.id] = PeerConflict(held=True, text=held)
        conflicts.setdefault(rival.id, PeerConflict(held=False, text=runs))
    return conflicts


def _overlap(one: Connection, other: Connection) -> bool:
    # Two of one service with the same name, or without any, are a succession instead (`core.ipsec.succession`).
    return canonical_host(one.peer_name) != canonical_host(other.peer_name) and selectors_overlap(one, other)


def _resolution(one: Connection, other: Connection) -> str:
    names = sorted({entry.peer_name for entry in (one, other)} - {""})
    return f"{' and '.join(names)} {'resolve' if len(names) > 1 else 'resolves'} to {one.peer_address}"
