"""The gateways that a transaction touches, as their nodes would see them before it and after it.

Read only as far as a change can matter: the connections that it touches, and those with the same peers, which share
keys and traffic with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import select

from linkspan.core.checks.cross_resource import similar_connections
from linkspan.core.foresight.effects import GatewayState, Running
from linkspan.core.state.desired import Connection
from linkspan.core.state.observed import Capabilities
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import GATEWAY, NODE, OBSERVED
from linkspan.store.nodes import connection_state, gateway_state
from linkspan.store.transaction import Transaction

MOST: Final = 100
"""The most connections that are looked at for one request."""
_NOWHERE: Final = Running(has_node=False, up=frozenset(), backend="kernel")
"""What is assumed of a gateway without a node."""


class Touched(NamedTuple):
    """The connections and whole gateways that a request touches, by their ids."""

    connections: frozenset[str]
    gateways: frozenset[str]


class TouchedGateway(NamedTuple):
    """A gateway before and after a request. `touched`: the ids of its connections that the request touches."""

    before: GatewayState
    after: GatewayState
    running: Running
    touched: frozenset[str]


class Moment(NamedTuple):
    """All touched gateways at one time, by router id. `touched`: the ids of touched connections; `running`: what runs
    on each; `left_out`: how many touched connections are too many."""

    states: dict[str, GatewayState]
    touched: frozenset[str]
    running: dict[str, Running]
    left_out: int


def touched_by(tx: Transaction, more: Iterable[str] = ()) -> Touched:
    """What a transaction has touched so far. `more`: ids of connections that count as touched too."""
    kinds: dict[str, set[str]] = {"connection": {*more}, "gateway": set()}
    for kind, id in tx.touched:
        kinds[kind].add(id)
    return Touched(frozenset(kinds["connection"]), frozenset(kinds["gateway"]))


def read(tx: Transaction, touched: Touched) -> Moment:
    """The touched gateways as they are now in this transaction."""
    peers = {router: connection_state.connections_of_router(tx, router).peers for router in _some(touched.gateways)}
    all_ids = touched.connections.union(peer.id for entries in peers.values() for peer in entries)
    ids = _some(all_ids)
    own = {connection.id: connection for connection in connection_state.live_connections(tx, ids)}
    routers = {*peers, *(connection.gateway_id for connection in own.values())}
    for router in sorted(routers - peers.keys()):
        peers[router] = connection_state.connections_of_router(tx, router).peers
    similar = {id for entries in peers.values() for id in similar_connections(entries, ids)}
    known = [*own.values(), *connection_state.live_connections(tx, similar - own.keys())]
    gateways = gateway_state.live_gateways(tx, routers)
    return Moment(
        {router: GatewayState(gateways.get(router), _of(router, known)) for router in sorted(routers)},
        frozenset(ids),
        _running(tx, routers, [connection.id for connection in known]),
        len(all_ids) - len(ids),
    )


def between(before: Moment, after: Moment) -> dict[str, TouchedGateway]:
    """The touched gateways, by router id."""
    none = GatewayState(None, {})
    touched = before.touched | after.touched
    found: dict[str, TouchedGateway] = {}
    for router in sorted(before.states.keys() | after.states.keys()):
        old, new = before.states.get(router, none), after.states.get(router, none)
        # What is similar at one time only is the same at both, unless it is touched.
        beside = {
            id: connection for id, connection in {**old.connections, **new.connections}.items() if id not in touched
        }
        node = after.running.get(router) or before.running.get(router, _NOWHERE)
        up = before.running.get(router, _NOWHERE).up
        found[router] = TouchedGateway(
            GatewayState(old.gateway, {**old.connections, **beside}),
            GatewayState(new.gateway, {**new.connections, **beside}),
            msgspec.structs.replace(node, up=up),
            touched,
        )
    return found


def _some(ids: Iterable[str]) -> list[str]:
    return sorted(ids)[:MOST]


def _of(router: str, connections: Iterable[Connection]) -> Mapping[str, Connection]:
    return {connection.id: connection for connection in connections if connection.gateway_id == router}


@statement
def _nodes(count: int) -> Statement:
    columns = GATEWAY.c.router_id, NODE.c.id, NODE.c.backend, NODE.c.capabilities, NODE.c.lease_until
    query = select(*columns).join(NODE, NODE.c.id == GATEWAY.c.node_id)
    return Statement(query.where(in_slots(GATEWAY.c.router_id, "id", count), GATEWAY.c.deleted_at.is_(None)))


@statement
def _up(count: int) -> Statement:
    query = select(OBSERVED.c.object_id, OBSERVED.c.node_id)
    query = query.where(OBSERVED.c.kind == "connection", OBSERVED.c.state == "up")
    return Statement(query.where(in_slots(OBSERVED.c.object_id, "id", count)))


def _running(tx: Transaction, routers: Iterable[str], connections: Iterable[str]) -> dict[str, Running]:
    up: set[tuple[str, str]] = set()
    for some in chunks(sorted(connections)):
        up.update(tx.rows(_up(slot_count(some)), **fill_slots("id", some)))
    found: dict[str, Running] = {}
    for some in chunks(sorted(routers)):
        for router, node, backend, capabilities, lease in tx.rows(_nodes(slot_count(some)), **fill_slots("id", some)):
            ids = frozenset(id for id, reporter in up if reporter == node and lease >= tx.now)
            found[router] = Running(True, ids, _backend(backend), _capabilities(capabilities))
    return found


def _backend(text: str) -> Any:
    """The backend of a node; one that has never been there has none yet."""
    return text or "kernel"


def _capabilities(text: str | None) -> Capabilities | None:
    return msgspec.json.decode(text, type=Capabilities) if text else None
