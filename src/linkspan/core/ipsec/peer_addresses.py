"""Addresses that no peer can have, whether a user writes them or a name resolves to them (RFC 6890, RFC 4291 2.5)."""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Final

from linkspan.core.addresses import Network
from linkspan.core.ipsec import identities

_IMPOSSIBLE: Final[tuple[tuple[Network, str], ...]] = (
    (ipaddress.ip_network("0.0.0.0/8"), "means 'this network' (RFC 6890) and cannot be the address of a peer"),
    (ipaddress.ip_network("127.0.0.0/8"), "is a loopback address: the peer is another host"),
    (ipaddress.ip_network("169.254.0.0/16"), "is link-local and cannot be reached through the external network"),
    (ipaddress.ip_network("224.0.0.0/4"), "is multicast and cannot be the address of one peer"),
    (ipaddress.ip_network("255.255.255.255/32"), "is the broadcast address and cannot be the address of one peer"),
    (ipaddress.ip_network("240.0.0.0/4"), "is reserved (RFC 6890) and cannot be the address of a peer"),
    (ipaddress.ip_network("::/128"), "means 'any address' and cannot be the address of one peer"),
    (ipaddress.ip_network("::1/128"), "is the loopback address: the peer is another host"),
    (ipaddress.ip_network("::ffff:0:0/96"), "is an IPv4-mapped address: write the IPv4 address"),
    (ipaddress.ip_network("fe80::/10"), "is link-local and cannot be reached through the external network"),
    (ipaddress.ip_network("ff00::/8"), "is multicast and cannot be the address of one peer"),
)
"""Networks without a possible peer, the more specific one first. The networks for documentation are taken: examples
and laboratories use them."""

_HEXADECIMAL: Final = re.compile("0x[0-9a-f]*")


@functools.lru_cache(maxsize=4096)
def peer_address_fault(text: str) -> str:
    """The reason why a text cannot be a peer's address or name, for a sentence that begins with it; empty if it can."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        if not identities.is_peer_name(text):
            return "is not an address or a DNS name"
        last = text.lower().rstrip(".").rpartition(".")[2]
        if _HEXADECIMAL.fullmatch(last):
            return "ends in a number, which resolvers take for an IPv4 address: write the address"
        return "names this host (RFC 6761 6.3): the peer is another one" if last == "localhost" else ""
    if getattr(address, "scope_id", None):
        return "has a zone: the address of a peer cannot have one"
    return next(
        (fault for network, fault in _IMPOSSIBLE if address.version == network.version and address in network), ""
    )
