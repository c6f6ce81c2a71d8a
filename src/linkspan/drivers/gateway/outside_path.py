"""This end of the way to a peer: what the kernel says of a gateway's outside interface, address and route.

Nothing is sent: connecting a UDP socket looks for the route.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from typing import Final

from linkspan.core.diagnosis.codes import Code
from linkspan.drivers.linux import interface_names

_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP_AND_RUNNING: Final = 0x1 | 0x40
_IKE: Final = 500


def local_fault(local: str, peer: str) -> Code | None:
    """The fault of this end that keeps packets from `local` to `peer` from leaving the namespace of the thread."""
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        if not _is_running(probe):
            return "LOCAL_LINK_DOWN"
        try:
            probe.bind((local, 0))
        except OSError:
            return "LOCAL_ADDRESS_ABSENT"
        try:
            probe.connect((peer, _IKE))
        except OSError as error:
            return "NO_ROUTE_TO_PEER" if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH) else None
    return None


def _is_running(probe: socket.socket) -> bool:
    request = struct.pack("16sh14x", interface_names.OUTSIDE.encode(), 0)
    try:
        answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, request)
    except OSError:
        return False
    flags: int = struct.unpack("16sh14x", answer)[1]
    return flags & _IFF_UP_AND_RUNNING == _IFF_UP_AND_RUNNING
