"""Notices of the kernel about changes in a network namespace: links, addresses, routes, rules, nftables and IPsec.

Only the sender and the kind of each change are read. A change counts if it may have removed or altered something of
Linkspan's, and was not made by this process, by a worker of its nftables server, or by charon in its own table.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from linkspan.drivers.linux import netlink, nft_client

NETLINK_ROUTE: Final = 0
NETLINK_XFRM: Final = 6
NETLINK_NETFILTER: Final = 12

LINKS: Final = (1,)
"""The groups of NETLINK_ROUTE about links; see rtnetlink(7) and linux/rtnetlink.h."""
NETWORK: Final = (*LINKS, 5, 7, 8, 9, 11, 19, 24, 25)
"""Links, addresses, routes, rules and the settings of interfaces, of both IP versions."""
GROUPS: Final = {NETLINK_ROUTE: NETWORK, NETLINK_XFRM: (3, 4), NETLINK_NETFILTER: (7,)}

_HEADER: Final = struct.Struct("=IHHII")
_PID: Final = 0x3FFFFF
"""The bits of a port number in which pyroute2 has the pid."""
_FIRST_PROCESS: Final = 1
_REPLACED: Final = 0x100
_NEW_LINK, _DELETED_LINK, _NEW_ROUTE, _DELETED_ROUTE = 16, 17, 24, 25
_DELETED_ADDRESS, _DELETED_RULE, _NEW_SETTINGS = 21, 33, 80
_ROUTE_TABLE_AT: Final = 4
_ROUTE_PROTOCOL_AT: Final = 5
_LINK_HEADER: Final = 16
_LINK_ALIAS: Final = 20
_UP: Final = 1
_NFTABLES: Final = 10
_NFTABLES_HEADER: Final = 4
_TABLE: Final = 1
_DELETED_STATE, _DELETED_POLICY, _FLUSHED_STATES, _FLUSHED_POLICIES = 0x11, 0x14, 0x1C, 0x1D


class Notice(msgspec.Struct, frozen=True):
    """A message of the kernel; `sender`: the port number of the process that made the change, 0 = the kernel."""

    kind: int
    flags: int
    sender: int
    body: bytes


class LinkChange(msgspec.Struct, frozen=True):
    """A link that was changed or removed; `up`: False if it is down or gone."""

    alias: str
    up: bool


def subscribe(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    """Open a socket in the calling thread's namespace that receives the messages of these groups."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    try:
        kernel.bind((0, sum(1 << (group - 1) for group in groups)))
    except OSError:
        kernel.close()
        raise
    return kernel


def messages(data: bytes) -> Iterator[Notice]:
    """Return the messages in what a socket has received. Pure."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, _, sender = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield Notice(kind, flags, sender, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def is_foreign(protocol: int, message: Notice) -> bool:
    """True if the message may be about a change of Linkspan's network by another program, or by the kernel itself."""
    if protocol == NETLINK_ROUTE:
        return message.sender & _PID != os.getpid() & _PID and _is_loss(message)
    if protocol == NETLINK_XFRM:
        is_loss = message.kind in (_DELETED_STATE, _DELETED_POLICY, _FLUSHED_STATES, _FLUSHED_POLICIES)
        return is_loss and not _is_charon(message.sender)
    if message.kind >> 8 != _NFTABLES or message.sender in nft_client.recent_pids():
        return False
    return _attribute(message.body, _NFTABLES_HEADER, _TABLE).startswith(b"linkspan")


def link_change(message: Notice) -> LinkChange | None:
    """Return the link that a message is about, None if it is about something else or a change of this process."""
    if message.kind not in (_NEW_LINK, _DELETED_LINK) or message.sender & _PID == os.getpid() & _PID:
        return None
    (flags,) = struct.unpack_from("=I", message.body, 8)
    alias = _attribute(message.body, _LINK_HEADER, _LINK_ALIAS).rstrip(b"\0").decode(errors="replace")
    return LinkChange(alias, message.kind == _NEW_LINK and bool(flags & _UP))


def _is_loss(message: Notice) -> bool:
    if message.kind in (_NEW_ROUTE, _DELETED_ROUTE):
        table, protocol = message.body[_ROUTE_TABLE_AT], message.body[_ROUTE_PROTOCOL_AT]
        is_ours = protocol == netlink.PROTOCOL or (table == netlink.CHARON and not _is_charon(message.sender))
        return is_ours if message.kind == _DELETED_ROUTE else bool(message.flags & _REPLACED)
    return message.kind in (_NEW_LINK, _DELETED_LINK, _DELETED_ADDRESS, _DELETED_RULE, _NEW_SETTINGS)


def _is_charon(sender: int) -> bool:
    """True if a charon made the change: the port number of its first socket is its pid, in its own process namespace
    if it is isolated (netlink(7))."""
    if sender == _FIRST_PROCESS:
        return True
    try:
        return Path(f"/proc/{sender}/comm").read_text().startswith("charon")
    except OSError:
        return False


def _attribute(body: bytes, offset: int, wanted: int) -> bytes:
    """Return the content of an attribute after the header of a message, empty without it."""
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            break
        if kind & 0x3FFF == wanted:
            return body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return b""
