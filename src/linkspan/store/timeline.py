"""The timeline in the database: queued with what happens, put into order soon after it.

An event is queued in the transaction of what it tells, so there is none without the other: one row, however many
connections it happened to. It gets its place later, as entries of the audit trail do: one transaction that holds the
row of the head numbers what was committed since, and writes a row for each connection. So numbers become visible in
their order, and whoever reads on after a number misses nothing (docs/adr/0031, 0036).

A number is about the microseconds since 1970 at which it was given: a time is a range of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, cast, delete, exists, func, insert, literal, select, true, update
from sqlalchemy.dialects import postgresql

from linkspan.core import printable
from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state.observed import LONGEST_REASON
from linkspan.core.state.timeline import NODE_KINDS, Edit, EventKind, NodeEvent, TimelineEvent
from linkspan.store.audit import LONGEST, Actor
from linkspan.store.database.statements import (
    Statement,
    encode_json,
    in_json,
    in_slots,
    json_elements,
    json_row,
    json_rows,
    json_texts,
    statement,
)
from linkspan.store.database.tables import GATEWAY, NODE, TABLES, TIMELINE, TIMELINE_HEAD, TIMELINE_QUEUE
from linkspan.store.transaction import Transaction, new_ordered_id

BATCH: Final = 500
"""Events that one transaction puts into order, and those of the last write among them."""
REMOVED: Final = 1000
"""Events that one transaction removes because of their age."""
SCANNED: Final = 5000
"""Events that one page looks at, of which a filter may select few."""
SLACK: Final = 10
"""A connection that has as many events as it may loses every tenth part of them at once."""
GROWN: Final = 8
"""Events after which a connection has grown."""
NEWEST: Final = 2**63 - 1
"""A number that no event has: before it is everything."""

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]
_queue = TIMELINE_QUEUE


class Known(msgspec.Struct, frozen=True):
    """A connection as the events of a transaction name it."""

    id: str
    project_id: str
    name: str


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """An event to queue: of a connection that is `known`, or of the connections with these `ids` and those of the
    gateways of `routers`. `node_id`: of the node to name; `revision`: an `Edit` as JSON."""

    kind: EventKind
    at: float
    key: str = msgspec.field(default_factory=new_ordered_id)
    reason: str = ""
    node_id: str = ""
    revision: str | None = None
    known: Known | None = None
    ids: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()


# --- queueing -----------------------------------------------------------------------------------------------------


def revised(
    tx: Transaction,
    actor: Actor,
    action: str,
    resource: str,
    object_id: str,
    fields: Iterable[str],
    *,
    own: tuple[str, str] | None = None,
) -> None:
    """Has the revision of an object queued at the end of the transaction: for the connection that it is, whose project
    and name are `own`, or for every connection that its change has stamped so far, itself or its gateway."""
    if own is None and not tx.touched:
        return
    edit = Edit(
        action=action,
        resource=resource,
        object_id=object_id,
        fields=tuple(sorted(set(fields))),
        user_id=actor.user_id,
        user_name=printable.bounded(actor.user_name, LONGEST),
        user_project_id=actor.project_id,
        request_id=actor.request_id,
    )
    event = Written(kind="revision", at=tx.wall, revision=encode_json(edit))
    if own is not None:
        event = msgspec.structs.replace(event, known=Known(object_id, *own))
    else:
        ids, routers = (
            tuple(sorted(id for kind, id in tx.touched if kind == wanted)) for wanted in ("connection", "gateway")
        )
        event = msgspec.structs.replace(event, ids=ids, routers=routers)
    tx.events.append(event)


def happened(tx: Transaction, kind: EventKind, connections: Iterable[str], node_id: str, reason: str = "") -> None:
    """Has an event of several connections queued at the end of the transaction."""
    tx.events.append(Written(kind=kind, at=tx.wall, reason=reason, node_id=node_id, ids=tuple(connections)))


_KNOWN: Final = ("key", "recorded_at", "kind", "at", "code", "reason", "node", "revision", "count", "connections")
_queue_one: Final = Statement(insert(_queue), _KNOWN)


def _queue_known() -> Statement:
    """INSERT of rows given as a JSON list of lists: one statement, however many they are."""
    rows, field = json_elements(bindparam("events"))
    columns = [field(place, _queue.c[name].type) for place, name in enumerate(_KNOWN)]
    return Statement(insert(_queue).from_select(_KNOWN, select(*columns).select_from(rows).where(true())))


_queue_several: Final = _queue_known()


def _queue_of(of_gateways: bool) -> Statement:
    """INSERT of one event of the connections with these ids; `of_gateways`: and of the live ones of gateways."""
    ids: Any = select(json_texts(bindparam("ids")).label("id"))
    if of_gateways:
        other = _connection.alias("other")
        of_router = other.join(_service, _service.c.id == other.c.live_vpnservice_id)
        routers = in_json(_service.c.live_router_id, "routers")
        ids = ids.union(select(other.c.id).select_from(of_router).where(routers))
    given: dict[str, ColumnElement[Any]] = {
        name: cast(bindparam(name), _queue.c[name].type)
        for name in ("key", "recorded_at", "kind", "at", "reason", "revision")
    }
    named = select(NODE.c.name).where(NODE.c.id == bindparam("node_id")).scalar_subquery()
    columns = given | {
        "code": literal(""),
        "node": func.coalesce(named, ""),
        "count": func.count(),
        "connections": json_rows(_connection.c.id, _connection.c.project_id, _connection.c.name),
    }
    query = select(*columns.values()).select_from(_connection).where(_connection.c.id.in_(ids))
    return Statement(insert(_queue).from_select(list(columns), query.having(func.count() > 0)))


_queue_of_connections: Final = _queue_of(of_gateways=False)
_queue_of_gateways: Final = _queue_of(of_gateways=True)


def flush(tx: Transaction) -> None:
    """Queues the events of a transaction."""
    waiting: list[Written] = list(tx.events)
    tx.events.clear()
    known = [_known_row(event, event.known, tx.wall) for event in waiting if event.known is not None]
    if len(known) == 1:
        # The usual number: as JSON it would cost SQLite more.
        tx.run(_queue_one, **dict(zip(_KNOWN, known[0], strict=True)))
    elif known:
        tx.run(_queue_several, events=encode_json(known))
    for event in waiting:
        if event.known is None:
            tx.run(
                _queue_of_gateways if event.routers else _queue_of_connections,
                key=event.key,
                recorded_at=tx.wall,
                kind=event.kind,
                at=event.at,
                reason=event.reason,
                revision=event.revision,
                node_id=event.node_id,
                ids=encode_json(event.ids),
                routers=encode_json(event.routers),
            )


def _known_row(event: Written, known: Known, wall: float) -> tuple[Any, ...]:
    named = encode_json([(known.id, known.project_id, known.name)])
    return (event.key, wall, event.kind, event.at, "", event.reason, "", event.revision, 1, named)


_REPORTED: Final = ("connection_id", "key", "kind", "at", "code", "reason")


def _queue_reported() -> Statement:
    """INSERT of events given as a JSON list of lists: those of connections whose gateway is assigned to `node`, if they
    are not in the timeline yet."""
    rows, field = json_elements(bindparam("events"))
    given = {name: field(place, TIMELINE.c[name].type) for place, name in enumerate(_REPORTED)}
    # Outer joins, and no condition that a plan could begin with: it shall begin with the events, and not with the node,
    # which has thousands of connections.
    source = rows.outerjoin(_connection, _connection.c.id == given["connection_id"])
    source = source.outerjoin(_service, _service.c.id == _connection.c.vpnservice_id)
    source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == _service.c.router_id)
    source = source.outerjoin(NODE, NODE.c.id == GATEWAY.c.node_id)
    columns: dict[str, ColumnElement[Any]] = {name: given[name] for name in _REPORTED[1:]} | {
        "recorded_at": cast(bindparam("now"), _queue.c.recorded_at.type),
        "node": NODE.c.name,
        "count": literal(1),
        "connections": json_row(_connection.c.id, _connection.c.project_id, _connection.c.name),
    }
    told = exists().where(TIMELINE.c.key == given["key"], TIMELINE.c.connection_id == given["connection_id"])
    query = select(*columns.values()).select_from(source)
    query = query.where(func.coalesce(NODE.c.id, "") == bindparam("node"), ~told)
    new = postgresql.insert(_queue).from_select(list(columns), query)
    return Statement(new.on_conflict_do_nothing(index_elements=["key"]))


_reported: Final = _queue_reported()


def report(tx: Transaction, node_id: str, events: Sequence[NodeEvent]) -> None:
    """Records what a node has seen of the connections that are assigned to it. An event that was reported before, or
    that is of another node's connection, changes nothing."""
    written = [
        (
            event.connection_id,
            f"{node_id}:{event.id}",
            event.kind,
            event.at,
            event.code,
            printable.bounded(event.reason, LONGEST_REASON),
        )
        for event in events
        if event.kind in NODE_KINDS
    ]
    if written:
        tx.run(_reported, events=encode_json(written), now=tx.wall, node=node_id)


