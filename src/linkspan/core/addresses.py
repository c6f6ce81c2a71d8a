"""IP addresses and networks: type aliases, and functions that several packages share."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

CIDR_PATTERN: Final = r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$"
_CIDR: Final = re.compile(CIDR_PATTERN)


def address_text(address: Address) -> str:
    """The canonical text of an address (RFC 5952), an IPv4-mapped one in hexadecimal.

    Names in charon are digests of such texts, and Python 3.13 changed its text of an IPv4-mapped address.
    """
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}" if mapped else str(address)


_MAPPED: Final[Network] = ipaddress.ip_network("::ffff:0:0/96")
"""IPv4-mapped IPv6 addresses: a second text of each IPv4 address."""


def address_fault(value: Any) -> str:
    """The reason why a value is not the one text of an address, for a sentence that begins with it; empty if it is.

    Texts are what the database compares, so two texts of one address would be two addresses.
    """
    try:
        address = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None:
        return "is not a valid IP address"
    if getattr(address, "scope_id", None) is not None:
        return "is not a valid IP address here: it has a zone"
    if address in _MAPPED:
        return "is an IPv4-mapped address: write the IPv4 address"
    canonical = address_text(address)
    return "" if value == canonical else f"is not a valid IP address in its canonical form: write '{canonical}'"


def network_fault(value: Any) -> str:
    """The reason why a value is not a CIDR whose address and prefix length have their one text, as in `address_fault`.
    Host bits are no fault."""
    if (network := as_network(value)) is None:
        return "is not a valid IP subnet"
    if contains(_MAPPED, network):
        return "is a network of IPv4-mapped addresses: write the IPv4 network"
    host = address_text(ipaddress.ip_address(value.partition("/")[0]))
    canonical = f"{host}/{network.prefixlen}"
    return "" if value == canonical else f"is not a valid IP subnet in its canonical form: write '{canonical}'"


@functools.lru_cache(maxsize=65_536)
def canonical_host(text: str) -> str:
    """The one text of an address, or of a DNS name: in lower case and without a final dot."""
    try:
        return address_text(ipaddress.ip_address(text))
    except ValueError:
        return text.lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """True if a host is this machine: `localhost`, or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def as_network(value: Any) -> Network | None:
    """The network of a CIDR with host bits masked; None if the value is not a CIDR with a prefix length."""
    return _network(value) if isinstance(value, str) else None


@functools.lru_cache(maxsize=4096)
def _network(value: str) -> Network | None:
    if not _CIDR.fullmatch(value):
        return None
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def as_networks(cidrs: Iterable[str]) -> list[Network]:
    """The networks of CIDRs, in order. A text that is not a CIDR has none."""
    return [network for cidr in cidrs if (network := as_network(cidr)) is not None]


def overlaps(left: Network, right: Network | None) -> bool:
    """True if two networks share an address."""
    return right is not None and left.version == right.version and left.overlaps(right)


def contains(outer: Network, inner: Network) -> bool:
    """True if `inner` equals or is inside `outer`."""
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def interface_mac(router_id: str, network_id: str) -> str:
    """The MAC address of a router's interface on a network, which all its ports there share: locally administered."""
    digest = hashlib.sha256(f"{router_id} {network_id}".encode()).hexdigest()
    return ":".join(("fa", *(digest[at : at + 2] for at in range(0, 10, 2))))
