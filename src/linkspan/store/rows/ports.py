"""Router ports and the addresses that they hold.

An address is a row of its own beside the port's `fixed_ips`, so that no two ports can take the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import bindparam, case, delete, exists, insert, select

from linkspan.core.schema.resources import PORT, SUBNET
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import ADDRESS, IS_GATEWAY_PORT, IS_INTERFACE_PORT, TABLES
from linkspan.store.rows.mapping import MAPPERS
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction

_port = TABLES[PORT.name]
_subnet = TABLES[SUBNET.name]

_ports_of: Final = Statement(
    select(*MAPPERS[PORT.name].columns)
    .where(_port.c.device_id == bindparam("router"))
    .order_by(case((_port.c.device_owner == IS_GATEWAY_PORT, 0), else_=1), _port.c.created_at, _port.c.id)
)
_addresses: Final = Statement(select(ADDRESS.c.ip_address).where(ADDRESS.c.subnet_id == bindparam("subnet")))
_holder: Final = Statement(
    select(ADDRESS.c.port_id).where(
        ADDRESS.c.subnet_id == bindparam("subnet"), ADDRESS.c.ip_address == bindparam("address")
    )
)
_take: Final = Statement(insert(ADDRESS))
_free: Final = Statement(delete(ADDRESS).where(ADDRESS.c.port_id == bindparam("port")))


def ports_of(tx: Transaction, router_id: str) -> list[Row]:
    """The ports of a router, the gateway port first."""
    return [MAPPERS[PORT.name].row(each, tx) for each in tx.rows(_ports_of, router=router_id)]


def take_addresses(tx: Transaction, port: Mapping[str, Any]) -> None:
    """Takes the addresses of a port; one that is taken on its network makes the transaction a `Conflict`."""
    tx.many(
        _take,
        [
            {
                "subnet_id": fixed["subnet_id"],
                "ip_address": fixed["ip_address"],
                "port_id": port["id"],
                "network_id": port["network_id"],
            }
            for fixed in port["fixed_ips"] or ()
        ],
    )


def free_addresses(tx: Transaction, port_id: str) -> None:
    """Gives a port's addresses back."""
    tx.run(_free, port=port_id)


def used_addresses(tx: Transaction, subnet_id: str) -> set[str]:
    """Addresses of a subnet that ports have."""
    return {address for (address,) in tx.rows(_addresses, subnet=subnet_id)}


def port_with(tx: Transaction, subnet_id: str, address: str) -> str | None:
    """The id of the port that has an address of a subnet."""
    found = tx.first(_holder, subnet=subnet_id, address=address)
    return None if found is None else str(found[0])


@statement
def _with_interface(count: int) -> Statement:
    has_interface = (
        exists()
        .where(
            ADDRESS.c.subnet_id == _subnet.c.id,
            ADDRESS.c.port_id == _port.c.id,
            _port.c.device_id == bindparam("router"),
            _port.c.device_owner == IS_INTERFACE_PORT,
        )
        .correlate(_subnet)
    )
    return Statement(select(_subnet.c.id, _subnet.c.cidr, has_interface).where(in_slots(_subnet.c.id, "id", count)))


def subnets_of(tx: Transaction, ids: Iterable[str], router_id: str) -> dict[str, tuple[str, bool]]:
    """By subnet: its CIDR, and whether the router has an interface on it. Unknown subnets are absent."""
    found: dict[str, tuple[str, bool]] = {}
    for some in chunks(ids):
        rows = tx.rows(_with_interface(slot_count(some)), router=router_id, **fill_slots("id", some))
        found |= {id: (cidr, bool(has_interface)) for id, cidr, has_interface in rows}
    return found