# --- order --------------------------------------------------------------------------------------------------------

_any_queued: Final = Statement(select(_queue.c.key).limit(1))


def _first_queued() -> Statement:
    """The events that were queued first: `BATCH` of them, and those of the last write among them."""
    before = func.sum(_queue.c.count).over(order_by=(_queue.c.recorded_at, _queue.c.key)) - _queue.c.count
    first = select(_queue.c.key, _queue.c.recorded_at, _queue.c.at, _queue.c.connections, before.label("before"))
    taken = first.subquery("taken")
    query = select(taken.c.key, taken.c.connections).where(taken.c.before < BATCH)
    return Statement(query.order_by(taken.c.recorded_at, taken.c.at, taken.c.key))


_queued: Final = _first_queued()
_remove_queued: Final = Statement(delete(_queue).where(in_json(_queue.c.key, "keys")))
_head: Final = Statement(select(TIMELINE_HEAD.c.number).where(TIMELINE_HEAD.c.id == 1).with_for_update())
_newest: Final = Statement(select(TIMELINE_HEAD.c.number).where(TIMELINE_HEAD.c.id == 1))
_first_head: Final = Statement(insert(TIMELINE_HEAD))
_move_head: Final = Statement(
    update(TIMELINE_HEAD).where(TIMELINE_HEAD.c.id == bindparam("the")).values(number=bindparam("number"))
)


