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

Direction = Literal["in", "out", "fwd"]

_DIRECTIONS: Final[dict[Direction, int]] = {"in": 0, "out": 1, "fwd": 2}
_NETLINK_XFRM: Final = 6
_HEADER: Final = struct.Struct("=IHHII")
_NEW_STATE: Final = 0x10
_DELETE_STATE: Final = 0x11
_GET_STATE: Final = 0x12
_DELETE_POLICY: Final = 0x14
_ALLOCATE_SPI: Final = 0x16
_MARK: Final = 21
_REQUEST: Final = 0x01
_REQUEST_ACK: Final = 0x05
_REQUEST_DUMP: Final = 0x301
_ERROR: Final = 2
_DONE: Final = 3
_STATE: Final = struct.Struct("=56x16s4sB3x124xIIHBBB7x")
"""struct xfrm_usersa_info: destination, SPI and protocol; sequence number, reqid, family, mode, window and flags."""
_STATE_ID: Final = struct.Struct("=16s4sHBx")
_SPIS: Final = struct.Struct("=II")
_FIRST_SPI: Final = 0xC0000000
_LAST_SPI: Final = 0xFFFFFFFF
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_DEADLINE: Final = 5.0


def delete_policy(source: str, destination: str, direction: Direction, mask: int) -> None:
    """Remove the policy with these prefixes and the mark 0 under a mask. No error if there is none."""
    with _connect() as kernel:
        kernel.send(_request(source, destination, direction, mask))
        answer = kernel.recv(65536)
    code = _code(answer)
    if code not in (0, errno.ENOENT):
        raise OSError(code, f"cannot remove the policy from {source} to {destination}: {os.strerror(code)}")


def forget_acquires() -> None:
    """Remove the states that the kernel has made for its acquires, each of which keeps it from sending another one.

    They have no SPI, without which no state can be removed: so each gets one. No error if charon is faster.
    """
    with _connect() as kernel:
        for state in [state for state in _states(kernel) if _STATE.unpack(state)[1] == bytes(4)]:
            kernel.send(_message(_ALLOCATE_SPI, _REQUEST, state + _SPIS.pack(_FIRST_SPI, _LAST_SPI)))
            answer = kernel.recv(65536)
            if _kind(answer) != _NEW_STATE:
                continue
            destination, spi, protocol, _, _, family, *_ = _STATE.unpack_from(answer, _HEADER.size)
            identifier = _STATE_ID.pack(destination, spi, family, protocol)
            kernel.send(_message(_DELETE_STATE, _REQUEST_ACK, identifier))
            kernel.recv(65536)


def _connect() -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_XFRM)
    kernel.settimeout(_DEADLINE)
    return kernel


def _states(kernel: socket.socket) -> Iterator[bytes]:
    """Yield the kernel's states, each as a struct xfrm_usersa_info."""
    kernel.send(_message(_GET_STATE, _REQUEST_DUMP, b""))
    while True:
        part = kernel.recv(65536)
        while part:
            length, kind, *_ = _HEADER.unpack_from(part)
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError(_code(part), f"cannot list the states of IPsec: {os.strerror(_code(part))}")
            yield part[_HEADER.size : _HEADER.size + _STATE.size]
            part = part[(length + 3) & ~3 :]


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _kind(answer: bytes) -> int:
    kind: int = _HEADER.unpack_from(answer)[1]
    return kind


def _code(answer: bytes) -> int:
    """Return the error number of an answer, 0 for an acknowledgement."""
    length, kind, *_ = _HEADER.unpack_from(answer)
    return -int(struct.unpack_from("=i", answer, _HEADER.size)[0]) if kind == _ERROR and length >= 20 else errno.EPROTO


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
    return _message(_DELETE_POLICY, _REQUEST_ACK, body)
