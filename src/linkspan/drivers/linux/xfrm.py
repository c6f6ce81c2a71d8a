"""Removes IPsec policies that carry a mark, and acquires, in the calling thread's namespace (linux/xfrm.h).

ip(8) leaves a mark of value 0 out of a request to delete, whatever its mask, so that the kernel finds no such policy;
pyroute2 has no XFRM.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, Literal

from linkspan.drivers.linux import raw_netlink
from linkspan.drivers.linux.raw_netlink import DONE, ERROR, HEADER, RECEIVED, REQUEST, REQUEST_ACK, REQUEST_DUMP

Direction = Literal["in", "out", "fwd"]

_DIRECTIONS: Final[dict[Direction, int]] = {"in": 0, "out": 1, "fwd": 2}
_NETLINK_XFRM: Final = 6
_NEW_STATE: Final = 0x10
_DELETE_STATE: Final = 0x11
_GET_STATE: Final = 0x12
_DELETE_POLICY: Final = 0x14
_ALLOCATE_SPI: Final = 0x16
_MARK: Final = 21
_STATE: Final = struct.Struct("=56x16s4sB3x124xIIHBBB7x")
"""struct xfrm_usersa_info: destination, SPI and protocol; sequence number, reqid, family, mode, window and flags."""
_STATE_ID: Final = struct.Struct("=16s4sHBx")
_SPIS: Final = struct.Struct("=II")
_FIRST_SPI: Final = 0xC0000000
_LAST_SPI: Final = 0xFFFFFFFF
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


def delete_policy(source: str, destination: str, direction: Direction, mask: int) -> None:
    """Remove the policy with these prefixes and the mark 0 under a mask. No error if there is none."""
    with raw_netlink.connect(_NETLINK_XFRM) as kernel:
        kernel.send(_request(source, destination, direction, mask))
        answer = kernel.recv(RECEIVED)
    code = raw_netlink.error_number(answer)
    if code not in (0, errno.ENOENT):
        raise OSError(code, f"cannot remove the policy from {source} to {destination}: {os.strerror(code)}")


def forget_acquires() -> None:
    """Remove the states that the kernel has made for its acquires, each of which keeps it from sending another one.

    They have no SPI, without which no state can be removed: so each gets one. No error if charon is faster.
    """
    with raw_netlink.connect(_NETLINK_XFRM) as kernel:
        for state in [state for state in _states(kernel) if _STATE.unpack(state)[1] == bytes(4)]:
            kernel.send(raw_netlink.message(_ALLOCATE_SPI, REQUEST, state + _SPIS.pack(_FIRST_SPI, _LAST_SPI)))
            answer = kernel.recv(RECEIVED)
            if raw_netlink.kind_of(answer) != _NEW_STATE:
                continue
            destination, spi, protocol, _, _, family, *_ = _STATE.unpack_from(answer, HEADER.size)
            identifier = _STATE_ID.pack(destination, spi, family, protocol)
            kernel.send(raw_netlink.message(_DELETE_STATE, REQUEST_ACK, identifier))
            kernel.recv(RECEIVED)


def _states(kernel: socket.socket) -> Iterator[bytes]:
    """Yield the kernel's states, each as a struct xfrm_usersa_info."""
    kernel.send(raw_netlink.message(_GET_STATE, REQUEST_DUMP, b""))
    while True:
        part = kernel.recv(RECEIVED)
        while part:
            length, kind, *_ = HEADER.unpack_from(part)
            if kind == DONE:
                return
            if kind == ERROR:
                code = raw_netlink.error_number(part)
                raise OSError(code, f"cannot list the states of IPsec: {os.strerror(code)}")
            yield part[HEADER.size : HEADER.size + _STATE.size]
            part = part[(length + 3) & ~3 :]


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
    return raw_netlink.message(_DELETE_POLICY, REQUEST_ACK, body)
