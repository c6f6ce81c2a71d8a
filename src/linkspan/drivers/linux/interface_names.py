"""Names and owner marks of namespaces and interfaces. Pure, so that an agent finds its own after a restart.

A name identifies the instance of Linkspan; an owner mark (the interface's alias) names instance, node and gateway.
Interface names have at most 15 characters, so they contain digests, and ownership is read from the marks.
"""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import quote, unquote

import msgspec

OUTSIDE = "out0"
"""The name of the outside interface in every gateway."""
INSIDE = "in"
"""The prefix of the names of inside interfaces."""
TUN = "ipsec0"
"""The name of charon's TUN device, with user-space ESP."""

_MARK = "linkspan"


class OwnerMark(msgspec.Struct, frozen=True):
    """The owner of an interface; `gateway` is empty on a bridge, which the nodes of an instance share."""

    instance: str
    node: str
    gateway: str

    def text(self) -> str:
        """Return the interface alias; at most 255 bytes for node names up to 60 characters."""
        return "/".join((_MARK, self.instance, quote(self.node, safe=""), self.gateway))


def read_mark(alias: str) -> OwnerMark | None:
    """Parse the owner mark in an interface alias; None if Linkspan did not create the interface."""
    parts = alias.split("/")
    if len(parts) != 4 or parts[0] != _MARK:
        return None
    return OwnerMark(parts[1], unquote(parts[2]), parts[3])


def check_instance(instance: str) -> str:
    """Return the instance's name if it fits into interface names and delimits a prefix. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9]{1,10}", instance):
        raise ValueError(f"an instance is named by 1 to 10 of a-z and 0-9, not {instance!r}")
    return instance


def namespace_prefix(instance: str) -> str:
    """Return the prefix of the names of all namespaces of an instance, and of no other instance."""
    return f"ls-{instance}-"


def namespace(instance: str, node: str, gateway: str) -> str:
    """Return the name of a gateway's namespace: the start of its router's id, and a digest of all three arguments."""
    return f"{namespace_prefix(instance)}{gateway[:8]}-{_digest(instance, node, gateway)[:6]}"


def link_prefixes(instance: str) -> tuple[str, str]:
    """Return the prefixes of an instance's bridges and ports. Digests can collide, so check the owner mark as well."""
    tag = _digest(instance)[:3]
    return f"lsb-{tag}", f"lsp-{tag}"


def bridge(instance: str, network: str) -> str:
    """Return the name of the bridge of a network that is not mapped to an operator's bridge."""
    return link_prefixes(instance)[0] + _digest(instance, network)[:8]


def bridge_port(instance: str, node: str, gateway: str, interface: str) -> str:
    """Return the name of the bridge port that is the veth peer of a gateway's interface."""
    return link_prefixes(instance)[1] + _digest(instance, node, gateway, interface)[:8]


def inside_interface(network: str) -> str:
    """Return the name of an inside interface: the first eight hexadecimal digits of its network's id."""
    return INSIDE + network.replace("-", "")[:8]


def _digest(*parts: str) -> str:
    raw = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(raw).decode().lower()
