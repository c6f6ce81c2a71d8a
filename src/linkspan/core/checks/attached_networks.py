"""Checks of peer networks against the networks attached to the same router.

A peer network that equals or is inside an attached one would take that network's traffic into the tunnel, so that hosts
on the same router lose each other. A wider one is taken: the attached network is exempt (`core.ipsec.exemptions`). The
external network does not count: peers' networks may hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from linkspan.core.addresses import Network, as_network, as_networks, contains
from linkspan.core.errors import ApiError


def check_peer_networks(cidrs: Iterable[str], attached: Mapping[str, str]) -> None:
    """Raises ApiError if a peer network of a connection equals or is inside an attached network.

    `attached`: the CIDRs of the subnets on the router's interfaces, by id.
    """
    for peer_network in as_networks(cidrs):
        for subnet_id, cidr in attached.items():
            if _holds(as_network(cidr), peer_network):
                message = (
                    f"Peer network '{peer_network}' equals or is inside '{cidr}' of subnet {subnet_id}, which is "
                    "attached to the same router: its hosts would be cut off; use other or wider peer networks"
                )
                raise ApiError("IPsecSiteConnectionConflict", message)


def check_interface(subnet_id: str, cidr: str, peer_networks: Mapping[str, Iterable[str]]) -> None:
    """Raises ApiError if a subnet that a router gets an interface on equals or contains a peer network.

    `peer_networks`: the CIDRs of the peers of the router's connections, by the connections' ids.
    """
    network = as_network(cidr)
    for connection_id, cidrs in peer_networks.items():
        for peer_network in as_networks(cidrs):
            if _holds(network, peer_network):
                message = (
                    f"Subnet {subnet_id} with '{cidr}' contains the peer network '{peer_network}' of ipsec site "
                    f"connection {connection_id} on this router: its hosts would be cut off"
                )
                raise ApiError("SubnetInUseByIPsecSiteConnection", message)


def _holds(network: Network | None, peer_network: Network) -> bool:
    return network is not None and contains(network, peer_network)
