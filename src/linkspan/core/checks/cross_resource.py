"""Cross-resource checks: writes that are refused although each value by itself is valid.

Callers read the objects and pass them in. Each check returns nothing, or raises an `ApiError` of Neutron's type. This
module reads nothing and resolves no names; it uses pre-shared keys only to compare two of them.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from linkspan.core.addresses import Network, as_network, as_networks, canonical_host, contains, network_fault
from linkspan.core.errors import ApiError, invalid
from linkspan.core.ipsec import algorithms, ends, shared_keys, succession
from linkspan.core.ipsec.selectors import selectors_overlap
from linkspan.core.schema.attribute_types import is_uuid
from linkspan.core.state.desired import Connection, Peer

MIN_MTU: Final = {4: 68, 6: 1280}
"""By IP version: bytes of the smallest packet that every host must accept (RFC 791 3.2, RFC 8200 5)."""
MAX_MTU: Final = 9216


class Limits(msgspec.Struct, frozen=True):
    """Limits of connections (settings)."""

    cidrs: int = 64
    """The most CIDRs, or members of an endpoint group, on one side of a connection."""
    connections: int = 100
    """The most connections of one gateway."""


class GroupMembers(msgspec.Struct, frozen=True):
    """An endpoint group as a connection uses it. `cidrs`: its members, or the CIDRs of its subnets; `detached`: member
    subnets on which the service's router has no interface."""

    id: str
    type: str
    cidrs: tuple[str, ...]
    detached: tuple[str, ...] = ()


