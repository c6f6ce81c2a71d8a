"""Registry <-> rows: the columns of a resource, and how a tuple of the database becomes a row and back.

Everything that does not depend on the request is computed once per resource, at import: names, converters, and the
FROM with the joins that status and addresses come from. It refuses attributes that the registry does not know.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace
from sqlalchemy import ColumnElement, FromClause, and_, func, literal_column, select
from sqlalchemy.sql.functions import aggregate_strings

from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    NETWORK,
    PORT,
    RESOURCES,
    ROUTER,
    SERVICE,
    STANDARD_ATTRIBUTES,
    SUBNET,
    TRUST_ANCHOR,
    Attribute,
    Resource,
)
from linkspan.core.secret import Secret
from linkspan.core.state.status import Node, Observed, StatusInputs
from linkspan.store.database.statements import encode_json, struct_columns
from linkspan.store.database.tables import (
    CHANGE,
    CONNECTION_REVISION,
    GATEWAY,
    IS_GATEWAY_PORT,
    NODE,
    OBSERVED,
    SOFT,
    TABLES,
    column_name,
)
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

_decode: Final = msgspec.json.Decoder().decode


@functools.lru_cache(maxsize=8192)
def _second(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: float) -> datetime:
    """A time as clients read it: 2026-11-23T01:41:31Z."""
    return _second(int(seconds))


class Mapper:
    """One resource: its table, the columns of a SELECT of its rows, and both directions of conversion."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.table = TABLES[resource.name]
        stored = [attribute for attribute in resource.attributes if attribute.stored and not attribute.secret]
        self.stored: dict[str, Attribute] = {attribute.name: attribute for attribute in stored}
        self.secrets = tuple(attribute.name for attribute in resource.attributes if attribute.secret)
        self._ignored = frozenset(a.name for a in resource.attributes if not a.stored)
        self._json = tuple(a.name for a in stored if a.kind.column == "json")
        booleans = tuple(a.name for a in stored if a.kind.column == "boolean")
        converted = (*self._json, *booleans, "created_at", "updated_at")
        plain = [name for name in (*self.stored, *STANDARD_ATTRIBUTES) if name not in converted]
        self.names = (*plain, *converted)
        columns: list[Any] = [
            self.table.c[column_name(self.stored[name]) if name in self.stored else name] for name in self.names
        ]
        is_carried = resource.name in SOFT
        self._sealed: list[tuple[str, int, bool]] = []
        """Of each secret its name, where its columns begin, and whether it is opened."""
        for name in self.secrets:
            self._sealed.append((name, len(columns), is_carried or not resource.by_name[name].write_only))
            columns += [self.table.c[name], self.table.c[f"{name}_key_id"]]
        self.base = len(columns)
        joined = _JOINS.get(resource.name, _no_join)(self.table)
        self.source = joined.source
        self.is_plain = joined.source is self.table and not joined.columns
        """True if its rows have nothing of other tables."""
        self._complete = joined.complete
        self.columns = (*columns, *joined.columns)
        self._row = _row_maker(plain, self._json, booleans)

    def row(self, values: Sequence[Any], tx: Transaction, with_secrets: bool = True) -> Row:
        """The row of a tuple of `columns`. Without secrets, too, it knows whether they can be read: a status follows
        from that, whoever asks for it. A secret that nobody may read is opened only for what has a status."""
        row = self._row(values)
        for name, place, is_opened in self._sealed:
            ciphertext, secret = values[place], None
            if ciphertext is not None and is_opened:
                secret, fault = tx.keyring.try_open(
                    values[place + 1], bytes(ciphertext), row["project_id"], row["id"], name
                )
                if fault:
                    row.fault = row.fault or fault
            if with_secrets:
                row[name] = secret
        if self._complete is not None:
            self._complete(row, values[self.base :])
        return row

    def created(self, values: Values, wall: float) -> Row:
        """The row that was just inserted, without reading it again."""
        row = Row((name, values[name]) for name in self.stored)
        row["revision_number"] = 1
        row["created_at"] = row["updated_at"] = _moment(wall)
        for name in self.secrets:
            value = values[name]
            row[name] = Secret(value) if isinstance(value, str) else value
        if self.resource.name == NETWORK.name:
            row["subnets"] = []
        elif self.resource.name == ROUTER.name:
            row["external_gateway_info"] = None
        elif self.resource.name in (CERTIFICATE.name, TRUST_ANCHOR.name):
            row["in_use_by"] = []
        return row

    def complete(self, values: Values) -> Values:
        """Values for a new row: defaults filled in, only what is stored. Raises KeyError for an unknown name."""
        self._check_names(values)
        complete: Values = {}
        for name, attribute in self.stored.items():
            default = None if attribute.default is msgspec.UNSET else attribute.default
            complete[name] = values.get(name, default)
        for name in self.secrets:
            complete[name] = values.get(name)
        return complete

    def stored_part(self, values: Values) -> Values:
        """The part of an update that is stored. Raises KeyError for an unknown name."""
        self._check_names(values)
        return {name: value for name, value in values.items() if name in self.stored or name in self.secrets}

    def _check_names(self, values: Values) -> None:
        for name in values:
            if name not in self.stored and name not in self.secrets and name not in self._ignored:
                raise KeyError(f"{self.resource.name} has no attribute {name}")

    def parameters(self, values: Values, tx: Transaction, project: str, id: str) -> Values:
        """Column -> what the driver takes, for attributes of a row; secrets go into envelopes."""
        parameters: Values = {}
        for name, value in values.items():
            if name in self.secrets:
                parameters |= _seal(tx, name, value, project, id)
            elif name in self._json:
                parameters[name] = None if value is None else encode_json(value)
            else:
                parameters[column_name(self.stored[name])] = value
        return parameters


