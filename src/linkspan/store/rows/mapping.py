"""Registry <-> rows: what a resource's row holds, and how a tuple of the database becomes it.

Everything that does not depend on the request is computed once per resource, at import: names, converters, and the
FROM with the joins that status and addresses come from. It refuses attributes that the registry does not know.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, FromClause, and_, literal_column, select
from sqlalchemy.sql.functions import aggregate_strings

from linkspan.core.schema.resources import (
    CONNECTION,
    NETWORK,
    PORT,
    RESOURCES,
    ROUTER,
    SERVICE,
    SUBNET,
    Attribute,
    Resource,
)
from linkspan.core.secret import Secret
from linkspan.core.state import status
from linkspan.store.database.statements import encode_json
from linkspan.store.database.tables import CHANGE, GATEWAY, IS_GATEWAY_PORT, NODE, OBSERVED, TABLES, column_name
from linkspan.store.transaction import Row, Transaction

_ours = ("revision_number", "created_at", "updated_at")
_decode: Final = msgspec.json.Decoder().decode


@functools.lru_cache(maxsize=8192)
def _second(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: float) -> datetime:
    """A time as clients read it: 2026-11-23T01:41:31Z."""
    return _second(int(seconds))


class Mapper:
    """One resource: its table, what a SELECT of it takes, and both directions of conversion."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.table = TABLES[resource.name]
        stored = [attribute for attribute in resource.attributes if attribute.stored and not attribute.secret]
        self.stored: dict[str, Attribute] = {attribute.name: attribute for attribute in stored}
        self.secrets = tuple(attribute.name for attribute in resource.attributes if attribute.secret)
        self._ignored = frozenset(a.name for a in resource.attributes if not a.stored) | {"facts"}
        self.names = (*self.stored, *_ours)
        self._json = frozenset(a.name for a in stored if a.kind.column == "json")
        self._plain = _written_out(self.names, self._json, {a.name for a in stored if a.kind.column == "boolean"})
        columns: list[Any] = [self.table.c[column_name(attribute)] for attribute in stored]
        columns += [self.table.c[name] for name in _ours]
        for name in self.secrets:
            columns += [self.table.c[name], self.table.c[f"{name}_key_id"]]
        self.base = len(columns)
        more, self.source, self._extra = _EXTRAS.get(resource.name, _plain)(self.table)
        self.columns = (*columns, *more)

    def row(self, values: Sequence[Any], tx: Transaction, with_secrets: bool = True) -> Row:
        """The row that a tuple of `columns` stands for."""
        row = self._plain(values)
        if with_secrets:
            for at, name in enumerate(self.secrets):
                start = len(self.names) + 2 * at
                row[name] = _open(tx, row, name, values[start], values[start + 1])
        if self._extra is not None:
            self._extra(row, values[self.base :])
        return row

    def complete(self, values: Row) -> Row:
        """Values for a new row: defaults filled in, only what is stored. Raises KeyError for an unknown name."""
        self._known(values)
        row: Row = {}
        for name, attribute in self.stored.items():
            default = None if attribute.default is msgspec.UNSET else attribute.default
            row[name] = values.get(name, default)
        for name in self.secrets:
            row[name] = values.get(name)
        return row

    def chosen(self, values: Row) -> Row:
        """The part of an update that is stored. Raises KeyError for an unknown name."""
        self._known(values)
        return {name: value for name, value in values.items() if name in self.stored or name in self.secrets}

    def _known(self, values: Row) -> None:
        for name in values:
            if name not in self.stored and name not in self.secrets and name not in self._ignored:
                raise KeyError(f"{self.resource.name} has no attribute {name}")

    def parameters(self, row: Row, tx: Transaction, project: str, id: str) -> Row:
        """Column -> what the driver takes, for attributes of a row; secrets go into envelopes."""
        made: Row = {}
        for name, value in row.items():
            if name in self.secrets:
                made |= _seal(tx, name, value, project, id)
            elif name in self._json:
                made[name] = None if value is None else encode_json(value)
            else:
                made[column_name(self.stored[name])] = value
        return made