def _last_places() -> Statement:
    id = json_texts(bindparam("ids", type_=TIMELINE.c.connection_id.type))
    last = select(func.max(TIMELINE.c.place)).where(TIMELINE.c.connection_id == id).scalar_subquery()
    return Statement(select(id, last))


_places: Final = _last_places()
_PLACED: Final = ("key", "connection_id", "project_id", "connection_name", "number", "place")
_QUEUED: Final = ("recorded_at", "kind", "at", "code", "reason", "node", "revision")


def _place_queued() -> Statement:
    """INSERT of queued events, a row for each connection, given as a JSON list of lists."""
    rows, field = json_elements(bindparam("events"))
    columns: dict[str, ColumnElement[Any]] = {
        name: field(place, TIMELINE.c[name].type) for place, name in enumerate(_PLACED)
    }
    source = rows.join(_queue, _queue.c.key == columns["key"])
    columns |= {name: _queue.c[name] for name in _QUEUED}
    new = postgresql.insert(TIMELINE).from_select(list(columns), select(*columns.values()).select_from(source))
    return Statement(new.on_conflict_do_nothing(index_elements=["key", "connection_id"]))


_place: Final = _place_queued()
_remove_old_places: Final = Statement(
    delete(TIMELINE).where(TIMELINE.c.connection_id == bindparam("connection"), TIMELINE.c.place <= bindparam("last"))
)
_decode: Final = msgspec.json.Decoder(list[tuple[str, str, str]]).decode


def is_ordered(tx: Transaction) -> bool:
    """True if every event has its place."""
    return tx.first(_any_queued) is None


def newest(tx: Transaction) -> int:
    """The highest number that was given; 0 before the first one."""
    found = tx.first(_newest)
    return 0 if found is None else int(found[0])


class Ordered(NamedTuple):
    """How many events got their places, and the connections that have about `GROWN` events more than they last had."""

    events: int = 0
    grown: Sequence[str] = ()


