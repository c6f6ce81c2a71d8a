"""The takeover of connections by their successors: which pairs have moved, and what goes on until they have. Pure.

A connection that a newer one supersedes (`core.ipsec.succession`) goes on until the newer one carries its pairs. charon
cannot hold two keys for the same ends: with another key the older connection is not loaded any more, and only keeps the
SAs that it has. What has moved stays moved, whether the newer tunnel is up or not, until the newer connection is
deleted or disabled.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Set

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import selectors, shared_keys, succession
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.ipsec.selectors import SelectorPair, named_pairs
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import fallback, spares
from linkspan.core.tunnel.duplicate_sas import is_lower
from linkspan.core.tunnel.tunnel import Tunnels, running_children

OVERLAP = (1.0, 2.5)
"""Seconds for which a connection goes on once its successor is up here, at the end with the lower address and at the
other one. The end that has initiated the successor has it as soon as the response arrives, and the response may have to
be sent again. If both ends are replaced, what one has for its older connection may be the other's successor: the two do
not end such SAs at the same time."""
SETTLED = (10.0, 15.0)
"""Seconds after a takeover, at the same ends, from which on a redundant SA is deleted: by then the other end has ended
what belongs to its older connection."""

_set = msgspec.structs.replace


class Takeover(msgspec.Struct, frozen=True):
    """`connections`: the desired ones, without the pairs that have moved. `keeping`: uuids of those that only keep the
    SAs that they have. `newer`: by uuid of a connection that goes on, those of the connections in charge of its traffic
    that are loaded beside it. `joining`: by uuid of a successor, an IKE connection whose IKE SA may have its children.
    `awaited`: uuids of the tunnels whose next change may let pairs move."""

    connections: dict[str, Connection]
    keeping: frozenset[str] = frozenset()
    newer: Mapping[str, frozenset[str]] = {}
    joining: Mapping[str, str] = {}
    awaited: frozenset[str] = frozenset()


class Seen(msgspec.Struct, frozen=True):
    """Observations of the agent. `adopted`: the names of the children that charon had when the agent started.
    `unsettled`: uuids of tunnels that have come up so recently that the peer may not use them yet. `configs`: the IKE
    connections that the agent has loaded, by name."""

    adopted: frozenset[str] = frozenset()
    unsettled: frozenset[str] = frozenset()
    configs: Mapping[str, IkeConfig] = {}


class Situation(msgspec.Struct, frozen=True):
    """What a takeover depends on. `can_run`: true if the node can run a connection."""

    tunnels: Tunnels
    seen: Seen = Seen()
    can_run: Callable[[Connection], bool] = lambda _connection: True


class _Share(msgspec.Struct, frozen=True):
    """The part of one connection in successions. `pending`: pairs that newer connections wait for, with their uuids;
    `taken`: those that have moved. `keeping`: it only keeps the SAs that it has."""

    pending: Mapping[SelectorPair, str]
    taken: Set[SelectorPair]
    keeping: bool = False


def resolve(desired: Mapping[str, Connection], situation: Situation) -> Takeover:
    """The connections as the successions between them let them be."""
    moved = _moved(desired, situation)
    shares = {id: _share(desired[id], pairs, desired, situation) for id, pairs in moved.items()}
    connections = {id: succession.with_pairs_taken(connection, (), "") for id, connection in desired.items()}
    for id, share in shares.items():
        note = _note(desired[id], {pair: desired[new] for pair, new in moved[id].items()}, share.taken)
        connections[id] = succession.with_pairs_taken(desired[id], share.taken, note)
    waiting = _waiting(shares)
    for new, older in waiting.items():
        connections[new] = _with_note(connections[new], _goes_on(older, desired))
    return Takeover(
        connections,
        keeping=frozenset(id for id, share in shares.items() if share.keeping),
        newer=_newer(waiting, desired),
        joining={new: _shared_ike(older, desired[new], desired, situation) for new, older in waiting.items()},
        awaited=frozenset(waiting).union(*waiting.values()),
    )


def overlap(connection: Connection, tunnels: Tunnels) -> float:
    """The seconds for which others go on once this connection is up.

    SAs of another key are the older connection's at both ends, which then end them together: what stays of it can be
    negotiated anew only when both have the newer key.
    """
    line = succession.line(connection)
    has_other_key = any(each.keeping and succession.line(each.connection) == line for each in tunnels.values())
    return OVERLAP[not has_other_key and not is_lower(connection.local_address, connection.peer_address)]


def settled(connection: Connection) -> float:
    """The seconds after a takeover from which on a redundant SA of this connection is deleted."""
    return SETTLED[not is_lower(connection.local_address, connection.peer_address)]


def _moved(desired: Mapping[str, Connection], situation: Situation) -> succession.Successors:
    """The successions between connections that the node can run, or runs."""
    moved = succession.successors(desired.values())
    if not moved:
        return moved
    return succession.successors(each for each in desired.values() if not _is_unable(each, situation))


def _share(
    connection: Connection, pairs: Mapping[SelectorPair, str], desired: Mapping[str, Connection], situation: Situation
) -> _Share:
    """The part of a connection. `pairs`: those that belong to newer ones, with their uuids."""
    is_up = _is_up(connection, situation)
    unsettled = situation.seen.unsettled if is_up else ()
    present = {pair: new for pair, new in pairs.items() if _has(connection, pair, situation)}
    pending = {pair: new for pair, new in present.items() if new in unsettled or not _carries(new, pair, situation)}
    if not any(_clash(connection, desired[new]) for new in {*pending.values()}):
        return _Share(pending, pairs.keys() - pending.keys())
    if not is_up:
        return _Share({}, pairs.keys())
    # It cannot make new SAs for a part of its pairs either.
    return _Share(pending, pairs.keys() - present.keys(), keeping=True)


def _waiting(shares: Mapping[str, _Share]) -> dict[str, set[str]]:
    """By uuid of a successor: the connections that go on until it is up."""
    waiting: dict[str, set[str]] = {}
    for id, share in shares.items():
        for successor in share.pending.values():
            waiting.setdefault(successor, set()).add(id)
    return waiting


def _is_unable(connection: Connection, situation: Situation) -> bool:
    """True for a connection that the node cannot run, and of which nothing runs either."""
    tunnel = situation.tunnels.get(connection.id)
    return not (tunnel and running_children(tunnel)) and not situation.can_run(connection)


def _has(connection: Connection, pair: SelectorPair, situation: Situation) -> bool:
    """True if a pair has not moved yet: its connection has it still, or had it when the agent started."""
    tunnel = situation.tunnels.get(connection.id)
    if tunnel is None:
        return any(pair in ipsec_config.pairs_of(part) for part in _adopted_parts(connection, situation))
    is_same = succession.line(tunnel.connection) == succession.line(connection)
    return is_same and tunnel.config is not None and pair in selectors.pairs(tunnel.connection)


def _adopted_parts(connection: Connection, situation: Situation) -> Iterable[IkeConfig]:
    """The parts of a connection's configuration that charon had when the agent started."""
    if not any(ipsec_config.owner_of(name) == connection.id for name in situation.seen.adopted):
        return
    config = ipsec_config.build(connection)
    for child in ipsec_config.with_pair_children(config, ipsec_config.MAX_CHILDREN).children:
        if child.name in situation.seen.adopted:
            yield _set(config, children=(child,))


