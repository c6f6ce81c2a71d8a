"""Reading rows: one by id, or the page of a list, each in one statement.

Statements are built once per shape of a request (which filters, how many values, which order), never per value.
What waits for a node that is lost is treated as gone. Refuses nothing: attributes were checked by the API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    false,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.sql.elements import True_

from linkspan.core.schema.list_query import EVERYTHING, Query
from linkspan.core.schema.resources import NETWORK, STANDARD_ATTRIBUTES, Resource
from linkspan.core.secret import Secret
from linkspan.core.state import status
from linkspan.store import revisions
from linkspan.store.database.statements import Statement, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import NODE, SOFT, TABLES, column_name
from linkspan.store.rows import candidates, conditions
from linkspan.store.rows.mapping import MAPPERS, Mapper
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

_holder = NODE.alias("holder")
PART: Final = 1000
"""The most rows that `scan` reads at a time."""
Shape = tuple[tuple[str, int, bool], ...]
_LOWEST: Final[dict[str, Any]] = {"text": "", "integer": -(2**31), "boolean": False}


def is_present_row(table: Any) -> ColumnElement[bool]:
    """Live, or deleted and held by a node that is alive."""
    if table.name not in SOFT:
        return True_()
    held = exists().where(and_(_holder.c.id == table.c.holder_id, _holder.c.lease_until >= bindparam("now")))
    return or_(table.c.deleted_at.is_(None), held)


def _of_project(table: Any) -> ColumnElement[bool]:
    own: ColumnElement[bool] = table.c.project_id == bindparam("project")
    return or_(own, table.c.shared, table.c.router_external) if table.name == NETWORK.name else own


def _visible(select_: Select[Any], mapper: Mapper, with_project: bool) -> Select[Any]:
    select_ = select_.where(is_present_row(mapper.table))
    return select_.where(_of_project(mapper.table)) if with_project else select_


@statement
def _get(name: str, with_project: bool, lock: bool) -> Statement:
    mapper = MAPPERS[name]
    query = select(*mapper.columns).select_from(mapper.source).where(mapper.table.c.id == bindparam("id"))
    query = _visible(query, mapper, with_project)
    return Statement(query.with_for_update(of=mapper.table) if lock else query)


def get(tx: Transaction, resource: Resource, id: str, project: str | None = None, lock: bool = False) -> Row | None:
    """One row, or None if it does not exist or, with `project`, belongs to another project.

    It may be deleted, as long as its node has not confirmed that (`is_deleted`): show it, but build nothing on it.
    `lock`: no other transaction changes the row until this one ends; lock what a write depends on.
    """
    if resource.name in SOFT:
        revisions.flush(tx)
    mapper = MAPPERS[resource.name]
    found = tx.first(_get(resource.name, project is not None, lock), id=id, project=project, now=tx.now)
    return None if found is None else mapper.row(found, tx)


@statement
def _secret(resource_name: str, name: str) -> Statement:
    table = TABLES[resource_name]
    columns = (table.c.project_id, table.c[name], table.c[f"{name}_key_id"])
    return Statement(select(*columns).where(table.c.id == bindparam("id")))


def secret(tx: Transaction, resource: Resource, id: str, name: str) -> Secret:
    """A secret of an object that nobody may read. Raises `KeyFileError` if it cannot be read, KeyError if there is
    none."""
    found = tx.first(_secret(resource.name, name), id=id)
    if found is None or found[1] is None:
        raise KeyError(f"{resource.name} {id} has no {name}")
    project, sealed, key_id = found
    return tx.keyring.open(key_id, bytes(sealed), project, id, name)


@statement
def _present(name: str) -> Statement:
    table = TABLES[name]
    return Statement(select(table.c.id).where(table.c.id == bindparam("id"), is_present_row(table)))


def is_present(tx: Transaction, resource: Resource, id: str) -> bool:
    """True if `get` would find the row, PENDING_DELETE included."""
    return tx.first(_present(resource.name), id=id, now=tx.now) is not None


@statement
def _count(name: str) -> Statement:
    table = TABLES[name]
    query = select(func.count()).select_from(table).where(table.c.project_id == bindparam("project"))
    return Statement(query.where(table.c.deleted_at.is_(None)) if name in SOFT else query)


def count(tx: Transaction, resource: Resource, project: str) -> int:
    """How many live rows a project has, for quotas."""
    return int(tx.first(_count(resource.name), project=project)[0])


def _key(mapper: Mapper, table: Any, name: str) -> ColumnElement[Any]:
    if name in STANDARD_ATTRIBUTES:
        return table.c[name]  # type: ignore[no-any-return]
    attribute = mapper.stored[name]
    column: ColumnElement[Any] = table.c[column_name(attribute)]
    # Null sorts first in both databases, and can be compared with a marker's.
    return func.coalesce(column, _LOWEST[attribute.kind.column]) if table.c[column.name].nullable else column


def _after(keys: list[tuple[ColumnElement[Any], ColumnElement[Any], bool]]) -> ColumnElement[bool]:
    """Behind the marker, in an order of several keys, each with a direction of its own.

    Where all have the same one, as a comparison of rows: an index in that order then starts at the marker.
    """
    if len({descending for _, _, descending in keys}) == 1:
        mine, marker = tuple_(*(key for key, _, _ in keys)), tuple_(*(key for _, key, _ in keys))
        return mine < marker if keys[0][2] else mine > marker
    ways: list[ColumnElement[bool]] = []
    for place, (mine_, marker_, descending) in enumerate(keys):
        equal = [left == right for left, right, _ in keys[:place]]
        ways.append(and_(*equal, mine_ < marker_ if descending else mine_ > marker_))
    return or_(*ways)


def _of_marker(mapper: Mapper, name: str, with_project: bool) -> ColumnElement[Any]:
    """The marker row's value of a key. Null, after which nothing follows, if the row is absent or not visible."""
    marker = mapper.table.alias("marker")
    query = select(_key(mapper, marker, name)).where(marker.c.id == bindparam("marker"))
    return (query.where(_of_project(marker)) if with_project else query).scalar_subquery()


