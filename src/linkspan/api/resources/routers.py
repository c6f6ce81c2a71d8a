"""Routers of the embedded inventory: their external gateway and their interfaces, both of which are ports.

A gateway gets the lowest free address of every subnet of its external network, an interface the subnet's gateway_ip.
A change that a VPN gateway has to apply stamps it and its connections. What a VPN uses cannot be removed.
"""

from __future__ import annotations

import functools
import ipaddress
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from linkspan.api.attributes import Attributes
from linkspan.api.http import body
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Handler, Request, Response, ok
from linkspan.api.http.route import Route
from linkspan.api.resources import connection_credentials
from linkspan.api.resources.collection import Hooks, change, find_live, read_again
from linkspan.api.resources.networks import ACTIVE
from linkspan.api.resources.tags import TaggedCollection
from linkspan.api.resources.vpn import check_distinguishable
from linkspan.core.addresses import as_network, interface_mac, overlaps
from linkspan.core.authorization import policy
from linkspan.core.checks import address_pool, attached_networks, cross_resource
from linkspan.core.errors import ApiError, invalid, invalid_input
from linkspan.core.schema import examples
from linkspan.core.schema.attribute_types import Uuid, closed, is_uuid
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.operations import PolicyAction, ResourceOperation
from linkspan.core.schema.resources import GATEWAY_PORT, INTERFACE_PORT, NETWORK, PORT, ROUTER, SUBNET
from linkspan.core.state.desired import Connection
from linkspan.store import revisions
from linkspan.store.nodes import connection_state
from linkspan.store.rows import dependencies, reading, writing
from linkspan.store.rows import ports as stored_ports
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

Fixed = dict[str, str]


class Routers(Hooks):
    """Routers around plain CRUD."""

    def __init__(self) -> None:
        super().__init__(ROUTER)
        constants: dict[str, Any] = {
            "availability_zones": [],
            "availability_zone_hints": [],
            "routes": [],
            "flavor_id": None,
        }
        self.attributes = Attributes(ROUTER, constants, special=("external_gateway_info",), always=ACTIVE)

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        wanted = _gateway_info(raw.get("external_gateway_info"))
        _require_choice(caller, "create", values, wanted)
        row = writing.insert(tx, ROUTER, values)
        if wanted:
            _add_gateway(tx, caller, row, wanted)
            return read_again(tx, ROUTER, row["id"])
        return row

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, raw: Mapping[str, Any]) -> Row:
        if "external_gateway_info" in raw:
            moved = _set_gateway(tx, caller, row, _gateway_info(raw["external_gateway_info"]))
            if moved and not values:
                writing.revise(tx, ROUTER, row["id"])
                return read_again(tx, ROUTER, row["id"])
        return change(tx, ROUTER, row, values)

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        id: str = row["id"]
        ports = stored_ports.ports_of(tx, id)
        interfaces = [port["id"] for port in ports if port["device_owner"] == INTERFACE_PORT]
        if interfaces:
            message = f"Router {id} has ports still attached: {', '.join(interfaces)}"
            raise ApiError("RouterInUse", message)
        _refuse_under_vpn(tx, id)
        for port in ports:
            writing.remove(tx, PORT, port["id"])
        return super().delete(tx, caller, row)

    def complete(self, tx: Transaction, rows: list[Row]) -> None:
        for row in rows:
            info = row["external_gateway_info"]
            if info is not None:
                # Clients expect this attribute; a gateway does no NAT.
                row["external_gateway_info"] = {**info, "enable_snat": False}


def _refuse_under_vpn(tx: Transaction, router_id: str) -> None:
    services = dependencies.services_on(tx, router=router_id)
    if services:
        raise ApiError("RouterInUse", f"Router {router_id} is used by VPNService {services[0]['id']}")


# --- the external gateway -----------------------------------------------------------------------------------------


def _gateway_info(value: Any) -> Mapping[str, Any]:
    """external_gateway_info as a client wrote it; empty: no gateway."""
    wanted: Mapping[str, Any] = ROUTER["external_gateway_info"].kind.convert("external_gateway_info", value)
    return wanted


def _require_choice(caller: Caller, action: PolicyAction, target: Values, wanted: Mapping[str, Any]) -> None:
    """Raises ApiError PolicyNotAuthorized if the caller chooses addresses and may not: all projects share the external
    network, and its provider decides who has which address."""
    if wanted.get("external_fixed_ips"):
        policy.require_part(caller, action, ROUTER, target, "external_gateway_info:external_fixed_ips")