class ConnectionContext(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that a connection references: its service's router with its external addresses, its endpoint groups.

    `subnet_cidr`: CIDR of the service's subnet; None if it has none, so that its connections use endpoint groups.
    """

    router_id: str
    addresses: tuple[str, ...]
    subnet_cidr: str | None = None
    local: GroupMembers | None = None
    peer: GroupMembers | None = None


def check_connection(values: Mapping[str, Any], context: ConnectionContext) -> None:
    """Raises ApiError if a connection cannot have these values. `values`: all attributes, converted."""
    _check_sides(values, context)
    local, peer = _networks(values, context)
    if local[0].version != peer[0].version:
        message = "IP versions are not compatible between peer and local endpoints"
        raise ApiError("MixedIPVersionsForIPSecConnection", message)
    _check_mtu(values["mtu"], local[0].version)
    for remote_network in peer:
        for local_network in local:
            # A wider one is taken: the gateway exempts its attached networks (core.ipsec.exemptions).
            if contains(local_network, remote_network):
                name = "peer_cidrs" if context.subnet_cidr else "peer_ep_group_id"
                raise invalid(name, f"'{remote_network}' equals or is inside '{local_network}' of the local side")
    check_peer_address(values["peer_address"], context.router_id, context.addresses)


def _check_sides(values: Mapping[str, Any], context: ConnectionContext) -> None:
    groups = {"local": values.get("local_ep_group_id"), "peer": values.get("peer_ep_group_id")}
    if context.subnet_cidr is not None:
        if not values["peer_cidrs"]:
            raise ApiError("MissingPeerCidrs", "Missing peer CIDRs for IPsec site-to-site connection")
        present = [side for side, id in groups.items() if id]
        if present:
            sides = f"group{'s' if len(present) > 1 else ''} {' and '.join(present)}"
            message = f"Endpoint {sides} cannot be specified, when VPN Service has subnet specified"
            raise ApiError("InvalidEndpointGroup", message)
        return
    if values["peer_cidrs"]:
        raise ApiError("PeerCidrsInvalid", "Peer CIDRs cannot be specified, when using endpoint groups")
    absent = [side for side, id in groups.items() if not id]
    if absent:
        sides = f"group{'s' if len(absent) > 1 else ''} {' and '.join(absent)}"
        message = f"Missing endpoint {sides} for IPSec site-to-site connection"
        raise ApiError("MissingRequiredEndpointGroup", message)


def _networks(values: Mapping[str, Any], context: ConnectionContext) -> tuple[list[Network], list[Network]]:
    if context.subnet_cidr is not None:
        peer = as_networks(values["peer_cidrs"])
        if len({network.version for network in peer}) > 1:
            message = "Peer CIDRs do not have the same IP version, as required for IPSec site-to-site connection"
            raise ApiError("MixedIPVersionsForPeerCidrs", message)
        return as_networks([context.subnet_cidr]), peer
    if context.local is None or context.peer is None:
        raise ValueError("a connection with endpoint groups needs both of them")
    _check_group_type(context.local, "subnet")
    _check_group_type(context.peer, "cidr")
    if context.local.detached:
        raise subnet_not_on_router(context.local.detached[0], context.router_id)
    return _members(context.local), _members(context.peer)


def _check_group_type(group: GroupMembers, expected: str) -> None:
    if group.type != expected:
        message = f"Endpoint group {group.id} type is '{group.type}' and should be '{expected}'"
        raise ApiError("WrongEndpointGroupType", message)


def _members(group: GroupMembers) -> list[Network]:
    networks = as_networks(group.cidrs)
    if not networks:
        message = f"No endpoints specified for endpoint group '{group.id}'"
        raise ApiError("MissingEndpointForEndpointGroup", message)
    if len({network.version for network in networks}) > 1:
        message = (
            f"Endpoints in group {group.id} do not have the same IP version, as required for IPSec "
            "site-to-site connection"
        )
        raise ApiError("MixedIPVersionsForIPSecEndpoints", message)
    return networks


def _check_mtu(mtu: int, version: int) -> None:
    if mtu < MIN_MTU[version]:
        message = f"ipsec_site_connection MTU {mtu} is too small for ipv{version}"
        raise ApiError("IPsecSiteConnectionMtuError", message)
    if mtu > MAX_MTU:
        raise invalid("mtu", f"'{mtu}' is too large - must be no larger than '{MAX_MTU}'")


def check_peer_address(address: str, router_id: str, addresses: Collection[str]) -> None:
    """Raises ApiError if an address is the gateway's own, or the gateway has none of its IP version. A DNS name
    passes."""
    host = ends.host(address)
    if host is None:
        return
    if any(host == ends.host(external) for external in addresses):
        message = f"Peer address {address} is an address of Router {router_id} itself"
        raise ApiError("VPNPeerAddressNotResolved", message)
    if not any(host.version == own.version for own in map(ends.host, addresses) if own):
        message = f"Router's {router_id} external network has no IPv{host.version} subnet"
        raise ApiError("ExternalNetworkHasNoSubnet", message)


def subnet_not_on_router(subnet_id: str, router_id: str) -> ApiError:
    """The 400 for a subnet on which the service's router has no interface."""
    message = f"Subnet {subnet_id} is not connected to Router {router_id}"
    return ApiError("SubnetIsNotConnectedToRouter", message)


def check_service(router_id: str, has_gateway: bool, subnet_id: str | None, attached: Container[str]) -> None:
    """Raises ApiError if a router cannot carry a service; `attached`: the subnets on which it has interfaces."""
    if not has_gateway:
        message = f"Router {router_id} has no external network gateway set"
        raise ApiError("RouterIsNotExternal", message)
    if subnet_id is not None and subnet_id not in attached:
        raise subnet_not_on_router(subnet_id, router_id)


def check_endpoint_group(type: str, endpoints: Sequence[str], name: str = "", limits: Limits = Limits()) -> None:  # noqa: B008 # frozen
    """Raises ApiError for invalid members of an endpoint group; `check_subnets_exist` checks that subnets exist."""
    if not endpoints:
        raise ApiError("MissingEndpointForEndpointGroup", f"No endpoints specified for endpoint group '{name}'")
    limit_members("endpoints", endpoints, limits)
    members: set[Any] = set()
    for endpoint in endpoints:
        member, fault = _member(type, endpoint)
        if fault or member in members:
            reason = fault or "Duplicate endpoint"
            message = f"Endpoint '{endpoint}' is invalid for group type '{type}': {reason}"
            raise ApiError("InvalidEndpointInEndpointGroup", message)
        members.add(member)


def _member(type: str, endpoint: str) -> tuple[Any, str]:
    match type:
        case "cidr":
            network, fault = as_network(endpoint), network_fault(endpoint)
            return network, f"Invalid CIDR, it {fault}" if network and fault else fault and "Invalid CIDR"
        case "vlan":
            valid = endpoint.isascii() and endpoint.isdigit() and len(endpoint) < 5 and 1 <= int(endpoint) <= 4094
            return endpoint.lstrip("0"), "" if valid else "Invalid VLAN ID"
        case _:
            return endpoint.lower(), "" if is_uuid(endpoint) else "Invalid UUID"


def check_subnets_exist(endpoints: Sequence[str], known: Container[str]) -> None:
    """Raises ApiError if a subnet of an endpoint group does not exist; `known`: the ids of those that do."""
    for endpoint in endpoints:
        if endpoint not in known:
            message = f"Subnet {endpoint} in endpoint group does not exist"
            raise ApiError("NonExistingSubnetInEndpointGroup", message)


def limit_members(name: str, members: Sequence[str], limits: Limits) -> None:
    """Raises ApiError if a list of CIDRs or endpoints is longer than the limit."""
    if len(members) > limits.cidrs:
        raise invalid(name, f"at most {limits.cidrs} are allowed, got {len(members)}")


def check_gateway_limit(count: int, limits: Limits = Limits()) -> None:  # noqa: B008 # frozen
    """Raises ApiError if a gateway may not have `count` connections."""
    if count > limits.connections:
        message = f"a gateway has at most {limits.connections} connections: use another router"
        raise ApiError("OverQuota", message)


def check_ike_policy(values: Mapping[str, Any]) -> None:
    """Raises ApiError if no node can negotiate an IKE policy; `values`: all of its attributes."""
    choices = (values["ike_version"], values["encryption_algorithm"], values["auth_algorithm"])
    if fault := algorithms.impossible_ike(*choices):
        name = "auth_algorithm" if fault.startswith(values["auth_algorithm"]) else "encryption_algorithm"
        raise invalid(name, fault)


def check_policy_pair(ike: Mapping[str, Any], ipsec: Mapping[str, Any]) -> None:
    """Raises ApiError if a connection cannot use these two policies together."""
    choices = (ipsec["transform_protocol"], ipsec["encryption_algorithm"], ipsec["auth_algorithm"])
    if fault := algorithms.impossible_ipsec(ike["ike_version"], *choices):
        message = f"IPsec policy {ipsec['id']} cannot be used with IKE policy {ike['id']}: {fault}"
        raise ApiError("HTTPBadRequest", message)


def similar_connections(gateway: Sequence[Peer], changed: Iterable[str]) -> list[str]:
    """Ids of the connections that `check_conflicts` must compare: those with the peer identity or address of one in
    `changed`. Empty when no other connection is similar, the usual case, so that no key needs decrypting."""
    changed_ids = set(changed)
    peers = [peer for peer in gateway if peer.id in changed_ids]
    identities = {ends.canonical_identity(peer.identity) for peer in peers}
    addresses = {canonical_host(peer.address) for peer in peers}
    similar = [
        peer.id
        for peer in gateway
        if ends.canonical_identity(peer.identity) in identities or canonical_host(peer.address) in addresses
    ]
    return similar if len(similar) > 1 else []


def check_conflicts(
    connections: Sequence[Connection], changed: Iterable[str], before: Mapping[str, Connection] | None = None
) -> None:
    """Raises ApiError if charon or a peer could not distinguish the connections of one gateway.

    `changed`: ids of the connections to compare with all others; `before`: those of them that existed, as they were.
    Of two connections of one service with the same identities and addresses and overlapping selectors the newer one
    supersedes the older one (`core.ipsec.succession`). With disjoint selectors they must have equal auth modes. Where
    charon cannot hold a key for each of two connections (`core.ipsec.shared_keys`), a connection may only join with the
    key in use; a key that is written while they already share one is a rotation, and becomes the key in use.
    """
    changed_ids = set(changed)
    if not changed_ids:
        return
    earlier = before or {}
    both_ends = [ends.ends_of(connection) for connection in connections]
    idle = succession.wholly_superseded(connections)
    loaded = (entry for entry in connections if entry.id not in changed_ids and not entry.fault)
    in_use = shared_keys.in_use(entry for entry in loaded if entry.id not in idle)
    for index, connection in enumerate(connections):
        if connection.id not in changed_ids:
            continue
        for other_index, other in enumerate(connections):
            if other.id == connection.id or (other.id in changed_ids and other_index < index):
                continue
            one, two = both_ends[index], both_ends[other_index]
            if one.identities != two.identities and one.addresses != two.addresses:
                continue
            overlap = one == two and selectors_overlap(connection, other)
            is_edited = _ends_before(connection, earlier) == one
            fault = _conflict(connection, other, overlap, is_edited) if one == two else ""
            is_alone = overlap or not idle.isdisjoint((connection.id, other.id))
            share = not (fault or is_alone) and shared_keys.share(connection, other)
            if share and not _rotates(connection, other, earlier):
                fault = _other_key(connection, in_use.get(other.id, other), one.identities == two.identities)
            if fault:
                message = f"Conflicts with ipsec_site_connection {other.id} on the same gateway: {fault}"
                raise ApiError("IPsecSiteConnectionConflict", message)


def _ends_before(connection: Connection, before: Mapping[str, Connection]) -> ends.Ends | None:
    earlier = before.get(connection.id)
    return None if earlier is None else ends.ends_of(earlier)


def _conflict(connection: Connection, other: Connection, overlap: bool, is_edited: bool) -> str:
    """Why two connections with the same identities and addresses conflict, whatever their keys are; empty if not.

    `is_edited`: the connection was there with these ends before. A change from keys to certificates reaches one
    connection after another, so that both kinds are there for a while.
    """
    if overlap and connection.service_id != other.service_id:
        return "the same identities and addresses with overlapping CIDRs, in another service of the router"
    if not overlap and not is_edited and connection.auth_mode != other.auth_mode:
        return "the same identities and addresses with a different auth_mode"
    return ""


def _rotates(connection: Connection, other: Connection, before: Mapping[str, Connection]) -> bool:
    """True if two connections shared a key before the change already."""
    earlier = before.get(connection.id)
    return earlier is not None and shared_keys.share(earlier, before.get(other.id, other))


def _other_key(connection: Connection, in_use: Connection, same_identities: bool) -> str:
    if connection.psk == in_use.psk:
        return ""
    if same_identities:
        return "the same local_id and peer_id with a different psk"
    return "IKEv1 main mode selects keys by address, and it has a different psk for this peer_address"
