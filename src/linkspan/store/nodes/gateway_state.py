"""Rows -> gateways as a node needs them: the legs of a router, out of its ports, their addresses and their subnets.

One statement whatever the number of gateways. An address is the port's own, so that two routers on one subnet do not
both claim the subnet's gateway address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, select

from linkspan.core.schema.resources import GATEWAY_PORT, NETWORK, PORT, SUBNET
from linkspan.core.state.desired import Gateway, InsideInterface, OutsideInterface
from linkspan.store.database.statements import Statement, statement
from linkspan.store.database.tables import ADDRESS, CHANGE, GATEWAY, TABLES
from linkspan.store.revisions import join_changes

_subnet = TABLES[SUBNET.name]
_network = TABLES[NETWORK.name]
_port = TABLES[PORT.name]


@statement
def interface_rows() -> Statement:
    """Rows for `gateways`: one per address of a gateway that `node` has to take up after `since`."""
    source: Any = GATEWAY.outerjoin(_port, _port.c.device_id == GATEWAY.c.router_id)
    source = source.outerjoin(_network, _network.c.id == _port.c.network_id)
    source = source.outerjoin(ADDRESS, ADDRESS.c.port_id == _port.c.id)
    source = source.outerjoin(_subnet, _subnet.c.id == ADDRESS.c.subnet_id)
    made: Select[Any] = select(
        GATEWAY.c.router_id,
        CHANGE.c.revision,
        GATEWAY.c.generation,
        _port.c.device_owner,
        _network.c.id,
        _network.c.name,
        ADDRESS.c.ip_address,
        _subnet.c.cidr,
        _subnet.c.gateway_ip,
    ).select_from(join_changes("gateway", source, GATEWAY.c.router_id))
    made = made.where(GATEWAY.c.node_id == bindparam("node"), GATEWAY.c.deleted_at.is_(None))
    # IPv4 before IPv6, then by address: the same legs always read the same.
    return Statement(made.order_by(GATEWAY.c.router_id, _network.c.id, _subnet.c.ip_version, ADDRESS.c.ip_address))


def gateways(rows: Iterable[Any]) -> tuple[Gateway, ...]:
    """The gateways that rows of `legs` stand for."""
    found: dict[tuple[str, int, int], list[Any]] = {}
    for row in rows:
        found.setdefault((row[0], row[1], row[2]), []).append(row[3:])
    return tuple(
        Gateway(id=id, revision=revision, generation=generation, outside=_out(each), inside=_in(each))
        for (id, revision, generation), each in found.items()
    )


def _out(legs: Sequence[Any]) -> OutsideInterface:
    mine = [leg for leg in legs if leg[0] == GATEWAY_PORT]
    if not mine:
        return OutsideInterface("", "", (), ())
    addresses = tuple(_interface(leg[3], leg[4]) for leg in mine if leg[3] is not None)
    # One next hop per subnet, not per address.
    hops = dict.fromkeys(leg[5] for leg in mine if leg[5])
    return OutsideInterface(mine[0][1], mine[0][2], addresses, tuple(hops))


def _in(legs: Sequence[Any]) -> tuple[InsideInterface, ...]:
    networks: dict[str, list[str]] = {}
    for owner, network, _, address, cidr, _ in legs:
        if owner is not None and owner != GATEWAY_PORT and address is not None:
            networks.setdefault(network, []).append(_interface(address, cidr))
    return tuple(InsideInterface(network, tuple(addresses)) for network, addresses in networks.items())


def _interface(address: str, cidr: str) -> str:
    return f"{address}/{cidr.rpartition('/')[2]}"