def _set_gateway(tx: Transaction, caller: Caller, row: Row, wanted: Mapping[str, Any]) -> bool:
    """Sets, moves or removes the gateway. Returns True if something changed."""
    current = row["external_gateway_info"]
    if not wanted:
        if current is None:
            return False
        _refuse_under_vpn(tx, row["id"])
        _remove_gateway(tx, row["id"])
        return True
    same_network = current is not None and current["network_id"] == wanted["network_id"]
    if same_network and _fulfilled(wanted["external_fixed_ips"], current["external_fixed_ips"]):
        return False
    _require_choice(caller, "update", row, wanted)
    if current is not None:
        _remove_gateway(tx, row["id"])
    added = _add_gateway(tx, caller, row, wanted)
    # Its connections move to the new addresses, so they are checked with these.
    peers = connection_state.connections_of_router(tx, row["id"]).peers
    addresses = [fixed["ip_address"] for fixed in added]
    for peer in peers:
        cross_resource.check_peer_address(peer.address, row["id"], addresses)
    former = [fixed["ip_address"] for fixed in current["external_fixed_ips"]] if current else []
    check_distinguishable(tx, peers, [peer.id for peer in peers], before=functools.partial(_at_address, former))
    connection_credentials.check_users(tx, [peer.id for peer in peers])
    connections, gateways = dependencies.affected_by(tx, ROUTER, row["id"])
    revisions.touch(tx, connections=connections, gateways=gateways)
    return True


def _at_address(former: list[str], connection: Connection) -> Connection:
    """A connection as it was while its gateway had these addresses."""
    versions = {ipaddress.ip_address(address).version: address for address in former}
    local = connection_state.local_address(connection.peer_address, versions.get(4), versions.get(6))
    return msgspec.structs.replace(connection, local_address=local)


def _fulfilled(wanted: list[Fixed], present: list[Fixed]) -> bool:
    """True if a gateway has exactly the wanted addresses; if none are wanted, any will do."""
    if not wanted:
        return True
    matched = [any(fixed.items() <= other.items() for other in present) for fixed in wanted]
    return all(matched) and len(wanted) == len(present)


def _remove_gateway(tx: Transaction, router_id: str) -> None:
    for port in stored_ports.ports_of(tx, router_id):
        if port["device_owner"] == GATEWAY_PORT:
            writing.remove(tx, PORT, port["id"])


def _add_gateway(tx: Transaction, caller: Caller, row: Row, wanted: Mapping[str, Any]) -> list[Fixed]:
    network_id = wanted["network_id"]
    network = find_live(tx, NETWORK, network_id, caller)
    if not network["router:external"]:
        raise _bad_router(f"Network {network_id} is not an external network")
    rows = reading.find(tx, SUBNET, Query(filters={"network_id": (network_id,)}))
    subnets = {subnet["id"]: subnet for subnet in rows}
    _refuse_overlap(tx, _attached_subnets(tx, row["id"]), rows)
    requested = wanted["external_fixed_ips"] or [{"subnet_id": id} for id in subnets]
    fixed_ips = [_fixed_ip(tx, fixed, subnets, network_id) for fixed in requested]
    fixed_ips.sort(key=lambda fixed: (subnets[fixed["subnet_id"]]["ip_version"], fixed["ip_address"]))
    if not fixed_ips or len({fixed["ip_address"] for fixed in fixed_ips}) < len(fixed_ips):
        raise _no_address(network_id)
    writing.insert(tx, PORT, _port(row, network_id, GATEWAY_PORT, fixed_ips))
    return fixed_ips


def _fixed_ip(tx: Transaction, requested: Fixed, subnets: Mapping[str, Row], network_id: str) -> Fixed:
    """The subnet and address for a request that may lack either of them. Raises ApiError."""
    subnet_id, address = requested.get("subnet_id"), requested.get("ip_address")
    if subnet_id is None and address is not None:
        matching = [id for id, subnet in subnets.items() if _contains(subnet["cidr"], address)]
        subnet_id = matching[0] if matching else None
    if subnet_id is None or subnet_id not in subnets:
        message = f"IP address {address or subnet_id} does not belong to any subnet of network {network_id}"
        raise invalid_input(message)
    subnet, used = subnets[subnet_id], stored_ports.used_addresses(tx, subnet_id)
    chosen = (
        address_pool.lowest_free(subnet["allocation_pools"], used)
        if address is None
        else address_pool.check_fixed_address(address, subnet, used)
    )
    if chosen is None:
        raise _no_address(network_id)
    return {"subnet_id": subnet_id, "ip_address": chosen}


