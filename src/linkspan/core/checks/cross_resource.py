"""Cross-resource rules: what a write may not do although each of its values is fine (the API's error matrix).

Takes facts that somebody has read, judges, and returns nothing or raises the `Problem` with the type that clients
match on. It reads nothing, resolves no names, and never sees a key except to compare two of them.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from linkspan.core.addresses import Address, Network, as_network, overlaps
from linkspan.core.errors import ApiError, invalid
from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec import identities as ipsec_identities
from linkspan.core.schema.attribute_types import is_uuid
from linkspan.core.state.desired import Connection, Peer

MTU_LEAST: Final = {4: 68, 6: 1280}
"""Bytes: what every host has to take (RFC 791 3.2, RFC 8200 5)."""
MTU_MOST: Final = 9216


class Limits(msgspec.Struct, frozen=True):
    """How much is too much (settings)."""

    cidrs: int = 64
    """CIDRs, or members of an endpoint group, of one side of a connection."""
    connections: int = 100
    """Connections of one gateway."""


class GroupMembers(msgspec.Struct, frozen=True):
    """An endpoint group as a connection uses it. `cidrs`: its members, or those of its subnets; `strays`: subnets
    among its members that are not on the service's router."""

    id: str
    type: str
    cidrs: tuple[str, ...]
    strays: tuple[str, ...] = ()


class ConnectionContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection stands on: its service's router with its outside addresses, and what it protects.

    `subnet_cidr` is that of the service's subnet, None if it has none and so uses endpoint groups.
    """

    router_id: str
    addresses: tuple[str, ...]
    subnet_cidr: str | None = None
    local: GroupMembers | None = None
    peer: GroupMembers | None = None


def check_connection(values: Mapping[str, Any], place: ConnectionContext) -> None:
    """Whether a connection with these attributes (all of them, converted) can stand on this place."""
    _sides_given(values, place)
    local, peer = _networks(values, place)
    if local[0].version != peer[0].version:
        message = "IP versions are not compatible between peer and local endpoints"
        raise ApiError("MixedIPVersionsForIPSecConnection", message)
    _mtu(values["mtu"], local[0].version)
    for theirs in peer:
        for ours in local:
            if theirs.overlaps(ours):
                name = "peer_cidrs" if place.subnet_cidr else "peer_ep_group_id"
                raise invalid(name, f"'{theirs}' overlaps the local side's '{ours}'")
    check_peer_address(values["peer_address"], place.router_id, place.addresses)
    if values["auth_mode"] == "certs":
        raise invalid("auth_mode", "certificates are not available yet: use psk")


def _sides_given(values: Mapping[str, Any], place: ConnectionContext) -> None:
    named = {"local": values.get("local_ep_group_id"), "peer": values.get("peer_ep_group_id")}
    if place.subnet_cidr is not None:
        if not values["peer_cidrs"]:
            raise ApiError("MissingPeerCidrs", "Missing peer CIDRs for IPsec site-to-site connection")
        given = [side for side, id in named.items() if id]
        if given:
            which = f"group{'s' if len(given) > 1 else ''} {' and '.join(given)}"
            message = f"Endpoint {which} cannot be specified, when VPN Service has subnet specified"
            raise ApiError("InvalidEndpointGroup", message)
        return
    if values["peer_cidrs"]:
        raise ApiError("PeerCidrsInvalid", "Peer CIDRs cannot be specified, when using endpoint groups")
    absent = [side for side, id in named.items() if not id]
    if absent:
        which = f"group{'s' if len(absent) > 1 else ''} {' and '.join(absent)}"
        message = f"Missing endpoint {which} for IPSec site-to-site connection"
        raise ApiError("MissingRequiredEndpointGroup", message)


def _networks(values: Mapping[str, Any], place: ConnectionContext) -> tuple[list[Network], list[Network]]:
    if place.subnet_cidr is not None:
        peer = _parsed(values["peer_cidrs"])
        if len({network.version for network in peer}) > 1:
            message = "Peer CIDRs do not have the same IP version, as required for IPSec site-to-site connection"
            raise ApiError("MixedIPVersionsForPeerCidrs", message)
        return _parsed([place.subnet_cidr]), peer
    if place.local is None or place.peer is None:
        raise ValueError("a connection with endpoint groups needs both of them")
    _group_type(place.local, "subnet")
    _group_type(place.peer, "cidr")
    for subnet in place.local.strays:
        raise subnet_not_on_router(subnet, place.router_id)
    return _members(place.local), _members(place.peer)


def _parsed(cidrs: Iterable[str]) -> list[Network]:
    return [network for cidr in cidrs if (network := as_network(cidr)) is not None]


def _group_type(group: GroupMembers, wanted: str) -> None:
    if group.type != wanted:
        message = f"Endpoint group {group.id} type is '{group.type}' and should be '{wanted}'"
        raise ApiError("WrongEndpointGroupType", message)


def _members(group: GroupMembers) -> list[Network]:
    networks = _parsed(group.cidrs)
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


def _mtu(mtu: int, version: int) -> None:
    if mtu < MTU_LEAST[version]:
        message = f"ipsec_site_connection MTU {mtu} is too small for ipv{version}"
        raise ApiError("IPsecSiteConnectionMtuError", message)
    if mtu > MTU_MOST:
        raise invalid("mtu", f"'{mtu}' is too large - must be no larger than '{MTU_MOST}'")


def check_peer_address(address: str, router_id: str, addresses: Iterable[str]) -> None:
    """Whether a gateway with these outside addresses can speak to this peer; a name is resolved by its node."""
    host = _host(address)
    if isinstance(host, str):
        return
    if all(host.version != ipaddress.ip_address(own).version for own in addresses):
        message = f"Router's {router_id} external network has no IPv{host.version} subnet"
        raise ApiError("ExternalNetworkHasNoSubnet", message)


def subnet_not_on_router(subnet_id: str, router_id: str) -> ApiError:
    """The 400 for a subnet that the service's router has no interface on."""
    message = f"Subnet {subnet_id} is not connected to Router {router_id}"
    return ApiError("SubnetIsNotConnectedToRouter", message)