def _row_maker(plain: Sequence[str], json: Sequence[str], booleans: Sequence[str]) -> Callable[[Sequence[Any]], Row]:
    """A function that makes a row of the values of columns in this order: plain, JSON, booleans, the two times.

    The values after these are ignored. Lists of a thousand rows spend a quarter of their time here, so the columns
    that need no conversion come first and are taken over together.
    """
    json_places = list(enumerate(json, len(plain)))
    boolean_places = list(enumerate(booleans, len(plain) + len(json)))
    created = len(plain) + len(json) + len(booleans)
    updated = created + 1
    decode, second = _decode, _second

    def make(values: Sequence[Any]) -> Row:
        row = Row(zip(plain, values))  # noqa: B905 # the other values follow
        for place, name in json_places:
            text = values[place]
            row[name] = None if text is None else decode(text)
        for place, name in boolean_places:
            row[name] = values[place] == 1
        created_at, updated_at = values[created], values[updated]
        row["created_at"] = time = second(int(created_at))
        row["updated_at"] = time if updated_at == created_at else second(int(updated_at))
        return row

    return make


def _seal(tx: Transaction, name: str, value: Any, project: str, id: str) -> Values:
    if value is None:
        return {name: None, f"{name}_key_id": None, f"{name}_ref": None, f"{name}_written_at": None}
    secret = value if isinstance(value, Secret) else Secret(value)
    sealed = tx.keyring.seal(secret, project, id, name)
    named = tx.keyring.name(secret, project)
    return {
        name: sealed.ciphertext,
        f"{name}_key_id": sealed.key_id,
        f"{name}_ref": named,
        f"{name}_written_at": tx.now,
    }


class _Join(NamedTuple):
    """The contribution of other tables to a resource's rows: joins, columns, and how they complete a row."""

    source: FromClause
    columns: Sequence[ColumnElement[Any]] = ()
    complete: Callable[[Row, Sequence[Any]], None] | None = None


def _no_join(table: Any) -> _Join:
    return _Join(table)