def _contains(cidr: str, address: str) -> bool:
    network, host = as_network(cidr), as_network(f"{address}/{128 if ':' in address else 32}")
    return network is not None and overlaps(network, host)


def _no_address(network_id: str) -> ApiError:
    return ApiError("IpAddressGenerationFailure", f"No more IP addresses available on network {network_id}.")


def _port(router: Row, network_id: str, owner: str, fixed_ips: list[Fixed]) -> Values:
    return {
        "id": str(uuid.uuid4()),
        "project_id": router["project_id"],
        "name": "",
        "description": "",
        "network_id": network_id,
        "device_id": router["id"],
        "device_owner": owner,
        "fixed_ips": fixed_ips,
        "mac_address": interface_mac(router["id"], network_id),
    }


# --- interfaces ---------------------------------------------------------------------------------------------------

_ID: Final = Uuid().schema()
_INTERFACE_BODY: Final = {
    "type": "object",
    "properties": dict.fromkeys(("subnet_id", "port_id"), Uuid(optional=True).schema()),
    "minProperties": 1,
    "additionalProperties": False,
}
_INTERFACE: Final = closed(
    id=_ID,
    project_id={"type": "string"},
    port_id=_ID,
    network_id=_ID,
    subnet_id=_ID,
    subnet_ids={"type": "array", "items": _ID},
)


class RouterCollection(TaggedCollection):
    """Routers with their two actions."""

    def routes(self) -> list[Route]:
        made = super().routes()
        crud = self.crud()
        verbs: tuple[tuple[ResourceOperation, Handler, str], ...] = (
            ("add_router_interface", self.add_interface, "add an interface of a router on a subnet, by subnet"),
            ("remove_router_interface", self.remove_interface, "remove an interface of a router, by subnet or port"),
        )
        for verb, handler, summary in verbs:
            operation = crud.action(verb, summary, _INTERFACE_BODY, examples.INTERFACE, _INTERFACE)
            made.append(Route("PUT", f"/v2.0/routers/{{id}}/{verb}", handler, operation=operation))
        return made

    def add_interface(self, request: Request) -> Response:
        """Adds an interface on a subnet, with the subnet's gateway_ip."""
        subnet_id, port_id = self._interface_ids(request, "add_router_interface")
        with self._store.write() as tx:
            router = self._owned(tx, request, "add_router_interface")
            if port_id:
                find_live(tx, PORT, port_id, request.caller)
                raise _bad_router(f"Port {port_id} is in use by another router: give a subnet_id")
            subnet = find_live(tx, SUBNET, subnet_id, request.caller, lock=True)
            fixed = _interface_ip(tx, router["id"], subnet)
            peer_networks = connection_state.peer_networks_of_router(tx, router["id"])
            attached_networks.check_interface(subnet["id"], subnet["cidr"], peer_networks)
            port = writing.insert(tx, PORT, _port(router, subnet["network_id"], INTERFACE_PORT, [fixed]))
            writing.revise(tx, ROUTER, router["id"])
            revisions.touch(tx, gateways=[router["id"]])
            self._audit(tx, request, "add_router_interface", router, ["subnet_id"])
        return ok(_interface(router, port))

    def remove_interface(self, request: Request) -> Response:
        """Removes an interface, unless a VPN uses it."""
        subnet_id, port_id = self._interface_ids(request, "remove_router_interface")
        with self._store.write() as tx:
            router = self._owned(tx, request, "remove_router_interface")
            interfaces = [
                port
                for port in stored_ports.ports_of(tx, router["id"])
                if port["device_owner"] == INTERFACE_PORT
                and (not port_id or port["id"] == port_id)
                and (not subnet_id or any(fixed["subnet_id"] == subnet_id for fixed in port["fixed_ips"]))
            ]
            if not interfaces:
                raise _no_interface(router["id"], subnet_id, port_id)
            port = interfaces[0]
            for fixed in port["fixed_ips"]:
                _refuse_interface_in_use(tx, router["id"], fixed["subnet_id"])
            writing.remove(tx, PORT, port["id"])
            writing.revise(tx, ROUTER, router["id"])
            revisions.touch(tx, gateways=[router["id"]])
            self._audit(tx, request, "remove_router_interface", router, ["subnet_id"])
        return ok(_interface(router, port))

    def _interface_ids(self, request: Request, action: PolicyAction) -> tuple[str, str]:
        """The subnet_id and the port_id of a request, "" if absent. Raises ApiError."""
        self._require_any(request, action)
        raw = body.json_object(request.body)
        extra = sorted(set(raw) - {"subnet_id", "port_id"})
        if extra:
            raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(extra)}'")
        ids = {name: value for name, value in raw.items() if value not in (None, "")}
        for name, value in ids.items():
            if not is_uuid(value):
                raise invalid(name, f"'{value}' is not a valid UUID")
        subnet_id, port_id = ids.get("subnet_id", "").lower(), ids.get("port_id", "").lower()
        if not subnet_id and not port_id:
            raise _bad_router("Either subnet_id or port_id must be specified")
        if subnet_id and port_id and action == "add_router_interface":
            raise _bad_router("Cannot specify both subnet-id and port-id")
        return subnet_id, port_id