def _equals(table: Any, column: ColumnElement[Any], count: int) -> ColumnElement[bool]:
    """The column has one of so many values. References have an index of the live rows, and deleted rows are few."""
    equal = in_slots(column, column.name, count)
    live = table.c.get(f"live_{column.name}")
    if live is None:
        return equal
    return or_(in_slots(live, column.name, count), and_(table.c.deleted_at.is_not(None), equal))


@statement
def _find(
    name: str,
    with_project: bool,
    filters: Shape,
    sort: tuple[tuple[str, bool], ...],
    limited: bool,
    marked: bool,
    reverse: bool,
    not_active: bool = False,
    bare: bool = False,
    on_more: conditions.Counts = (),
) -> Statement:
    mapper = MAPPERS[name]
    table = mapper.table
    rows = select(table.c.id) if bare else select(*mapper.columns).select_from(mapper.source)
    query = _visible(rows, mapper, with_project)
    if not_active:
        query = query.where(candidates.may_not_be_active(table))
    for attribute, values, null in filters:
        column = table.c[column_name(mapper.stored[attribute])]
        ways: list[ColumnElement[bool]] = [_equals(table, column, values)] if values else []
        ways += [column.is_(None)] if null else []
        query = query.where(or_(false(), *ways))
    query = query.where(*conditions.clauses(table, on_more))
    names = sort if "id" in dict(sort) else (*sort, ("id", False))
    keys = [(_key(mapper, table, key), descending != reverse) for key, descending in names]
    if marked:
        markers = [_of_marker(mapper, key, with_project) for key, _ in names]
        if len(names) > 1:
            # Known without a look; and a plain value may be part of where SQLite starts in an index.
            markers[-1] = bindparam("marker") if names[-1][0] == "id" else markers[-1]
        query = query.where(_after([(key, marker, down) for (key, down), marker in zip(keys, markers, strict=True)]))
    query = query.order_by(*(key.desc() if descending else key.asc() for key, descending in keys))
    return Statement(query.limit(bindparam("limit", type_=None)) if limited else query)


