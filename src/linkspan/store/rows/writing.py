"""Writing rows: insert, update, remove; one statement each, built once per set of columns.

Secrets are sealed on their way in. What is deleted softly is not removed here (see `nodes.tombstones`). Refuses
what the database refuses: a reference to something that is gone is a `Conflict`.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_table

from linkspan.core.schema.resources import CONNECTION, NETWORK, PORT, ROUTER, SUBNET, Resource
from linkspan.store.database.statements import Statement, statement
from linkspan.store.database.tables import SOFT, TABLES
from linkspan.store.rows import ports, reading
from linkspan.store.rows.mapping import MAPPERS
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values, new_ordered_id

_INVENTORY: Final = frozenset(resource.name for resource in (NETWORK, SUBNET, ROUTER, PORT))


def new_id() -> str:
    """A new id, random."""
    return str(uuid.uuid4())


@statement
def _insert(name: str, columns: tuple[str, ...]) -> Statement:
    return Statement(insert_into(TABLES[name]), columns)


def insert(tx: Transaction, resource: Resource, values: Values) -> Row:
    """Adds a row and returns it as `get` would, without `status_inputs` and `router_id`. The id is made if absent."""
    mapper = MAPPERS[resource.name]
    row = mapper.complete(values)
    # The inventory's ids stay random: names of interfaces begin with their first digits.
    row["id"] = id = row["id"] or (new_id() if resource.name in _INVENTORY else new_ordered_id())
    parameters = mapper.parameters(row, tx, row["project_id"], id)
    wall = tx.wall
    parameters |= {"revision_number": 1, "created_at": wall, "updated_at": wall}
    if resource is CONNECTION:
        parameters["configured_by"] = tx.author
    tx.run(_insert(resource.name, tuple(parameters)), **parameters)
    if resource.name == PORT.name:
        ports.take_addresses(tx, row)
    return mapper.created(row, wall)


@statement
def _update(name: str, columns: tuple[str, ...], configures: bool = False, returning: bool = False) -> Statement:
    table = TABLES[name]
    query = update_table(table).where(table.c.id == bindparam("id_"))
    values: Values = {column: bindparam(column) for column in columns}
    if configures:
        values |= configured(table)
    query = query.values(**values, revision_number=table.c.revision_number + 1, updated_at=bindparam("updated_at"))
    return Statement(query.returning(*MAPPERS[name].columns) if returning else query)


@statement
def _project(name: str) -> Statement:
    table = TABLES[name]
    return Statement(select(table.c.project_id).where(table.c.id == bindparam("id")))


def configured(connection: Any) -> Values:
    """The columns of a connection that say which revision brought its configuration: the one that is written."""
    return {
        "configured_revision": connection.c.revision_number + 1,
        "configured_at": bindparam("updated_at"),
        "configured_by": bindparam("author"),
    }


def update(tx: Transaction, resource: Resource, id: str, values: Values, *, configures: bool = False) -> Row:
    """Changes the given attributes, bumps `revision_number` and `updated_at`; returns the row as `get` would.
    `configures`: it is a connection, which has another configuration then (`rows.connection_revisions`).

    Raises KeyError if it is not there.
    """
    mapper = MAPPERS[resource.name]
    chosen = mapper.stored_part(values)
    project = ""
    if any(name in chosen for name in mapper.secrets):
        found = tx.first(_project(resource.name), id=id)
        project = found[0] if found else ""
    parameters = mapper.parameters(chosen, tx, project, id)
    statement = _update(resource.name, tuple(sorted(parameters)), configures, mapper.is_plain)
    parameters |= {"id_": id, "updated_at": tx.wall, "author": tx.author}
    if mapper.is_plain:
        found = tx.first(statement, **parameters)
        row = None if found is None else mapper.row(found, tx)
    else:
        row = reading.get(tx, resource, id) if tx.run(statement, **parameters) else None
    if row is None:
        raise KeyError(f"{resource.name} {id} is not there")
    if resource.name == PORT.name and "fixed_ips" in chosen:
        ports.free_addresses(tx, id)
        ports.take_addresses(tx, row)
    return row


def revise(tx: Transaction, resource: Resource, id: str) -> None:
    """Bumps `revision_number` and `updated_at` of an object that has got or lost a part in another table, such as an
    interface."""
    tx.run(_update(resource.name, ()), id_=id, updated_at=tx.wall)


@statement
def _remove(name: str) -> Statement:
    table = TABLES[name]
    return Statement(delete(table).where(table.c.id == bindparam("id")))


def remove(tx: Transaction, resource: Resource, id: str) -> None:
    """Removes a row at once. Raises `Conflict` while something live refers to it."""
    if resource.name in SOFT:
        raise ValueError(f"a {resource.name} is deleted softly, not removed")
    tx.run(_remove(resource.name), id=id)
