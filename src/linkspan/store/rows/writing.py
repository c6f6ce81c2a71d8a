"""Writing rows: insert, update, remove; one statement each, built once per set of columns.

Secrets are sealed on their way in. What is deleted softly is not removed here (see `gateways`). Refuses what the
database refuses: a reference to something that is gone is a `Conflict`.
"""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Final

from sqlalchemy import bindparam, delete, insert, select, update

from linkspan.core.schema.resources import NETWORK, PORT, ROUTER, SUBNET, Resource
from linkspan.store.database.statements import Statement, statement
from linkspan.store.database.tables import SOFT, TABLES
from linkspan.store.rows import ports, reading
from linkspan.store.rows.mapping import MAPPERS, created_row
from linkspan.store.transaction import Row, Transaction

_INVENTORY: Final = frozenset(resource.name for resource in (NETWORK, SUBNET, ROUTER, PORT))


def new_id() -> str:
    """A new id, random."""
    return str(uuid.uuid4())


def new_ordered_id() -> str:
    """A new id that is greater than those made before this millisecond: UUID version 7 (RFC 9562 5.7).

    What was made together then lies together in every index, in which random ids of 100,000 connections are found one
    by one in memory that no cache holds.
    """
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return str(uuid.UUID(int=number & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62))


@statement
def _insert(name: str, columns: tuple[str, ...]) -> Statement:
    return Statement(insert(TABLES[name]), columns)


def add(work: Transaction, resource: Resource, values: Row) -> Row:
    """See `store.Tx.insert`."""
    mapper = MAPPERS[resource.name]
    row = mapper.complete(values)
    # The inventory's ids stay random: names of interfaces begin with their first digits.
    row["id"] = id = row["id"] or (new_id() if resource.name in _INVENTORY else new_ordered_id())
    parameters = mapper.parameters(row, work, row["project_id"], id)
    wall = work.wall
    parameters |= {"revision_number": 1, "created_at": wall, "updated_at": wall}
    work.run(_insert(resource.name, tuple(parameters)), **parameters)
    if resource.name == PORT.name:
        ports.take_addresses(work, id, row["fixed_ips"])
    return created_row(mapper, row, wall)


@statement
def _update(name: str, columns: tuple[str, ...]) -> Statement:
    table = TABLES[name]
    made = update(table).where(table.c.id == bindparam("id_"))
    values: Row = {column: bindparam(column) for column in columns}
    made = made.values(**values, revision_number=table.c.revision_number + 1, updated_at=bindparam("updated_at"))
    return Statement(made)


@statement
def _project(name: str) -> Statement:
    table = TABLES[name]
    return Statement(select(table.c.project_id).where(table.c.id == bindparam("id")))


def change(work: Transaction, resource: Resource, id: str, values: Row) -> Row:
    """See `store.Tx.update`."""
    mapper = MAPPERS[resource.name]
    chosen = mapper.chosen(values)
    project = ""
    if any(name in chosen for name in mapper.secrets):
        found = work.first(_project(resource.name), id=id)
        project = found[0] if found else ""
    parameters = mapper.parameters(chosen, work, project, id)
    statement = _update(resource.name, tuple(sorted(parameters)))
    if not work.run(statement, **parameters, id_=id, updated_at=work.wall):
        raise KeyError(f"{resource.name} {id} is not there")
    if resource.name == PORT.name and "fixed_ips" in chosen:
        ports.free_addresses(work, id)
        ports.take_addresses(work, id, chosen["fixed_ips"])
    row = reading.get(work, resource, id)
    if row is None:
        raise KeyError(f"{resource.name} {id} is not there")
    return row


@statement
def _remove(name: str) -> Statement:
    table = TABLES[name]
    return Statement(delete(table).where(table.c.id == bindparam("id")))


def remove(work: Transaction, resource: Resource, id: str) -> None:
    """See `store.Tx.remove`."""
    if resource.name in SOFT:
        raise ValueError(f"a {resource.name} is deleted softly, not removed")
    work.run(_remove(resource.name), id=id)
