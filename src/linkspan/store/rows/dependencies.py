"""Dependencies between resources: which objects use which.

Returns ids or rows; whether a dependency forbids something is the API's decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, or_, select

from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    PORT,
    ROUTER,
    SERVICE,
    SUBNET,
    TRUST_ANCHOR,
    Resource,
)
from linkspan.store import revisions
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import ADDRESS, RELEASED, TABLES
from linkspan.store.rows.mapping import MAPPERS
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]
_group = TABLES[ENDPOINT_GROUP.name]
_port = TABLES[PORT.name]
_subnet = TABLES[SUBNET.name]


@statement
def _using(columns: tuple[str, ...]) -> Statement:
    ways = [
        (_connection.c[column] if column in RELEASED[CONNECTION.name] else _connection.c[f"live_{column}"])
        == bindparam(column)
        for column in columns
    ]
    return Statement(select(_connection.c.id).where(or_(*ways)).order_by(_connection.c.id))


def connections_using(
    tx: Transaction,
    *,
    service: str | None = None,
    ike_policy: str | None = None,
    ipsec_policy: str | None = None,
    endpoint_group: str | None = None,
    certificate: str | None = None,
    trust_anchor: str | None = None,
) -> list[str]:
    """Ids of the live connections that name any of these."""
    ids = {
        "vpnservice_id": service,
        "ikepolicy_id": ike_policy,
        "ipsecpolicy_id": ipsec_policy,
        "local_ep_group_id": endpoint_group,
        "peer_ep_group_id": endpoint_group,
        "local_certificate_id": certificate,
        "trust_anchor_id": trust_anchor,
    }
    named = {column: id for column, id in ids.items() if id is not None}
    return _ids(tx, _using(tuple(sorted(named))), **named) if named else []


@statement
def _with_credentials(count: int) -> Statement:
    has = or_(_connection.c.auth_mode != "psk", _connection.c.ppk_key_id.is_not(None))
    query = select(_connection.c.id).where(in_slots(_connection.c.id, "id", count), has)
    return Statement(query.order_by(_connection.c.id))


def with_credentials(tx: Transaction, ids: Iterable[str]) -> list[str]:
    """Those of these connections that have certificates or a post-quantum key, by id."""
    found: list[str] = []
    for some in chunks(sorted(ids)):
        found += _ids(tx, _with_credentials(slot_count(some)), **fill_slots("id", some))
    return found


_credentialed: Final = Statement(
    select(_connection.c.id)
    .where(
        _connection.c.live_ikepolicy_id == bindparam("policy"),
        or_(_connection.c.auth_mode != "psk", _connection.c.ppk_key_id.is_not(None)),
    )
    .order_by(_connection.c.id)
)


def credentialed_with(tx: Transaction, ike_policy: str) -> list[str]:
    """Those of the live connections with an IKE policy that have certificates or a post-quantum key, by id."""
    return _ids(tx, _credentialed, policy=ike_policy)


_with_ppk: Final = Statement(
    select(_connection.c.id)
    .join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    .where(
        _service.c.live_router_id == bindparam("router"),
        _connection.c.ppk_key_id.is_not(None),
        func.lower(_connection.c.ppk_id) == bindparam("name"),
    )
    .order_by(_connection.c.id)
)


def with_ppk(tx: Transaction, router: str, name: str) -> list[str]:
    """The live connections of a router with a post-quantum key of this name, by id. Case does not count."""
    return _ids(tx, _with_ppk, router=router, name=name.lower())


@statement
def _used_with(resource_name: str) -> Statement:
    other, mine, its = _OTHER_POLICY[resource_name]
    mapper = MAPPERS[other]
    ids = select(_connection.c[its]).where(_connection.c[f"live_{mine}"] == bindparam("policy"))
    query = select(*mapper.columns).select_from(mapper.source).where(mapper.table.c.id.in_(ids))
    return Statement(query.order_by(mapper.table.c.id))


# A policy's resource -> the one of its counterpart, and the columns of a connection that name itself and that one.
_OTHER_POLICY: Final = {
    IKE_POLICY.name: (IPSEC_POLICY.name, "ikepolicy_id", "ipsecpolicy_id"),
    IPSEC_POLICY.name: (IKE_POLICY.name, "ipsecpolicy_id", "ikepolicy_id"),
}


def policies_used_with(tx: Transaction, resource: Resource, id: str) -> list[Row]:
    """The IPsec policies that live connections combine with this IKE policy, or the reverse; by id."""
    mapper = MAPPERS[_OTHER_POLICY[resource.name][0]]
    return [mapper.row(values, tx) for values in tx.rows(_used_with(resource.name), policy=id)]


@statement
def _services_on(router: bool, subnet: bool) -> Statement:
    mapper = MAPPERS[SERVICE.name]
    query = select(*mapper.columns).select_from(mapper.source).order_by(_service.c.name, _service.c.id)
    query = query.where(_service.c.deleted_at.is_(None))
    if router:
        query = query.where(_service.c.live_router_id == bindparam("router"))
    return Statement(query.where(_service.c.live_subnet_id == bindparam("subnet")) if subnet else query)


def services_on(tx: Transaction, *, router: str | None = None, subnet: str | None = None) -> list[Row]:
    """Live services on this router and (if both are given) this subnet."""
    revisions.flush(tx)
    found = tx.rows(_services_on(router is not None, subnet is not None), router=router, subnet=subnet)
    return [MAPPERS[SERVICE.name].row(each, tx) for each in found]


def _holds(subnet: str) -> Any:
    # Endpoints are kept as a JSON list of uuids: no other text can hold a uuid in quotes.
    return and_(_group.c.type == "subnet", _group.c.endpoints.contains(bindparam(subnet)))


_groups_with: Final = Statement(
    select(*MAPPERS[ENDPOINT_GROUP.name].columns).where(_holds("quoted")).order_by(_group.c.name, _group.c.id)
)


def endpoint_groups_with(tx: Transaction, subnet: str) -> list[Row]:
    """Endpoint groups of type subnet that hold this subnet."""
    found = tx.rows(_groups_with, quoted=f'"{subnet}"')
    return [MAPPERS[ENDPOINT_GROUP.name].row(each, tx) for each in found]


_through_groups: Final = Statement(
    select(_connection.c.id)
    .join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    .join(
        _group,
        or_(_group.c.id == _connection.c.live_local_ep_group_id, _group.c.id == _connection.c.live_peer_ep_group_id),
    )
    .where(_service.c.live_router_id == bindparam("router"), _holds("quoted"))
    .order_by(_group.c.name, _group.c.id, _connection.c.id)
)


def connections_through_groups(tx: Transaction, router: str, subnet: str) -> list[str]:
    """Ids of the live connections on this router whose endpoint groups hold this subnet, by the groups' names."""
    return _ids(tx, _through_groups, router=router, quoted=f'"{subnet}"')


