"""Names and marks of what the drivers make on a machine: pure, so that an agent can find its own after a restart.

A name says which instance of Linkspan something belongs to, a mark (the interface's alias) says everything: instance,
node, gateway. Names of interfaces have at most 15 characters, so they carry digests; whoever wants to know reads marks.
"""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import quote, unquote

import msgspec

OUTSIDE = "out0"
"""The outside leg inside every gateway."""

_MARK = "linkspan"


class OwnerMark(msgspec.Struct, frozen=True):
    """To whom an interface belongs; `gateway` is empty on a bridge, which nodes of one instance share."""

    instance: str
    node: str
    gateway: str

    def text(self) -> str:
        """The alias that an interface carries; at most 255 bytes for node names up to 60 characters."""
        return "/".join((_MARK, self.instance, quote(self.node, safe=""), self.gateway))


def read_mark(alias: str) -> OwnerMark | None:
    """The mark in an interface's alias; None if somebody else made the interface."""
    parts = alias.split("/")
    if len(parts) != 4 or parts[0] != _MARK:
        return None
    return OwnerMark(parts[1], unquote(parts[2]), parts[3])


def check_instance(instance: str) -> str:
    """An instance's name is part of names with 15 characters, and the end of a prefix. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9]{1,10}", instance):
        raise ValueError(f"an instance is named by 1 to 10 of a-z and 0-9, not {instance!r}")
    return instance


def namespace_prefix(instance: str) -> str:
    """What the names of all namespaces of an instance begin with, and of no other instance."""
    return f"ls-{instance}-"


def namespace(instance: str, node: str, gateway: str) -> str:
    """A gateway's namespace on a node: readable by its router's id, unambiguous by a digest of all three."""
    return f"{namespace_prefix(instance)}{gateway[:8]}-{_digest(instance, node, gateway)[:6]}"


def link_prefixes(instance: str) -> tuple[str, str]:
    """What bridges and ports of an instance begin with (of another one with the same digest too: read the mark)."""
    tag = _digest(instance)[:3]
    return f"lsb-{tag}", f"lsp-{tag}"


def bridge(instance: str, network: str) -> str:
    """The bridge of a network that no operator has mapped to one of theirs."""
    return link_prefixes(instance)[0] + _digest(instance, network)[:8]


def port(instance: str, node: str, gateway: str, leg: str) -> str:
    """The other end of a gateway's leg, on the bridge."""
    return link_prefixes(instance)[1] + _digest(instance, node, gateway, leg)[:8]


def inside_leg(network: str) -> str:
    """An inside leg, by the first eight hexadecimal digits of its network's id."""
    return "in" + network.replace("-", "")[:8]


def _digest(*parts: str) -> str:
    raw = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(raw).decode().lower()