def _carries(id: str, pair: SelectorPair, situation: Situation) -> bool:
    """True if a successor's own tunnel carries a pair."""
    tunnel = situation.tunnels.get(id)
    if tunnel is None or not tunnel.config:
        return False
    missing = {part.pair for part in tunnel.missing} if tunnel.up else frozenset[SelectorPair]()
    return any(succession.covers(own, pair) for own in spares.carried(tunnel).keys() - missing)


def _is_up(connection: Connection, situation: Situation) -> bool:
    tunnel = situation.tunnels.get(connection.id)
    if tunnel is None:
        return any(True for _ in _adopted_parts(connection, situation))
    return bool(running_children(tunnel))


def _clash(older: Connection, newer: Connection) -> bool:
    """True if charon cannot hold the keys of both connections."""
    return shared_keys.share(older, newer) and older.psk != newer.psk


def _shared_ike(
    older: Iterable[str], newer: Connection, desired: Mapping[str, Connection], situation: Situation
) -> str:
    """An IKE connection of these connections in whose IKE SA a newer one's children may be; empty if there is none.

    In IKEv1 a response-only end does not even rekey.
    """
    own = ipsec_config.build(newer)
    if own.version == 1:
        return ""
    for connection in (desired[id] for id in sorted(older)):
        config = ipsec_config.build(connection)
        is_apart = fallback.distinguishable(own, config) or config.peer != own.peer or _clash(connection, newer)
        if not is_apart and _is_up(connection, situation):
            return config.name
    return ""


def _newer(waiting: Mapping[str, set[str]], desired: Mapping[str, Connection]) -> dict[str, frozenset[str]]:
    older = {id for ids in waiting.values() for id in ids}
    involved = [desired[id] for id in older | waiting.keys()]
    return {id: frozenset(other.id for other in involved if _precedes(other, desired[id])) for id in older}


def _precedes(newer: Connection, older: Connection) -> bool:
    is_newer = succession.line(newer) == succession.line(older) and succession.age(newer) > succession.age(older)
    return is_newer and selectors.selectors_overlap(newer, older)


def _note(connection: Connection, successors: Mapping[SelectorPair, Connection], taken: Container[SelectorPair]) -> str:
    """The sentences of an older connection about what newer ones carry, or will carry once they are up."""
    total = len(named_pairs(connection)) if successors else 0
    sentences: list[str] = []
    for newer in {entry.id: entry for entry in successors.values()}.values():
        own = [pair for pair, entry in successors.items() if entry.id == newer.id]
        done = sum(pair in taken for pair in own)
        if done:
            sentences.append(f"{_part(done, total)}superseded by {succession.title(newer)}")
        if done < len(own):
            left = _part(len(own) - done, total)
            sentences.append(f"{left}will be superseded by {succession.title(newer)} once that is up")
    return "; ".join(sentences)


def _part(count: int, total: int) -> str:
    return "" if count == total else f"{count} of {total} pairs of networks "


def _with_note(connection: Connection, note: str) -> Connection:
    text = f"{connection.succession}; {note}" if connection.succession else note
    return _set(connection, succession=text)


def _goes_on(older: Iterable[str], desired: Mapping[str, Connection]) -> str:
    """The sentence of a successor that is not up yet."""
    names = ", ".join(succession.title(desired[id]) for id in sorted(older))
    return f"until it is up, {names} goes on"