_on_router: Final = Statement(
    select(_connection.c.id)
    .join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    .where(_service.c.router_id == bindparam("router"))
    .order_by(_connection.c.id)
)
_on_subnet: Final = Statement(
    select(_connection.c.id)
    .join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    .outerjoin(_group, _group.c.id == _connection.c.live_local_ep_group_id)
    .where(or_(_service.c.subnet_id == bindparam("subnet"), _holds("quoted")))
    .order_by(_connection.c.id)
)
_routers_on_subnet: Final = Statement(
    select(_port.c.device_id)
    .join(ADDRESS, ADDRESS.c.port_id == _port.c.id)
    .where(ADDRESS.c.subnet_id == bindparam("subnet"))
    .distinct()
    .order_by(_port.c.device_id)
)
_routers_on_network: Final = Statement(
    select(_port.c.device_id).where(_port.c.network_id == bindparam("network")).distinct().order_by(_port.c.device_id)
)
_on_network: Final = Statement(
    select(_connection.c.id)
    .join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    .where(_service.c.router_id.in_(select(_port.c.device_id).where(_port.c.network_id == bindparam("network"))))
    .order_by(_connection.c.id)
)
_router_of_port: Final = Statement(select(_port.c.device_id).where(_port.c.id == bindparam("port")))


def affected_by(tx: Transaction, resource: Resource, id: str) -> tuple[list[str], list[str]]:
    """(connections, gateways) to `touch` when this object changes, which is no policy (`revisions.touch_users`). Ask
    before a removal, after an update."""
    match resource.name:
        case CONNECTION.name:
            return [id], []
        case SERVICE.name | CERTIFICATE.name | TRUST_ANCHOR.name:
            return connections_using(tx, **{resource.name: id}), []
        case ENDPOINT_GROUP.name:
            return connections_using(tx, endpoint_group=id), []
        case SUBNET.name:
            return _ids(tx, _on_subnet, subnet=id, quoted=f'"{id}"'), _ids(tx, _routers_on_subnet, subnet=id)
        case NETWORK.name:
            return _ids(tx, _on_network, network=id), _ids(tx, _routers_on_network, network=id)
        case ROUTER.name:
            return _ids(tx, _on_router, router=id), [id]
        case PORT.name:
            routers = _ids(tx, _router_of_port, port=id)
            return [each for router in routers for each in _ids(tx, _on_router, router=router)], routers
        case other:
            raise ValueError(f"a {other} affects no node")


def _ids(tx: Transaction, statement: Statement, **values: str) -> list[str]:
    return [id for (id,) in tx.rows(statement, **values)]