class _Carried(msgspec.Struct):
    """Desired and observed state of an object that a gateway carries, as columns."""

    deleted_at: float | None
    router_id: str | None
    changed_revision: int | None
    changed_at: float | None
    node_name: str | None
    lease_until: float
    observed_revision: int
    state: str | None
    reason: str
    applied_at: float
    ready_at: float | None
    code: str | None
    code_at: float | None

    def status_inputs(self, row: Row, enabled: bool) -> StatusInputs:
        """The inputs of the row's status."""
        return StatusInputs(
            deleted=self.deleted_at is not None,
            fault=row.fault,
            enabled=enabled,
            revision=self.changed_revision or 0,
            changed_at=row["created_at"].timestamp() if self.changed_at is None else self.changed_at,
            node=None if self.node_name is None else Node(self.node_name, self.lease_until),
            observed=None
            if self.state is None
            else Observed(
                revision=self.observed_revision,
                state=self.state,
                reason=self.reason,
                applied_at=self.applied_at,
                ready_at=self.ready_at,
                code=self.code or "",
                code_at=self.code_at,
            ),
        )


class _CarriedConnection(_Carried):
    service_enabled: bool
    effective_mtu: int | None
    configured_revision: int
    good_revision: int | None


class _CarriedService(_Carried):
    fixed_ips: str | None


def _carried_columns(table: Any, router_id: Any) -> dict[str, ColumnElement[Any]]:
    return {
        "deleted_at": table.c.deleted_at,
        "router_id": router_id,
        "changed_revision": CHANGE.c.revision,
        "changed_at": CHANGE.c.at,
        "node_name": NODE.c.name,
        "lease_until": NODE.c.lease_until,
        "observed_revision": OBSERVED.c.revision,
        "state": OBSERVED.c.state,
        "reason": OBSERVED.c.reason,
        "applied_at": OBSERVED.c.applied_at,
        "ready_at": OBSERVED.c.ready_at,
        "code": OBSERVED.c.code,
        "code_at": OBSERVED.c.code_at,
    }


def _join_state(source: FromClause, kind: str, object_id: ColumnElement[str]) -> FromClause:
    """Adds what is desired and observed of an object to a FROM that has its gateway; only what its node observed."""
    source = source.outerjoin(NODE, NODE.c.id == GATEWAY.c.node_id)
    source = source.outerjoin(
        CHANGE,
        and_(CHANGE.c.node_id == GATEWAY.c.node_id, CHANGE.c.kind == kind, CHANGE.c.object_id == object_id),
    )
    return join_observed(source, kind, object_id)


def join_observed(source: FromClause, kind: str, object_id: ColumnElement[str]) -> FromClause:
    """Adds what the node of the gateway, which a FROM has, has observed of an object."""
    return source.outerjoin(
        OBSERVED,
        and_(
            OBSERVED.c.kind == kind,
            OBSERVED.c.object_id == object_id,
            OBSERVED.c.node_id == GATEWAY.c.node_id,
            OBSERVED.c.generation == GATEWAY.c.generation,
        ),
    )


def _connection(table: Any) -> _Join:
    service = TABLES[SERVICE.name]
    source = table.outerjoin(service, service.c.id == table.c.vpnservice_id)
    source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == service.c.router_id)
    columns = struct_columns(
        _CarriedConnection,
        **_carried_columns(table, service.c.router_id),
        service_enabled=service.c.admin_state_up,
        effective_mtu=OBSERVED.c.effective_mtu,
        configured_revision=table.c.configured_revision,
        good_revision=_last_good(table),
    )

    def complete(row: Row, values: Sequence[Any]) -> None:
        carried = _CarriedConnection(*values)
        good, is_current = carried.good_revision, carried.good_revision == carried.configured_revision
        row["effective_mtu"] = carried.effective_mtu
        row["last_good_revision"] = row["revision_number"] if is_current else good
        row.router_id = carried.router_id
        inputs = carried.status_inputs(row, row["admin_state_up"] and bool(carried.service_enabled))
        row.status_inputs = inputs if good is None or is_current else replace(inputs, last_good=good)

    return _Join(_join_state(source, "connection", table.c.id), columns, complete)


def _last_good(table: Any) -> ColumnElement[Any]:
    """The number of the newest configuration of a connection that was up, whichever node has reported it."""
    observed, revision = OBSERVED.alias("of_any_node"), CONNECTION_REVISION
    newest = select(observed.c.good_revision).where(
        observed.c.object_id == table.c.id, observed.c.kind == literal_column("'connection'")
    )
    kept = select(func.max(revision.c.number)).where(revision.c.connection_id == table.c.id, revision.c.good)
    return func.coalesce(newest.correlate(table).scalar_subquery(), kept.correlate(table).scalar_subquery())