def _written_out(names: Sequence[str], json: Set[str], boolean: Set[str]) -> Callable[[Sequence[Any]], Row]:
    """A function that makes a row of a tuple: as an expression, for a loop over the names costs twice as much.

    The names are the registry's, and nothing else is in the text.
    """
    ways = dict.fromkeys(json, "{0} and decode({0})") | dict.fromkeys(boolean, "bool({0})")
    ways |= dict.fromkeys(("created_at", "updated_at"), "moment({0})")
    items = (f"{name!r}: {ways.get(name, '{0}').format(f'v[{place}]')}" for place, name in enumerate(names))
    made: Callable[[Sequence[Any]], Row] = eval(  # noqa: S307
        f"lambda v: {{{', '.join(items)}}}", {"decode": _decode, "moment": _moment}
    )
    return made


def _open(tx: Transaction, row: Row, name: str, ciphertext: Any, key_id: Any) -> Secret | None:
    if ciphertext is None:
        return None
    return tx.keyring.open(key_id, bytes(ciphertext), row["project_id"], row["id"], name)


def _seal(tx: Transaction, name: str, value: Any, project: str, id: str) -> Row:
    if value is None:
        return {name: None, f"{name}_key_id": None, f"{name}_ref": None}
    secret = value if isinstance(value, Secret) else Secret(value)
    sealed = tx.keyring.seal(secret, project, id, name)
    named = tx.keyring.name(secret, project)
    return {name: sealed.ciphertext, f"{name}_key_id": sealed.key_id, f"{name}_ref": named}


Extra = Callable[[Row, Sequence[Any]], None]
Extras = tuple[list[ColumnElement[Any]], FromClause, Extra | None]


def _plain(table: Any) -> Extras:
    return [], table, None


def _seen(source: FromClause, kind: str, object_id: ColumnElement[str]) -> FromClause:
    """Adds what was desired and observed of an object to a FROM that has its gateway; only the holder's word counts."""
    source = source.outerjoin(NODE, NODE.c.id == GATEWAY.c.node_id)
    source = source.outerjoin(
        CHANGE,
        and_(CHANGE.c.node_id == GATEWAY.c.node_id, CHANGE.c.kind == kind, CHANGE.c.object_id == object_id),
    )
    return source.outerjoin(
        OBSERVED,
        and_(
            OBSERVED.c.kind == kind,
            OBSERVED.c.object_id == object_id,
            OBSERVED.c.node_id == GATEWAY.c.node_id,
            OBSERVED.c.generation == GATEWAY.c.generation,
        ),
    )


_SEEN: Final[list[ColumnElement[Any]]] = [
    CHANGE.c.revision,
    CHANGE.c.at,
    NODE.c.name,
    NODE.c.lease_until,
    OBSERVED.c.revision,
    OBSERVED.c.state,
    OBSERVED.c.reason,
    OBSERVED.c.applied_at,
    OBSERVED.c.ready_at,
]


def _facts(row: Row, deleted_at: float | None, enabled: bool, seen: Sequence[Any]) -> status.StatusInputs:
    revision, changed_at, node, lease, applied, state, reason, applied_at, ready_at = seen
    return status.StatusInputs(
        deleted=deleted_at is not None,
        enabled=enabled,
        revision=revision or 0,
        changed_at=row["created_at"].timestamp() if changed_at is None else changed_at,
        node=None if node is None else status.Node(node, lease),
        observed=None
        if state is None
        else status.Observed(revision=applied, state=state, reason=reason, applied_at=applied_at, ready_at=ready_at),
    )


