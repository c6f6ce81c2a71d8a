"""Requests to the kernel in bytes, where pyroute2 has none or would decode too much (netlink(7))."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, kind, flags, sequence number, port number."""
REQUEST: Final = 0x01
REQUEST_ACK: Final = 0x05
REQUEST_DUMP: Final = 0x301
ERROR: Final = 2
DONE: Final = 3
RECEIVED: Final = 65536
_DEADLINE: Final = 5.0


def connect(protocol: int) -> socket.socket:
    """Open a socket in the calling thread's namespace, with a deadline for each answer. Raises OSError."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    kernel.settimeout(_DEADLINE)
    return kernel


def message(kind: int, flags: int, body: bytes) -> bytes:
    """Return a request."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body


def kind_of(answer: bytes) -> int:
    """Return the kind of the first message of an answer."""
    kind: int = HEADER.unpack_from(answer)[1]
    return kind


def error_number(answer: bytes) -> int:
    """Return the error number of an answer, 0 for an acknowledgement."""
    length, kind, *_ = HEADER.unpack_from(answer)
    return -int(struct.unpack_from("=i", answer, HEADER.size)[0]) if kind == ERROR and length >= 20 else errno.EPROTO
