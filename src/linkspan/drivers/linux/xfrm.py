"""Removes IPsec policies that carry a mark, in the calling thread's namespace (linux/xfrm.h).

ip(8) leaves a mark of value 0 out of a request to delete, whatever its mask, so that the kernel finds no such policy;
pyroute2 has no XFRM.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from typing import Final, Literal

Direction = Literal["in", "out", "fwd"]

_DIRECTIONS: Final[dict[Direction, int]] = {"in": 0, "out": 1, "fwd": 2}
_NETLINK_XFRM: Final = 6
_DELETE_POLICY: Final = 0x14
_MARK: Final = 21
_REQUEST_ACK: Final = 0x05
_ERROR: Final = 2
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_DEADLINE: Final = 5.0


def delete_policy(source: str, destination: str, direction: Direction, mask: int) -> None:
    """Remove the policy with these prefixes and the mark 0 under a mask. No error if there is none."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_XFRM) as kernel:
        kernel.settimeout(_DEADLINE)
        kernel.send(_request(source, destination, direction, mask))
        answer = kernel.recv(65536)
    length, kind = struct.unpack_from("=IH", answer)
    code = -struct.unpack_from("=i", answer, 16)[0] if kind == _ERROR and length >= 20 else errno.EPROTO
    if code not in (0, errno.ENOENT):
        raise OSError(code, f"cannot remove the policy from {source} to {destination}: {os.strerror(code)}")


def _request(source: str, destination: str, direction: Direction, mask: int) -> bytes:
    left, right = ipaddress.ip_network(source), ipaddress.ip_network(destination)
    # struct xfrm_selector: destination and source, ports, family, prefix lengths, protocol, interface, user.
    selector = struct.pack(
        "=16s16s8xHBBB3xiI",
        right.network_address.packed,
        left.network_address.packed,
        _FAMILY[left.version],
        right.prefixlen,
        left.prefixlen,
        0,
        0,
        0,
    )
    body = selector + struct.pack("=IB3x", 0, _DIRECTIONS[direction])
    body += struct.pack("=HHII", 12, _MARK, 0, mask)
    return struct.pack("=IHHII", 16 + len(body), _DELETE_POLICY, _REQUEST_ACK, 1, 0) + body