def find(tx: Transaction, resource: Resource, query: Query = EVERYTHING, project: str | None = None) -> list[Row]:
    """The rows that a query selects, in one statement. `project` None: of all projects.

    A project also sees networks that are shared or external. An unknown marker selects no row. All attributes are read,
    except that a connection has its `psk` only if `fields` is empty or names it.
    """
    return list(iterate(tx, resource, query, project))


def iterate(
    tx: Transaction, resource: Resource, query: Query = EVERYTHING, project: str | None = None
) -> Iterator[Row]:
    """Yields the rows of `find` while they are read, for results of any length. Consume them all, or leave the
    transaction."""
    rows = _rows(tx, resource, query, project)
    return reversed(list(rows)) if query.page_reverse else rows


def scan(
    tx: Transaction,
    resource: Resource,
    query: Query,
    project: str | None = None,
    statuses: tuple[Any, ...] = (),
    grace: float = status.GRACE,
) -> Iterator[Row]:
    """Yields all rows behind the marker in the order of a query, with `page_reverse` backwards, until its caller has
    enough: `limit` is what it needs. With `statuses`, rows that cannot have one of them may be left out; `grace` as in
    `core.state.status.compute`.

    They are read in parts, so that no list is ever whole in memory; the first part is often enough.
    """
    not_active = bool(statuses) and candidates.excludes_active(resource, statuses)
    if not_active and "id" not in query.filters:
        few = candidates.few(tx, resource, statuses, grace)
        if few is not None:
            yield from _by_id(tx, resource, query, project, few)
            return
    size = query.limit or PART
    while True:
        count, marker = 0, query.marker
        for row in _rows(tx, resource, replace(query, limit=size), project, not_active):
            count, marker = count + 1, row["id"]
            yield row
        if count < size:
            return
        query, size = replace(query, marker=marker), min(2 * size, PART)


def _by_id(tx: Transaction, resource: Resource, query: Query, project: str | None, few: list[str]) -> Iterator[Row]:
    """The rows of a query out of a few, by id. Their order is read first, from their table alone: joined to all that a
    status needs, PostgreSQL would read whole tables for a thousand of them."""
    if not few:
        return
    among = replace(query, filters=query.filters | {"id": tuple(few)}, limit=None)
    ordered = [id for (id,) in _select(tx, resource, among, project, bare=True)]
    start, size = 0, query.limit or PART
    while start < len(ordered):
        part = Query(filters={"id": tuple(ordered[start : start + size])}, fields=query.fields)
        rows = {row["id"]: row for row in _rows(tx, resource, part, project)}
        yield from (rows[id] for id in ordered[start : start + size] if id in rows)
        start, size = start + size, min(2 * size, PART)


def _rows(
    tx: Transaction, resource: Resource, query: Query, project: str | None, not_active: bool = False
) -> Iterator[Row]:
    """The rows of a query, with `page_reverse` in the opposite order."""
    mapper = MAPPERS[resource.name]
    secrets = not query.fields or any(name in query.fields for name in mapper.secrets)
    found = _select(tx, resource, query, project, not_active=not_active)
    return (mapper.row(values, tx, secrets) for values in found)


def _select(
    tx: Transaction,
    resource: Resource,
    query: Query,
    project: str | None,
    *,
    not_active: bool = False,
    bare: bool = False,
) -> Iterator[Any]:
    """The rows of a query as tuples, with `page_reverse` in the opposite order. `bare`: only their ids."""
    if resource.name in SOFT:
        revisions.flush(tx)
    mapper = MAPPERS[resource.name]
    values: Values = {"project": project, "now": tx.now, "marker": query.marker, "limit": query.limit}
    shape: list[tuple[str, int, bool]] = []
    for name in sorted(query.filters):
        not_null = [value for value in query.filters[name] if value is not None]
        values |= fill_slots(column_name(mapper.stored[name]), not_null)
        shape.append((name, slot_count(not_null), len(not_null) < len(query.filters[name])))
    values |= conditions.parameters(query.conditions)
    sort = query.sort or (("name", False),)
    return tx.iterate(
        _find(
            resource.name,
            project is not None,
            tuple(shape),
            sort,
            query.limit is not None,
            query.marker is not None,
            query.page_reverse,
            not_active,
            bare,
            conditions.shape(query.conditions),
        ),
        **values,
    )