def _interface_ip(tx: Transaction, router_id: str, subnet: Row) -> Fixed:
    """The address of a new interface on a subnet. Raises ApiError."""
    id: str = subnet["id"]
    if subnet["gateway_ip"] is None:
        raise _bad_router(f"Subnet for router interface must have a gateway IP: {id} has none")
    attached = _attached_subnets(tx, router_id)
    if id in attached:
        raise _bad_router(f"Router already has a port on subnet {id}")
    _refuse_overlap(tx, attached, [subnet])
    if subnet["gateway_ip"] in stored_ports.used_addresses(tx, id):
        message = f"The IP address {subnet['gateway_ip']} of subnet {id} is in use by another router."
        raise ApiError("IpAddressGenerationFailure", message)
    return {"subnet_id": id, "ip_address": subnet["gateway_ip"]}


def _attached_subnets(tx: Transaction, router_id: str) -> list[str]:
    """The ids of the subnets on which a router has a port: its external gateway or an interface."""
    return [fixed["subnet_id"] for port in stored_ports.ports_of(tx, router_id) for fixed in port["fixed_ips"]]


def _refuse_overlap(tx: Transaction, attached: list[str], new: list[Row]) -> None:
    """Raises ApiError if a subnet that a router gets a port on overlaps with one that is attached to it."""
    for old in reading.find(tx, SUBNET, Query(filters={"id": tuple(attached)})) if attached else ():
        for subnet in new:
            cidr = as_network(subnet["cidr"])
            if cidr is not None and subnet["id"] != old["id"] and overlaps(cidr, as_network(old["cidr"])):
                raise _bad_router(
                    f"Cidr {subnet['cidr']} of subnet {subnet['id']} overlaps with cidr {old['cidr']} of subnet "
                    f"{old['id']}"
                )


def _refuse_interface_in_use(tx: Transaction, router_id: str, subnet_id: str) -> None:
    services = dependencies.services_on(tx, router=router_id, subnet=subnet_id)
    if services:
        message = f"Subnet {subnet_id} is used by VPNService {services[0]['id']}"
        raise ApiError("SubnetInUseByVPNService", message)
    if using := dependencies.connections_through_groups(tx, router_id, subnet_id):
        message = f"Subnet {subnet_id} is used by ipsec site connection {using[0]}"
        raise ApiError("SubnetInUseByIPsecSiteConnection", message)


def _interface(router: Row, port: Row) -> Values:
    ids = [fixed["subnet_id"] for fixed in port["fixed_ips"]]
    return {
        "id": router["id"],
        "project_id": router["project_id"],
        "port_id": port["id"],
        "network_id": port["network_id"],
        "subnet_id": ids[0],
        "subnet_ids": ids,
    }


def _no_interface(router_id: str, subnet_id: str, port_id: str) -> ApiError:
    if subnet_id:
        message = f"Router {router_id} has no interface on subnet {subnet_id}"
        return ApiError("RouterInterfaceNotFoundForSubnet", message)
    return ApiError("PortNotFound", f"Router {router_id} does not have an interface with id {port_id}")


def _bad_router(reason: str) -> ApiError:
    return ApiError("BadRequest", f"Bad router request: {reason}.")