def check_service(router_id: str, has_gateway: bool, subnet_id: str | None, attached: Container[str]) -> None:
    """Whether a service can be on a router; `attached` are the subnets that it has interfaces on."""
    if not has_gateway:
        message = f"Router {router_id} has no external network gateway set"
        raise ApiError("RouterIsNotExternal", message)
    if subnet_id is not None and subnet_id not in attached:
        raise subnet_not_on_router(subnet_id, router_id)


def check_endpoint_group(type: str, endpoints: Sequence[str], name: str = "", limits: Limits = Limits()) -> None:  # noqa: B008 # frozen
    """Whether an endpoint group may have these members. Whether its subnets exist is for `known_subnets`."""
    if not endpoints:
        raise ApiError("MissingEndpointForEndpointGroup", f"No endpoints specified for endpoint group '{name}'")
    limit_members("endpoints", endpoints, limits)
    seen: set[Any] = set()
    for endpoint in endpoints:
        member, fault = _member(type, endpoint)
        if fault or member in seen:
            why = fault or "Duplicate endpoint"
            message = f"Endpoint '{endpoint}' is invalid for group type '{type}': {why}"
            raise ApiError("InvalidEndpointInEndpointGroup", message)
        seen.add(member)


def _member(type: str, endpoint: str) -> tuple[Any, str]:
    match type:
        case "cidr":
            network = as_network(endpoint)
            return network, "" if network else "Invalid CIDR"
        case "vlan":
            good = endpoint.isascii() and endpoint.isdigit() and len(endpoint) < 5 and 1 <= int(endpoint) <= 4094
            return endpoint.lstrip("0"), "" if good else "Invalid VLAN ID"
        case _:
            return endpoint.lower(), "" if is_uuid(endpoint) else "Invalid UUID"


def check_subnets_exist(endpoints: Sequence[str], known: Container[str]) -> None:
    """Whether every subnet of a group exists."""
    for endpoint in endpoints:
        if endpoint not in known:
            message = f"Subnet {endpoint} in endpoint group does not exist"
            raise ApiError("NonExistingSubnetInEndpointGroup", message)


def limit_members(name: str, members: Sequence[str], limits: Limits) -> None:
    """Whether a list may be this long."""
    if len(members) > limits.cidrs:
        raise invalid(name, f"at most {limits.cidrs} are allowed, these are {len(members)}")


def check_gateway_limit(count: int, limits: Limits = Limits()) -> None:  # noqa: B008 # frozen
    """Whether a gateway may have this many connections."""
    if count > limits.connections:
        message = f"a gateway has at most {limits.connections} connections: use another router"
        raise ApiError("OverQuota", message)


def check_ike_policy(values: Mapping[str, Any]) -> None:
    """Whether an IKE policy with these attributes (all of them) can be negotiated at all."""
    words = (values["ike_version"], values["encryption_algorithm"], values["auth_algorithm"])
    if fault := algorithms.impossible_ike(*words):
        name = "auth_algorithm" if fault.startswith(values["auth_algorithm"]) else "encryption_algorithm"
        raise invalid(name, fault)


