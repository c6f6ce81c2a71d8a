"""Admin states of a gateway's router and networks, and what they mean for its connections. Pure.

As in Neutron, a router or network whose `admin_state_up` is false forwards no packets. A gateway drops every packet on
the interfaces of such a network; if its router or its external network is down, it carries no tunnel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from linkspan.core.addresses import Network
from linkspan.core.state.desired import Connection, Gateway

_set = msgspec.structs.replace


def outside_reason(gateway: Gateway) -> str:
    """Why the gateway carries no tunnel at all, in one sentence; empty if it may."""
    if not gateway.enabled:
        return "admin_state_up of the router is false"
    if not gateway.outside.enabled:
        return "admin_state_up of the external network is false"
    return ""


def is_open(gateway: Gateway) -> bool:
    """True if packets may pass every interface."""
    return not outside_reason(gateway) and all(interface.enabled for interface in gateway.inside)


def draining(gateway: Gateway) -> Gateway:
    """The gateway while it deletes its SAs: only the outside interface is still open, for the deletes to the peers."""
    inside = tuple(_set(interface, enabled=interface.enabled and gateway.enabled) for interface in gateway.inside)
    return _set(gateway, enabled=True, outside=_set(gateway.outside, enabled=True), inside=inside)


def closed_networks(gateway: Gateway) -> tuple[Network, ...]:
    """The CIDRs of the inside networks whose interfaces are closed."""
    return tuple(
        ipaddress.ip_interface(address).network
        for interface in gateway.inside
        if not (interface.enabled and gateway.enabled)
        for address in interface.addresses
    )


def effective(
    connections: Mapping[str, Connection], gateway: Gateway, before: Mapping[str, Connection]
) -> dict[str, Connection]:
    """The connections as the admin states of the gateway's router and networks let them be.

    A connection that can carry nothing is disabled. `before`: the result of the last call; equal connections stay the
    same objects.
    """
    if is_open(gateway):
        return dict(connections)
    reason, closed = outside_reason(gateway), closed_networks(gateway)
    states = {id: _effective(connection, reason, closed) for id, connection in connections.items()}
    return {id: before[id] if before.get(id) == state else state for id, state in states.items()}


def _effective(connection: Connection, reason: str, closed: tuple[Network, ...]) -> Connection:
    if not connection.enabled:
        return connection
    if reason:
        return _set(connection, enabled=False, admin_reason=reason)
    local = [cidr for cidr in connection.local_cidrs if _within(cidr, closed)]
    if not local:
        return connection
    reason = f"admin_state_up of the network of {', '.join(local)} is false"
    return _set(connection, enabled=len(local) < len(connection.local_cidrs), admin_reason=reason)


def _within(cidr: str, closed: tuple[Network, ...]) -> bool:
    network = ipaddress.ip_network(cidr)
    return any(network.version == other.version and network.overlaps(other) for other in closed)
