"""The timeline in the database: written with what happens, put into order soon after it.

The row of an event is in the transaction of what it tells, so there is none without the other. Its place it gets later,
as entries of the audit trail do: `order` numbers what was committed since, in one transaction that holds the row of the
head. So numbers become visible in their order, and whoever reads on after a number misses nothing (docs/adr/0031).

A number is about the microseconds since 1970 at which it was given: a time is a range of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, cast, delete, func, insert, literal, select, true, update
from sqlalchemy.dialects import postgresql

from linkspan.core import printable
from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state.observed import LONGEST_REASON
from linkspan.core.state.timeline import NODE_KINDS, Edit, EventKind, NodeEvent, TimelineEvent
from linkspan.store.audit import LONGEST, Actor
from linkspan.store.database.statements import (
    Statement,
    encode_json,
    in_slots,
    json_elements,
    json_texts,
    statement,
)
from linkspan.store.database.tables import GATEWAY, NODE, TABLES, TIMELINE, TIMELINE_HEAD, WORDS
from linkspan.store.transaction import Transaction, new_ordered_id

BATCH: Final = 500
"""Events that one transaction puts into order."""
REMOVED: Final = 1000
"""Events that one transaction removes because of their age."""
SCANNED: Final = 5000
"""Events that one page looks at, of which a filter may select few."""
SLACK: Final = 10
"""A connection that has as many events as it may loses every tenth part of them at once."""
NEWEST: Final = 2**63 - 1
"""A number that no event has: before it is everything."""

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]


class Written(NamedTuple):
    """An event to write. `project_id`, `name`: None: as the connection's row says. `node_id`: of the node to name.
    `router_id`: the event is one of each connection of this gateway, instead of `connection_id`."""

    connection_id: str | None
    key: str
    project_id: str | None
    name: str | None
    kind: str
    at: float
    code: str = ""
    reason: str = ""
    node_id: str | None = None
    revision: str | None = None
    router_id: str | None = None


# --- writing ------------------------------------------------------------------------------------------------------


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
    """Has the revision of an object written at the end of the transaction: for the connection that it is, whose project
    and name are `own`, or for every connection that its change has stamped so far, itself or its gateway."""
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
    text, (project_id, name) = encode_json(edit), own or (None, None)
    touched = {("connection", object_id)} if own else tx.touched
    base = Written(None, new_ordered_id(), project_id, name, "revision", tx.wall, revision=text)
    tx.events += [
        base._replace(connection_id=id) if kind == "connection" else base._replace(router_id=id)
        for kind, id in sorted(touched)
    ]


def happened(tx: Transaction, kind: EventKind, connections: Iterable[str], node_id: str, reason: str = "") -> None:
    """Has an event of several connections written at the end of the transaction."""
    tx.events += [
        Written(id, new_ordered_id(), None, None, kind, tx.wall, reason=reason, node_id=node_id) for id in connections
    ]


def _elements() -> tuple[Any, dict[str, ColumnElement[Any]]]:
    rows, field = json_elements(bindparam("events"))
    types = {"at": TIMELINE.c.at.type}
    return rows, {name: field(place, types.get(name, WORDS)) for place, name in enumerate(Written._fields)}


def _columns_of(
    given: Mapping[str, ColumnElement[Any]], id: ColumnElement[Any], node: ColumnElement[Any]
) -> dict[str, ColumnElement[Any]]:
    columns = {name: given[name] for name in ("key", "kind", "at", "code", "reason", "revision")}
    columns["connection_id"] = id
    columns["project_id"] = func.coalesce(given["project_id"], _connection.c.project_id)
    columns["connection_name"] = func.coalesce(given["name"], _connection.c.name)
    columns["recorded_at"] = cast(bindparam("now"), TIMELINE.c.recorded_at.type)
    return columns | {"node": node}


def _insert(source: Any, columns: Mapping[str, ColumnElement[Any]], where: ColumnElement[bool]) -> Statement:
    query = select(*columns.values()).select_from(source).where(where)
    new = postgresql.insert(TIMELINE).from_select(list(columns), query)
    return Statement(new.on_conflict_do_nothing(index_elements=["connection_id", "key"]))


def _write() -> Statement:
    """INSERT of events given as a JSON list of `Written`: one statement, however many they are."""
    rows, given = _elements()
    source = rows.outerjoin(_connection, _connection.c.id == given["connection_id"])
    source = source.outerjoin(NODE, NODE.c.id == given["node_id"])
    columns = _columns_of(given, given["connection_id"], func.coalesce(NODE.c.name, ""))
    return _insert(source, columns, columns["project_id"].is_not(None))


def _write_of_gateways() -> Statement:
    """The same for the live connections of gateways."""
    rows, given = _elements()
    source = rows.join(_service, _service.c.live_router_id == given["router_id"])
    source = source.join(_connection, _connection.c.live_vpnservice_id == _service.c.id)
    return _insert(source, _columns_of(given, _connection.c.id, literal("")), true())


def _write_reported() -> Statement:
    """The same for those of connections whose gateway is assigned to `node`."""
    rows, given = _elements()
    # Outer joins, and no condition that a plan could begin with: it shall begin with the events, and not with the node,
    # which has thousands of connections.
    source = rows.outerjoin(_connection, _connection.c.id == given["connection_id"])
    source = source.outerjoin(_service, _service.c.id == _connection.c.vpnservice_id)
    source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == _service.c.router_id)
    source = source.outerjoin(NODE, NODE.c.id == GATEWAY.c.node_id)
    columns = _columns_of(given, given["connection_id"], NODE.c.name)
    return _insert(source, columns, func.coalesce(NODE.c.id, "") == bindparam("node"))


_own: Final = _write()
_of_gateways: Final = _write_of_gateways()
_reported: Final = _write_reported()


def flush(tx: Transaction) -> None:
    """Writes the events of a transaction."""
    waiting: list[Written] = list(tx.events)
    tx.events.clear()
    of_gateways = [event for event in waiting if event.router_id is not None]
    own = [event for event in waiting if event.router_id is None]
    for statement_, events in ((_own, own), (_of_gateways, of_gateways)):
        if events:
            # In this order: who is named by both is told once.
            tx.run(statement_, events=encode_json(events), now=tx.wall)


def report(tx: Transaction, node_id: str, events: Sequence[NodeEvent]) -> None:
    """Records what a node has seen of the connections that are assigned to it. An event that was reported before, or
    that is of another node's connection, changes nothing."""
    written = [
        Written(
            event.connection_id,
            f"{node_id}:{event.id}",
            None,
            None,
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

_any_unplaced: Final = Statement(select(TIMELINE.c.key).where(TIMELINE.c.number.is_(None)).limit(1))
_unplaced: Final = Statement(
    select(TIMELINE.c.connection_id, TIMELINE.c.key)
    .where(TIMELINE.c.number.is_(None))
    .order_by(TIMELINE.c.recorded_at, TIMELINE.c.at, TIMELINE.c.key)
    .limit(BATCH)
)
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


def _set_places() -> Statement:
    """UPDATE of the places of events given as a JSON list of [connection, key, number, place]."""
    _, field = json_elements(bindparam("places"))
    columns = TIMELINE.c
    change = update(TIMELINE).where(
        columns.connection_id == field(0, columns.connection_id.type), columns.key == field(1, columns.key.type)
    )
    return Statement(change.values(number=field(2, columns.number.type), place=field(3, columns.place.type)))


_place: Final = _set_places()
_remove_old_places: Final = Statement(
    delete(TIMELINE).where(TIMELINE.c.connection_id == bindparam("connection"), TIMELINE.c.place <= bindparam("last"))
)


def is_ordered(tx: Transaction) -> bool:
    """True if every event has its place."""
    return tx.first(_any_unplaced) is None


def newest(tx: Transaction) -> int:
    """The highest number that was given; 0 before the first one."""
    found = tx.first(_newest)
    return 0 if found is None else int(found[0])


def order(tx: Transaction, most: int) -> int:
    """Gives events that were committed meanwhile their places; how many. A connection that has more than `most` loses
    its oldest ones."""
    head = tx.first(_head)
    if head is None:
        # Of two processes that are first, the other one gets a Conflict.
        tx.run(_first_head, id=1, number=0)
    rows = tx.rows(_unplaced)
    if not rows:
        return 0
    ids = dict.fromkeys(connection for connection, _ in rows)
    places = {id: int(place or 0) for id, place in tx.rows(_places, ids=encode_json(list(ids)))}
    before = dict(places)
    number = max(int(head[0]) if head else 0, int(tx.wall * 1e6) - 1)
    placed = []
    for connection, key in rows:
        number += 1
        places[connection] += 1
        placed.append((connection, key, number, places[connection]))
    tx.run(_place, places=encode_json(placed))
    tx.run(_move_head, the=1, number=number)
    step = max(1, most // SLACK)
    for connection, place in places.items():
        if place > most and (place // step > before[connection] // step):
            tx.run(_remove_old_places, connection=connection, last=place // step * step - (most - step))
    return len(placed)


_oldest: Final = Statement(
    select(TIMELINE.c.number, TIMELINE.c.recorded_at)
    .where(TIMELINE.c.number.is_not(None))
    .order_by(TIMELINE.c.number)
    .limit(REMOVED)
)
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