def _connection(table: Any) -> Extras:
    service = TABLES[SERVICE.name]
    source = table.outerjoin(service, service.c.id == table.c.vpnservice_id)
    source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == service.c.router_id)
    columns = [table.c.deleted_at, service.c.admin_state_up, OBSERVED.c.effective_mtu, *_SEEN]

    def extra(row: Row, rest: Sequence[Any]) -> None:
        row["effective_mtu"] = rest[2]
        row["facts"] = _facts(row, rest[0], row["admin_state_up"] and bool(rest[1]), rest[3:])

    return columns, _seen(source, "connection", table.c.id), extra


def _gateway_port(router_id: ColumnElement[str]) -> tuple[Any, ColumnElement[bool]]:
    port = TABLES[PORT.name].alias("gateway_port")
    return port, and_(port.c.device_id == router_id, port.c.device_owner == IS_GATEWAY_PORT)


def _service(table: Any) -> Extras:
    port, joined = _gateway_port(table.c.router_id)
    source = table.outerjoin(port, joined).outerjoin(GATEWAY, GATEWAY.c.router_id == table.c.router_id)
    columns = [port.c.fixed_ips, table.c.deleted_at, *_SEEN]

    def extra(row: Row, rest: Sequence[Any]) -> None:
        row["external_v4_ip"], row["external_v6_ip"] = outside_addresses(rest[0])
        row["facts"] = _facts(row, rest[1], row["admin_state_up"], rest[2:])

    return columns, _seen(source, "gateway", table.c.router_id), extra


@functools.lru_cache(maxsize=65_536)
def outside_addresses(fixed_ips: str | None) -> tuple[str | None, str | None]:
    """The first IPv4 and the first IPv6 address of a port's `fixed_ips` as they are kept."""
    addresses = [fixed["ip_address"] for fixed in _decode(fixed_ips)] if fixed_ips else []
    v4 = next((address for address in addresses if ":" not in address), None)
    return v4, next((address for address in addresses if ":" in address), None)


def _router(table: Any) -> Extras:
    port, joined = _gateway_port(table.c.id)

    def extra(row: Row, rest: Sequence[Any]) -> None:
        network, fixed_ips = rest
        row["external_gateway_info"] = (
            None if network is None else {"network_id": network, "external_fixed_ips": _decode(fixed_ips)}
        )

    return [port.c.network_id, port.c.fixed_ips], table.outerjoin(port, joined), extra


def _network(table: Any) -> Extras:
    subnet = TABLES[SUBNET.name]
    # A literal separator: a text would be filled in at each execution, and ours are compiled once.
    space: Any = literal_column("' '")
    ids = select(aggregate_strings(subnet.c.id, space)).where(subnet.c.network_id == table.c.id)

    def extra(row: Row, rest: Sequence[Any]) -> None:
        row["subnets"] = sorted(rest[0].split()) if rest[0] else []

    return [ids.correlate(table).scalar_subquery()], table, extra


def _subnet(table: Any) -> Extras:
    network = TABLES[NETWORK.name]

    def extra(row: Row, rest: Sequence[Any]) -> None:
        row["router:external"] = bool(rest[0])

    return [network.c.router_external], table.outerjoin(network, network.c.id == table.c.network_id), extra


_EXTRAS: Final[dict[str, Callable[[Any], Extras]]] = {
    CONNECTION.name: _connection,
    SERVICE.name: _service,
    ROUTER.name: _router,
    NETWORK.name: _network,
    SUBNET.name: _subnet,
}

MAPPERS: Final = {resource.name: Mapper(resource) for resource in RESOURCES}


def created_row(mapper: Mapper, values: Row, wall: float) -> Row:
    """The row that was just inserted, without reading it again."""
    row = {name: values[name] for name in mapper.stored}
    row |= {"revision_number": 1, "created_at": _moment(wall), "updated_at": _moment(wall)}
    for name in mapper.secrets:
        value = values[name]
        row[name] = Secret(value) if isinstance(value, str) else value
    if mapper.resource.name == NETWORK.name:
        row["subnets"] = []
    elif mapper.resource.name == ROUTER.name:
        row["external_gateway_info"] = None
    return row