def _gateway_port(router_id: ColumnElement[str]) -> tuple[Any, ColumnElement[bool]]:
    port = TABLES[PORT.name].alias("gateway_port")
    return port, and_(port.c.device_id == router_id, port.c.device_owner == IS_GATEWAY_PORT)


def _service(table: Any) -> _Join:
    port, joined = _gateway_port(table.c.router_id)
    source = table.outerjoin(port, joined).outerjoin(GATEWAY, GATEWAY.c.router_id == table.c.router_id)
    columns = struct_columns(_CarriedService, **_carried_columns(table, table.c.router_id), fixed_ips=port.c.fixed_ips)

    def complete(row: Row, values: Sequence[Any]) -> None:
        carried = _CarriedService(*values)
        row["external_v4_ip"], row["external_v6_ip"] = outside_addresses(carried.fixed_ips)
        row.router_id = carried.router_id
        row.status_inputs = carried.status_inputs(row, row["admin_state_up"])

    return _Join(_join_state(source, "gateway", table.c.router_id), columns, complete)


@functools.lru_cache(maxsize=65_536)
def outside_addresses(fixed_ips: str | None) -> tuple[str | None, str | None]:
    """The first IPv4 and the first IPv6 address of a port's `fixed_ips` as they are stored."""
    addresses = [fixed["ip_address"] for fixed in _decode(fixed_ips)] if fixed_ips else []
    v4 = next((address for address in addresses if ":" not in address), None)
    return v4, next((address for address in addresses if ":" in address), None)


def _router(table: Any) -> _Join:
    port, joined = _gateway_port(table.c.id)

    def complete(row: Row, values: Sequence[Any]) -> None:
        network_id, fixed_ips = values
        row["external_gateway_info"] = (
            None if network_id is None else {"network_id": network_id, "external_fixed_ips": _decode(fixed_ips)}
        )

    return _Join(table.outerjoin(port, joined), (port.c.network_id, port.c.fixed_ips), complete)


def _network(table: Any) -> _Join:
    subnet = TABLES[SUBNET.name]
    # A literal separator: a text would be filled in at each execution, and ours are compiled once.
    space: Any = literal_column("' '")
    ids = select(aggregate_strings(subnet.c.id, space)).where(subnet.c.network_id == table.c.id)

    def complete(row: Row, values: Sequence[Any]) -> None:
        (subnet_ids,) = values
        row["subnets"] = sorted(subnet_ids.split()) if subnet_ids else []

    return _Join(table, [ids.correlate(table).scalar_subquery()], complete)


def _subnet(table: Any) -> _Join:
    network = TABLES[NETWORK.name]

    def complete(row: Row, values: Sequence[Any]) -> None:
        (is_external,) = values
        row["router:external"] = bool(is_external)

    source = table.outerjoin(network, network.c.id == table.c.network_id)
    return _Join(source, [network.c.router_external], complete)


def _users(column: str) -> Callable[[Any], _Join]:
    """The join of a resource that connections reference by this column."""

    def join(table: Any) -> _Join:
        connection = TABLES[CONNECTION.name]
        space: Any = literal_column("' '")
        ids = select(aggregate_strings(connection.c.id, space)).where(connection.c[column] == table.c.id)

        def complete(row: Row, values: Sequence[Any]) -> None:
            (users,) = values
            row["in_use_by"] = sorted(users.split()) if users else []

        return _Join(table, [ids.correlate(table).scalar_subquery()], complete)

    return join


_JOINS: Final[dict[str, Callable[[Any], _Join]]] = {
    CONNECTION.name: _connection,
    SERVICE.name: _service,
    ROUTER.name: _router,
    NETWORK.name: _network,
    SUBNET.name: _subnet,
    CERTIFICATE.name: _users("local_certificate_id"),
    TRUST_ANCHOR.name: _users("trust_anchor_id"),
}

MAPPERS: Final = {resource.name: Mapper(resource) for resource in RESOURCES}
