"""Networks, subnets and ports of the embedded inventory: Neutron's shapes, as far as a VPN needs them.

A deletion that would break a VPN is refused. Addresses are only stored here; the nodes configure them on interfaces.
Routers are in `api.resources.routers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linkspan.api.attributes import Attributes
from linkspan.api.http.caller import Caller
from linkspan.api.resources.collection import Hooks, find_live
from linkspan.core.addresses import Network
from linkspan.core.authorization import policy
from linkspan.core.authorization.default_rules import NETWORK_OWNER
from linkspan.core.checks import address_pool, subnet_options
from linkspan.core.errors import ApiError
from linkspan.core.schema.attribute_types import Boolean
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import NETWORK, PORT, SUBNET
from linkspan.store.rows import dependencies, ports, reading, writing
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

ACTIVE: Final = {"status": "ACTIVE"}


class Networks(Hooks):
    """Networks. Only an admin makes them external or shared."""

    def __init__(self) -> None:
        super().__init__(NETWORK)
        constants: dict[str, Any] = {
            "port_security_enabled": True,
            "is_default": False,
            "availability_zone_hints": [],
            "availability_zones": [],
            "ipv4_address_scope": None,
            "ipv6_address_scope": None,
        }
        self.attributes = Attributes(NETWORK, constants, always=ACTIVE)

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        id: str = row["id"]
        if reading.find(tx, PORT, Query(filters={"network_id": (id,)}, limit=1)):
            message = f"Unable to complete operation on network {id}. There are one or more ports still in use on it."
            raise ApiError("NetworkInUse", message)
        for subnet in reading.find(tx, SUBNET, Query(filters={"network_id": (id,)})):
            refuse_subnet_in_use(tx, subnet["id"])
            writing.remove(tx, SUBNET, subnet["id"])
        return super().delete(tx, caller, row)


class Subnets(Hooks):
    """Subnets. Their CIDR cannot change, their gateway IP while no port has it. The latter is the first address by
    default, null: none."""

    def __init__(self) -> None:
        super().__init__(SUBNET)
        constants: dict[str, Any] = {
            "subnetpool_id": None,
            "ipv6_ra_mode": None,
            "ipv6_address_mode": None,
            "service_types": [],
        }
        special, derived = ("gateway_ip",), {"router:external": Boolean()}
        self.attributes = Attributes(SUBNET, constants, special=special, derived=derived, parent=True)

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        network_id: str = values["network_id"]
        network = find_live(tx, NETWORK, network_id, caller, lock=True)
        owner = dict.fromkeys(NETWORK_OWNER, network["project_id"])
        policy.require(caller, "create", SUBNET, {"gateway_ip": raw.get("gateway_ip"), **values, **owner})
        cidr = address_pool.parse_cidr(values["cidr"], values["ip_version"])
        others = reading.find(tx, SUBNET, Query(filters={"network_id": (network_id,)}))
        address_pool.check_no_overlap(cidr, (other["cidr"] for other in others), network_id)
        gateway = address_pool.gateway_ip(cidr, None) if "gateway_ip" not in raw else _gateway_ip(raw, cidr)
        pools = values["allocation_pools"]
        if pools is None:
            pools = address_pool.allocation_pools(cidr, gateway)
        address_pool.check_pools(pools, cidr, gateway)
        _check_options(values, cidr.version, "new subnet")
        values |= {"cidr": str(cidr), "ip_version": cidr.version, "gateway_ip": gateway, "allocation_pools": pools}
        row = writing.insert(tx, SUBNET, values)
        row["router:external"] = network["router:external"]
        writing.revise(tx, NETWORK, network_id)
        return row

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, raw: Mapping[str, Any]) -> Row:
        cidr = address_pool.parse_cidr(row["cidr"], row["ip_version"])
        if "gateway_ip" in raw and (gateway := _gateway_ip(raw, cidr)) != row["gateway_ip"]:
            _refuse_gateway_in_use(tx, row, gateway)
            values["gateway_ip"] = gateway
        if not values.keys().isdisjoint(("gateway_ip", "allocation_pools")):
            after = {**row, **values}
            address_pool.check_pools(after["allocation_pools"], cidr, after["gateway_ip"])
        _check_options(values, cidr.version, row["id"])
        if values:
            writing.revise(tx, NETWORK, row["network_id"])
        return super().update(tx, caller, row, values, raw)

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        refuse_subnet_in_use(tx, row["id"])
        writing.revise(tx, NETWORK, row["network_id"])
        return super().delete(tx, caller, row)


def _gateway_ip(raw: Mapping[str, Any], cidr: Network) -> str | None:
    """The gateway_ip of a request that has one; None: the subnet has none."""
    wanted = raw["gateway_ip"]
    return None if wanted is None else address_pool.gateway_ip(cidr, str(wanted))


def _refuse_gateway_in_use(tx: Transaction, row: Row, gateway: str | None) -> None:
    """Raises ApiError if a port has the gateway_ip of a subnet, or the one that it is to have."""
    current = row["gateway_ip"]
    if current is not None and (port := ports.port_with(tx, row["id"], current)):
        message = f"Current gateway ip {current} already in use by port {port}. Unable to update."
        raise ApiError("GatewayIpInUse", message)
    if gateway is not None and ports.port_with(tx, row["id"], gateway):
        raise ApiError("IpAddressGenerationFailure", f"The IP address {gateway} is in use.")


def _check_options(values: Values, ip_version: int, subnet: str) -> None:
    subnet_options.check_name_servers(values.get("dns_nameservers", ()), ip_version, subnet)
    subnet_options.check_host_routes(values.get("host_routes", ()), ip_version, subnet)


def refuse_subnet_in_use(tx: Transaction, id: str) -> None:
    """Raises ApiError SubnetInUse if something uses a subnet."""
    why = ""
    if groups := dependencies.endpoint_groups_with(tx, id):
        why = f"Subnet {id} is used by endpoint group {groups[0]['id']}"
    elif services := dependencies.services_on(tx, subnet=id):
        why = f"Subnet {id} is used by VPNService {services[0]['id']}"
    elif ports.used_addresses(tx, id):
        why = "One or more ports have an IP allocation from this subnet"
    if why:
        raise ApiError("SubnetInUse", f"Unable to complete operation on subnet {id}: {why}.")


class Ports(Hooks):
    """Ports: the interfaces of routers, created and removed with them, and only read here."""

    def __init__(self) -> None:
        super().__init__(PORT)
        constants: dict[str, Any] = {
            "admin_state_up": True,
            "security_groups": [],
            "allowed_address_pairs": [],
            "extra_dhcp_opts": [],
            "port_security_enabled": False,
            "binding:vnic_type": "normal",
        }
        self.attributes = Attributes(PORT, constants, always=ACTIVE)
