"""IP addresses and networks: type aliases, and functions that several packages share."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

CIDR_PATTERN: Final = r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$"
_CIDR: Final = re.compile(CIDR_PATTERN)


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
