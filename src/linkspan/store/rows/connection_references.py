"""Everything that a new connection references, in one query: service with its subnet, policies, endpoint groups.

The service's router is locked: of two writers on one gateway the second sees what the first one did. Each object is
looked up as the caller sees it; an absent one is None, and the API decides what that means.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Select, and_, bindparam, select

from linkspan.core.schema.resources import ENDPOINT_GROUP, IKE_POLICY, IPSEC_POLICY, ROUTER, SERVICE, SUBNET, Resource
from linkspan.store.database.statements import Statement, statement
from linkspan.store.database.tables import TABLES
from linkspan.store.rows.mapping import MAPPERS
from linkspan.store.rows.reading import is_present_row
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

_service = TABLES[SERVICE.name]
_router = TABLES[ROUTER.name]
_subnet = TABLES[SUBNET.name]


class ConnectionReferences(msgspec.Struct, frozen=True):
    """Rows as `reading.get` returns them, and the CIDR of the service's own subnet."""

    service: Row | None = None
    subnet_cidr: str | None = None
    ike: Row | None = None
    ipsec: Row | None = None
    local_group: Row | None = None
    peer_group: Row | None = None


# Field of `ConnectionReferences` -> its resource, and the attribute of a connection that references it.
_NAMED: dict[str, tuple[Resource, str]] = {
    "ike": (IKE_POLICY, "ikepolicy_id"),
    "ipsec": (IPSEC_POLICY, "ipsecpolicy_id"),
    "local_group": (ENDPOINT_GROUP, "local_ep_group_id"),
    "peer_group": (ENDPOINT_GROUP, "peer_ep_group_id"),
}


@statement
def _read(fields: tuple[str, ...], with_project: bool) -> Statement:
    service = MAPPERS[SERVICE.name]
    source: Any = service.source.join(_router, _router.c.id == _service.c.router_id)
    source = source.outerjoin(_subnet, _subnet.c.id == _service.c.subnet_id)
    columns = [*service.columns, _subnet.c.cidr]
    for field in fields:
        mapper = MAPPERS[_NAMED[field][0].name]
        table = mapper.table.alias(field)
        source = source.outerjoin(table, and_(table.c.id == bindparam(field), *_own(table, with_project)))
        columns += [table.c[column.name] for column in mapper.columns]
    query: Select[Any] = select(*columns).select_from(source)
    query = query.where(_service.c.id == bindparam("service"), is_present_row(_service), *_own(_service, with_project))
    return Statement(query.with_for_update(of=_router))


def _own(table: Any, with_project: bool) -> list[Any]:
    return [table.c.project_id == bindparam("project")] if with_project else []


def read(tx: Transaction, values: Values, project: str | None) -> ConnectionReferences:
    """Reads what a connection with these attributes references, as `reading.get` would, and locks its router."""
    named = {field: id for field, (_, attribute) in _NAMED.items() if (id := values[attribute]) is not None}
    found = tx.first(
        _read(tuple(named), project is not None),
        service=values["vpnservice_id"],
        project=project,
        now=tx.now,
        **named,
    )
    if found is None:
        return ConnectionReferences()
    service = MAPPERS[SERVICE.name]
    at = len(service.columns)
    rows: dict[str, Row | None] = {}
    start = at + 1
    for field in named:
        mapper = MAPPERS[_NAMED[field][0].name]
        part, start = found[start : start + mapper.base], start + mapper.base
        # The id comes first.
        rows[field] = None if part[0] is None else mapper.row(part, tx)
    return ConnectionReferences(service.row(found[:at], tx), found[at], **rows)
