"""Earlier configurations of connections: kept in the transaction of each write that changes what a connection does.

A row is a copy that the database itself makes of the connection and of what it references, before these are written;
so envelopes are copied unopened, and an edit of a policy costs the same statements however many connections use it.
A configuration is known by the `revision_number` of the connection that brought it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, bindparam, case, cast, delete, exists, func, literal_column, select
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_table

from linkspan.core.schema.configurations import OWN, PARTS, Configuration
from linkspan.core.schema.declarations import Attribute, Resource
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, IPSEC_POLICY
from linkspan.core.secret import Secret
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import CONNECTION_REVISION, OBSERVED, TABLES, WORDS, column_name
from linkspan.store.rows import writing
from linkspan.store.transaction import Transaction

_connection = TABLES[CONNECTION.name]
_earlier = CONNECTION_REVISION
_parts = {part.reference: TABLES[part.resource.name].alias(part.prefix) for part in PARTS}
SLACK: Final = 8
"""Rows beyond the bound of a connection that are dropped together: hardly a write then pays for it."""
_decode: Final = msgspec.json.Decoder().decode
_SECRETS: Final = tuple(attribute.name for attribute in OWN if attribute.secret)
_PLAIN: Final = tuple(attribute for attribute in OWN if not attribute.secret)


def _copied() -> dict[str, ColumnElement[Any]]:
    """The columns of a kept configuration, as they are taken from the present one."""
    number = _connection.c.configured_revision
    was_up = exists().where(
        OBSERVED.c.object_id == _connection.c.id,
        OBSERVED.c.kind == literal_column("'connection'"),
        OBSERVED.c.good_revision == number,
    )
    columns: dict[str, ColumnElement[Any]] = {
        "id": _connection.c.id.op("||")(literal_column("':'")).op("||")(cast(number, WORDS)),
        "connection_id": _connection.c.id,
        "project_id": _connection.c.project_id,
        "number": number,
        "at": func.coalesce(_connection.c.configured_at, _connection.c.created_at),
        "author": _connection.c.configured_by,
        "good": was_up,
    }
    columns |= {column_name(attribute): _connection.c[column_name(attribute)] for attribute in _PLAIN}
    columns |= {f"{name}{end}": _connection.c[f"{name}{end}"] for name in _SECRETS for end in ("", "_key_id", "_ref")}
    for part in PARTS:
        names = ("name", *(attribute.name for attribute in part.attributes))
        columns |= {f"{part.prefix}_{name}": _parts[part.reference].c[name] for name in names}
    return columns


_columns: Final = _copied()


def _present() -> Any:
    source: Any = _connection
    for reference, table in _parts.items():
        source = source.outerjoin(table, table.c.id == _connection.c[reference])
    return select(*(column.label(name) for name, column in _columns.items())).select_from(source)


@statement
def _lock(count: int) -> Statement:
    query = select(_connection.c.id).where(in_slots(_connection.c.id, "id", count)).order_by(_connection.c.id)
    return Statement(query.with_for_update())


@statement
def _keep(count: int) -> Statement:
    present = _present().where(in_slots(_connection.c.id, "id", count))
    mine = _earlier.alias("mine")
    # Written out: in RETURNING SQLAlchemy leaves the table's name away, and `mine` has such a column too.
    inserted: ColumnElement[str] = literal_column(f"{_earlier.name}.connection_id")
    number = select(func.count()).where(mine.c.connection_id == inserted)
    insert = insert_into(_earlier).from_select(list(_columns), present)
    return Statement(insert.returning(number.scalar_subquery()))


@statement
def _drop_oldest(count: int) -> Statement:
    own = _earlier.c.connection_id
    good = func.max(case((_earlier.c.good, _earlier.c.number))).over(partition_by=own)
    ranked = (
        select(
            _earlier.c.id,
            _earlier.c.number,
            func.row_number().over(partition_by=own, order_by=_earlier.c.number.desc()).label("place"),
            func.coalesce(good, -1).label("last_good"),
        )
        .where(in_slots(_earlier.c.connection_id, "id", count))
        .subquery()
    )
    most: ColumnElement[Any] = bindparam("most", type_=None)
    old = select(ranked.c.id).where(ranked.c.place > most, ranked.c.number != ranked.c.last_good)
    return Statement(delete(_earlier).where(_earlier.c.id.in_(old)))


@statement
def _revise(count: int) -> Statement:
    change = update_table(_connection).where(in_slots(_connection.c.id, "id", count))
    revision = _connection.c.revision_number + 1
    # `updated_at` has an index: without it PostgreSQL writes no index anew.
    return Statement(change.values(**writing.configured(_connection), revision_number=revision))


def keep(tx: Transaction, resource: Resource, connections: Iterable[str]) -> bool:
    """Keeps the present configurations of connections before a write to an object that is part of them.

    A write to a policy is a revision of each connection with it. A transaction keeps those of a connection once: it
    makes one revision. True if the caller writes the connection itself, as the revision that brings another
    configuration.
    """
    if resource not in (CONNECTION, IKE_POLICY, IPSEC_POLICY):
        return False
    fresh = sorted(set(connections) - tx.kept)
    tx.kept.update(fresh)
    for ids in chunks(fresh):
        slots, count = fill_slots("id", ids), slot_count(ids)
        if len(ids) > 1:
            # UPDATE locks rows in any order: two policies of the same connections would deadlock.
            tx.rows(_lock(count), **slots)
        if any(number > tx.keep_revisions + SLACK for (number,) in tx.rows(_keep(count), **slots)):
            tx.run(_drop_oldest(count), most=tx.keep_revisions, **slots)
        if resource is not CONNECTION:
            tx.run(_revise(count), updated_at=tx.wall, author=tx.author, **slots)
    return resource is CONNECTION


# --- reading ------------------------------------------------------------------------------------------------------

_one: Final = Statement(_present().where(_connection.c.id == bindparam("id")))
_kept: Final = Statement(
    select(*(_earlier.c[name] for name in _columns))
    .where(_earlier.c.connection_id == bindparam("id"))
    .order_by(_earlier.c.number.desc())
)


def present(tx: Transaction, id: str) -> Configuration:
    """The present configuration of a connection. Raises KeyError if the connection is not there."""
    row = tx.first(_one, id=id)
    if row is None:
        raise KeyError(f"connection {id} is not there")
    return _configuration(row)


def earlier(tx: Transaction, id: str) -> list[Configuration]:
    """The configurations that are kept of a connection, the newest one first: so many as the bound allows, and the last
    one that was up."""
    kept = [_configuration(row) for row in tx.rows(_kept, id=id)]
    last_good = next((each for each in kept if each.good), None)
    return [each for place, each in enumerate(kept) if place < tx.keep_revisions or each is last_good]


def _configuration(row: Sequence[Any]) -> Configuration:
    columns = dict(zip(_columns, row, strict=True))
    parts = {}
    for part in PARTS:
        if columns[part.reference] is not None:
            values = {a.name: _value(a, columns[f"{part.prefix}_{a.name}"]) for a in part.attributes}
            parts[part.reference] = {"name": columns[f"{part.prefix}_name"], **values}
    return Configuration(
        number=columns["number"],
        at=columns["at"],
        author=columns["author"],
        good=bool(columns["good"]),
        values={attribute.name: _value(attribute, columns[column_name(attribute)]) for attribute in _PLAIN},
        secrets={name: columns[f"{name}_ref"] if columns[name] is not None else None for name in _SECRETS},
        parts=parts,
    )


def _value(attribute: Attribute, stored: Any) -> Any:
    match attribute.kind.column:
        case "json":
            return None if stored is None else _decode(stored)
        case "boolean":
            return bool(stored)
        case _:
            return stored


_envelopes: Final = Statement(
    select(
        _earlier.c.project_id,
        *(_earlier.c[f"{name}{end}"] for name in _SECRETS for end in ("", "_key_id")),
    ).where(_earlier.c.connection_id == bindparam("id"), _earlier.c.number == bindparam("number"))
)


def secrets(tx: Transaction, id: str, number: int) -> tuple[dict[str, Secret | None], str]:
    """The secrets of a kept configuration; and why one of them cannot be read, empty if all can."""
    row = tx.first(_envelopes, id=id, number=number)
    found: dict[str, Secret | None] = {}
    fault = ""
    for place, name in enumerate(_SECRETS):
        sealed, key_id = row[1 + 2 * place :][:2]
        found[name] = None
        if sealed is not None:
            found[name], why = tx.keyring.try_open(key_id, bytes(sealed), row[0], id, name)
            fault = fault or why
    return found, fault