def check_policy_pair(ike: Mapping[str, Any], ipsec: Mapping[str, Any]) -> None:
    """Whether a connection can use these two policies together."""
    words = (ipsec["transform_protocol"], ipsec["encryption_algorithm"], ipsec["auth_algorithm"])
    if fault := algorithms.impossible_ipsec(ike["ike_version"], *words):
        message = f"IPsec policy {ipsec['id']} cannot be used with IKE policy {ike['id']}: {fault}"
        raise ApiError("HTTPBadRequest", message)


def similar_connections(gateway: Sequence[Peer], changed: Iterable[str]) -> list[str]:
    """Ids of the connections of one gateway that `conflicts` has to see: all with the peer's identity or address of one
    that `changed`. None if that one is alone, as most often: then nobody has to open a key."""
    wanted = set(changed)
    news = [each for each in gateway if each.id in wanted]
    identities, addresses = {_identity(each.identity) for each in news}, {_address(each.address) for each in news}
    found = [
        each.id for each in gateway if _identity(each.identity) in identities or _address(each.address) in addresses
    ]
    return found if len(found) > 1 else []


def check_conflicts(connections: Sequence[Connection], changed: Iterable[str]) -> None:
    """Whether charon and every peer can tell the connections of one gateway apart; `changed`: ids to look at.

    Of two connections with the same identities and addresses, keys and auth modes must be equal and selectors
    disjoint. charon finds a key by the identities alone, and by the addresses alone in IKEv1's main mode (RFC 2409
    5.4), so there keys must be equal too.
    """
    wanted = set(changed)
    if not wanted:
        return
    keys = [(_identities(each), _addresses(each)) for each in connections]
    for place, mine in enumerate(connections):
        if mine.id not in wanted:
            continue
        for other_place, other in enumerate(connections):
            if other.id == mine.id or (other.id in wanted and other_place < place):
                continue
            (ids, addresses), (other_ids, other_addresses) = keys[place], keys[other_place]
            if ids != other_ids and addresses != other_addresses:
                continue
            fault = _fault(mine, other, ids == other_ids, addresses == other_addresses)
            if fault:
                message = f"Conflicts with ipsec_site_connection {other.id} on the same gateway: {fault}"
                raise ApiError("IPsecSiteConnectionConflict", message)


def _fault(mine: Connection, other: Connection, same_ids: bool, same_addresses: bool) -> str:
    if same_ids and same_addresses and mine.auth_mode != other.auth_mode:
        return "the same identities and addresses with another auth_mode"
    if same_ids and mine.auth_mode == other.auth_mode == "psk" and mine.psk != other.psk:
        return "the same local_id and peer_id with another psk"
    if same_addresses and _by_address(mine) and _by_address(other) and mine.psk != other.psk:
        return "IKEv1 main mode finds keys by address, and it has another psk for this peer_address"
    if same_ids and same_addresses and _overlap(mine, other):
        return "the same identities and addresses with overlapping CIDRs"
    return ""


def _by_address(each: Connection) -> bool:
    main = each.ike.ike_version == "v1" and each.ike.phase1_negotiation_mode == "main"
    return main and each.auth_mode == "psk"


def _overlap(mine: Connection, other: Connection) -> bool:
    return _meet(mine.local_cidrs, other.local_cidrs) and _meet(mine.peer_cidrs, other.peer_cidrs)


def _meet(left: Sequence[str], right: Sequence[str]) -> bool:
    theirs = _parsed(right)
    return any(overlaps(ours, other) for ours in _parsed(left) for other in theirs)


def _identities(each: Connection) -> tuple[str, str]:
    return _identity(each.local_id or each.local_address), _identity(each.peer_id)


def _addresses(each: Connection) -> tuple[str, str]:
    return _address(each.local_address), _address(each.peer_address)


# A large installation's peers: parsing one takes as long as everything else that is done with it.
@functools.lru_cache(maxsize=65_536)
def _identity(text: str) -> str:
    try:
        parsed = ipsec_identities.parse(text)
    except ValueError:
        return text
    # charon compares names and mail addresses without case (strongswan: identification.c, equals_strcasecmp).
    return parsed.charon().lower() if parsed.kind in ("fqdn", "email") else parsed.charon()


@functools.lru_cache(maxsize=65_536)
def _address(text: str) -> str:
    return str(_host(text))


@functools.lru_cache(maxsize=4096)
def _host(text: str) -> Address | str:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text.lower().rstrip(".")
