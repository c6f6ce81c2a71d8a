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
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.secret import Secret
from linkspan.store import revisions
from linkspan.store.database.statements import Statement, encode_json, in_json
from linkspan.store.database.tables import CONNECTION_REVISION, OBSERVED, TABLES, WORDS, column_name
from linkspan.store.rows import writing
from linkspan.store.transaction import Transaction

_connection = TABLES[CONNECTION.name]
_earlier = CONNECTION_REVISION
_parts = {part.reference: TABLES[part.resource.name].alias(part.prefix) for part in PARTS}
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


_keep: Final = Statement(
    insert_into(_earlier).from_select(list(_columns), _present().where(in_json(_connection.c.id, "ids")))
)


def _revise() -> Statement:
    change = update_table(_connection).where(in_json(_connection.c.id, "ids"))
    revision = _connection.c.revision_number + 1
    # `updated_at` has an index: without it PostgreSQL writes no index anew.
    return Statement(change.values(**writing.configured(_connection), revision_number=revision))


_revise_connections: Final = _revise()


def keep(tx: Transaction, ids: Iterable[str]) -> str:
    """Keeps the present configurations of connections, which are locked, before a write to them or to a policy of
    theirs. A transaction keeps those of a connection once: it makes one revision. Returns the ids of those that were
    kept, as JSON; empty if there are none."""
    fresh = [id for id in ids if id not in tx.kept]
    if not fresh:
        return ""
    tx.kept.update(fresh)
    text = encode_json(fresh)
    tx.run(_keep, ids=text)
    return text


def revise(tx: Transaction, policy: Resource, id: str) -> None:
    """Gives the connections with a policy, which is about to be written, another revision, and has their nodes take
    them up anew."""
    reference = next(part.reference for part in PARTS if part.resource is policy)
    if kept := keep(tx, revisions.touch_users(tx, reference, id)):
        tx.run(_revise_connections, updated_at=tx.wall, author=tx.author, ids=kept)


def _drop() -> Statement:
    """DELETE of the oldest configurations of connections beyond `most`, but for the last good one."""
    own = _earlier.c.connection_id
    good = func.max(case((_earlier.c.good, _earlier.c.number))).over(partition_by=own)
    ranked = (
        select(
            _earlier.c.id,
            _earlier.c.number,
            func.row_number().over(partition_by=own, order_by=_earlier.c.number.desc()).label("place"),
            func.coalesce(good, -1).label("last_good"),
        )
        .where(in_json(_earlier.c.connection_id, "ids"))
        .subquery()
    )
    most: ColumnElement[Any] = bindparam("most", type_=None)
    old = select(ranked.c.id).where(ranked.c.place > most, ranked.c.number != ranked.c.last_good)
    return Statement(delete(_earlier).where(_earlier.c.id.in_(old)))


_drop_oldest: Final = _drop()


def drop_oldest(tx: Transaction, ids: Sequence[str]) -> None:
    """Drops what is kept of connections beyond the bound, but for the last one that was up: from time to time, so that
    no write pays for it (`store.timeline_ticker`)."""
    if ids:
        tx.run(_drop_oldest, most=tx.keep_revisions, ids=encode_json(ids))


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
