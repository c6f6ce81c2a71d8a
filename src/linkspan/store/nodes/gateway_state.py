"""Gateways as a node needs them: the interfaces of a router, from its ports, addresses and subnets.

One statement whatever the number of gateways. An address is the port's own, so that two routers on one subnet do not
both claim the subnet's gateway address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, literal_column, select

from linkspan.core.schema.resources import GATEWAY_PORT, NETWORK, PORT, ROUTER, SUBNET
from linkspan.core.state.desired import Gateway, InsideInterface, OutsideInterface
from linkspan.store.database.statements import (
    Statement,
    chunks,
    fill_slots,
    in_slots,
    slot_count,
    statement,
    struct_columns,
)
from linkspan.store.database.tables import ADDRESS, CHANGE, GATEWAY, TABLES
from linkspan.store.revisions import join_changes
from linkspan.store.transaction import Transaction

_subnet = TABLES[SUBNET.name]
_network = TABLES[NETWORK.name]
_port = TABLES[PORT.name]
_router = TABLES[ROUTER.name]


class _InterfaceRow(msgspec.Struct):
    """A row for `gateways`. All but the first four are None for a router without ports."""

    router_id: str
    revision: int
    generation: int
    router_enabled: bool
    owner: str | None
    mac_address: str
    network_id: str
    network_name: str
    network_enabled: bool
    address: str | None
    cidr: str
    gateway_ip: str | None


def _interfaces() -> tuple[Any, dict[str, Any]]:
    """Gateways with their interfaces, and the columns of `_InterfaceRow` but for the revision."""
    source: Any = GATEWAY.join(_router, _router.c.id == GATEWAY.c.router_id)
    source = source.outerjoin(_port, _port.c.device_id == GATEWAY.c.router_id)
    source = source.outerjoin(_network, _network.c.id == _port.c.network_id)
    source = source.outerjoin(ADDRESS, ADDRESS.c.port_id == _port.c.id)
    source = source.outerjoin(_subnet, _subnet.c.id == ADDRESS.c.subnet_id)
    columns = {
        "router_id": GATEWAY.c.router_id,
        "generation": GATEWAY.c.generation,
        "router_enabled": _router.c.admin_state_up,
        "owner": _port.c.device_owner,
        "mac_address": _port.c.mac_address,
        "network_id": _network.c.id,
        "network_name": _network.c.name,
        "network_enabled": _network.c.admin_state_up,
        "address": ADDRESS.c.ip_address,
        "cidr": _subnet.c.cidr,
        "gateway_ip": _subnet.c.gateway_ip,
    }
    return source, columns


# IPv4 before IPv6, then by address: the same interfaces always read the same.
_ORDER: Final = (GATEWAY.c.router_id, _network.c.id, _subnet.c.ip_version, ADDRESS.c.ip_address)


def _interface_rows() -> Statement:
    source, columns = _interfaces()
    selected = struct_columns(_InterfaceRow, **columns, revision=CHANGE.c.revision)
    query = select(*selected).select_from(join_changes("gateway", source, GATEWAY.c.router_id))
    query = query.where(GATEWAY.c.node_id == bindparam("node"), GATEWAY.c.deleted_at.is_(None))
    return Statement(query.order_by(*_ORDER))


interface_rows: Final = _interface_rows()
"""Rows for `gateways`: one per address of a gateway that `node` has to take up after `since`."""


@statement
def _rows_by_router(count: int) -> Statement:
    source, columns = _interfaces()
    selected = struct_columns(_InterfaceRow, **columns, revision=literal_column("0"))
    query = select(*selected).select_from(source).where(in_slots(GATEWAY.c.router_id, "id", count))
    return Statement(query.where(GATEWAY.c.deleted_at.is_(None)).order_by(*_ORDER))


def live_gateways(tx: Transaction, router_ids: Iterable[str]) -> dict[str, Gateway]:
    """The gateways that these routers are, as their nodes would see them, by router id."""
    found: dict[str, Gateway] = {}
    for some in chunks(sorted(router_ids)):
        rows = tx.rows(_rows_by_router(slot_count(some)), **fill_slots("id", some))
        found |= {gateway.id: gateway for gateway in gateways(rows)}
    return found


def gateways(rows: Iterable[Any]) -> tuple[Gateway, ...]:
    """The gateways of rows of `interface_rows`."""
    by_router: dict[str, list[_InterfaceRow]] = {}
    for row in rows:
        interface = _InterfaceRow(*row)
        by_router.setdefault(interface.router_id, []).append(interface)
    return tuple(
        Gateway(
            id=id,
            revision=interfaces[0].revision,
            generation=interfaces[0].generation,
            outside=_outside(interfaces),
            inside=_inside(interfaces),
            enabled=bool(interfaces[0].router_enabled),
        )
        for id, interfaces in by_router.items()
    )


def _outside(rows: Sequence[_InterfaceRow]) -> OutsideInterface:
    own = [row for row in rows if row.owner == GATEWAY_PORT]
    if not own:
        return OutsideInterface("", "", (), ())
    addresses = tuple(_with_prefix(row.address, row.cidr) for row in own if row.address is not None)
    # One next hop per subnet, not per address.
    hops = dict.fromkeys(row.gateway_ip for row in own if row.gateway_ip)
    first = own[0]
    return OutsideInterface(
        network_id=first.network_id,
        network_name=first.network_name,
        addresses=addresses,
        next_hops=tuple(hops),
        enabled=bool(first.network_enabled),
        mac_address=first.mac_address,
    )


def _inside(rows: Sequence[_InterfaceRow]) -> tuple[InsideInterface, ...]:
    networks: dict[str, list[_InterfaceRow]] = {}
    for row in rows:
        if row.owner is not None and row.owner != GATEWAY_PORT and row.address is not None:
            networks.setdefault(row.network_id, []).append(row)
    return tuple(
        InsideInterface(
            network_id=id,
            addresses=tuple(_with_prefix(row.address, row.cidr) for row in ports if row.address is not None),
            enabled=bool(ports[0].network_enabled),
            mac_address=ports[0].mac_address,
        )
        for id, ports in networks.items()
    )


def _with_prefix(address: str, cidr: str) -> str:
    return f"{address}/{cidr.rpartition('/')[2]}"