def order(tx: Transaction, most: int) -> Ordered:
    """Gives events that were committed meanwhile their places. A connection that has more than `most` loses its oldest
    ones."""
    head = tx.first(_head)
    if head is None:
        # Of two processes that are first, the other one gets a Conflict.
        tx.run(_first_head, id=1, number=0)
    queued = [(key, _decode(connections)) for key, connections in tx.rows(_queued)]
    if not queued:
        return Ordered()
    ids = dict.fromkeys(id for _, connections in queued for id, *_ in connections)
    places = {id: int(place or 0) for id, place in tx.rows(_places, ids=encode_json(list(ids)))}
    before = dict(places)
    number = max(int(head[0]) if head else 0, int(tx.wall * 1e6) - 1)
    placed = []
    for key, connections in queued:
        for id, project_id, name in connections:
            number += 1
            places[id] += 1
            placed.append((key, id, project_id, name, number, places[id]))
    tx.run(_place, events=encode_json(placed))
    tx.run(_remove_queued, keys=encode_json([key for key, _ in queued]))
    tx.run(_move_head, the=1, number=number)
    step = max(1, most // SLACK)
    for connection, place in places.items():
        if place > most and (place // step > before[connection] // step):
            tx.run(_remove_old_places, connection=connection, last=place // step * step - (most - step))
    grown = [id for id, place in places.items() if place // GROWN > before[id] // GROWN]
    return Ordered(len(placed), grown)


_oldest: Final = Statement(select(TIMELINE.c.number, TIMELINE.c.recorded_at).order_by(TIMELINE.c.number).limit(REMOVED))
_remove: Final = Statement(delete(TIMELINE).where(TIMELINE.c.number <= bindparam("number")))


def purge(tx: Transaction, since: float) -> int:
    """Removes events that were recorded before a time, the oldest `REMOVED` at most; how many."""
    old = 0
    for number, recorded_at in tx.rows(_oldest):
        if recorded_at >= since:
            break
        old = number
    return tx.run(_remove, number=old) if old else 0


# --- reading ------------------------------------------------------------------------------------------------------


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The events to read: of a connection or of a project, of some kinds (empty: all), with numbers between two others.
    `ascending`: the oldest first."""

    connection_id: str | None = None
    project_id: str | None = None
    kinds: frozenset[str] = frozenset()
    after: int = 0
    before: int = NEWEST
    ascending: bool = False


_SHOWN: Final = (
    "number",
    "kind",
    "connection_id",
    "connection_name",
    "project_id",
    "at",
    "recorded_at",
    "code",
    "reason",
    "node",
    "revision",
)
_decode_edit: Final = msgspec.json.Decoder(Edit).decode


def number_at(seconds: float) -> int:
    """The smallest number that was given at or after a time, in seconds since 1970."""
    return int(seconds * 1e6)


def _looked_at(by: frozenset[str], ascending: bool, columns: Sequence[str]) -> Any:
    conditions = [TIMELINE.c[name] == bindparam(name) for name in sorted(by)]
    range_ = (TIMELINE.c.number > bindparam("after"), TIMELINE.c.number < bindparam("before"))
    key = TIMELINE.c.place if "connection_id" in by else TIMELINE.c.number
    query = select(*(TIMELINE.c[name] for name in columns)).where(and_(true(), *conditions, *range_))
    return query.order_by(key if ascending else key.desc())


@statement
def _page(by: frozenset[str], ascending: bool, kinds: int) -> Statement:
    if not kinds:
        return Statement(_looked_at(by, ascending, _SHOWN).limit(bindparam("most", type_=None)))
    inner = _looked_at(by, ascending, _SHOWN).limit(SCANNED).subquery()
    query = select(inner).where(in_slots(inner.c.kind, "kind", kinds))
    query = query.order_by(inner.c.number if ascending else inner.c.number.desc())
    return Statement(query.limit(bindparam("most", type_=None)))


@statement
def _last_looked_at(by: frozenset[str], ascending: bool) -> Statement:
    return Statement(_looked_at(by, ascending, ("number",)).limit(1).offset(SCANNED - 1))


class EventPage(msgspec.Struct, frozen=True):
    """Events, and the number after which to go on if there may be more."""

    events: list[TimelineEvent]
    next: int | None


def page(tx: Transaction, wanted: Selection, most: int) -> EventPage:
    """The first `most` events that a selection has. With kinds there may be fewer, and more on the next page."""
    by = frozenset(name for name in ("connection_id", "project_id") if getattr(wanted, name) is not None)
    values: dict[str, Any] = {name: getattr(wanted, name) for name in by}
    values |= {"after": wanted.after, "before": wanted.before}
    kinds = sorted(wanted.kinds)
    slots = {f"kind_{index}": kind for index, kind in enumerate(kinds)}
    rows = tx.rows(_page(by, wanted.ascending, len(kinds)), most=most, **values, **slots)
    events = [_event(row) for row in rows]
    if len(events) == most:
        return EventPage(events, rows[-1][0] if rows else None)
    last = tx.first(_last_looked_at(by, wanted.ascending), **values) if kinds else None
    return EventPage(events, None if last is None else last[0])


def _event(row: Sequence[Any]) -> TimelineEvent:
    values = dict(zip(_SHOWN, row, strict=True))
    revision = values.pop("revision")
    return TimelineEvent(
        id=str(values.pop("number")),
        status_code=values.pop("code"),
        revision=None if revision is None else _decode_edit(revision),
        **values,
    )
