"""A way between one port of a bridge and the others that takes its time, for a kernel that has no netem.

The port is taken off the bridge, and its frames are carried across by hand, each after a delay of its own: so two
messages can overtake each other, as they do between the threads of a busy charon.
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from linkspan.drivers.linux import netns
from linkspan.lab.packet_counter import Listener
from tests.harness.recorder import Packet, packet

ENDS = ("far", "near")
"""The pair of links that takes the port's place: `near` is on the bridge. They go with their namespace."""
_UDP = 17


class Distance(Listener):
    """Use it as a `with` block. `delay`: seconds that a packet takes; `sent` is what goes to the port."""

    def __init__(self, namespace: str, bridge: str, port: str, delay: Callable[[Packet], float]) -> None:
        super().__init__(namespace, "distance")
        self._bridge, self._port = bridge, port
        self._delay = delay

    def __enter__(self) -> Self:
        far, near = ENDS
        self._ip("link", "add", far, "type", "veth", "peer", "name", near)
        self._ip("link", "set", self._port, "nomaster")
        self._ip("link", "set", near, "master", self._bridge)
        for name in ENDS:
            self._ip("link", "set", name, "up")
        self._ip("link", "set", far, "promisc", "on")
        self._ip("link", "set", self._port, "promisc", "on")
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._ip("link", "del", ENDS[0])
        self._ip("link", "set", self._port, "promisc", "off", "master", self._bridge)

    def _ip(self, *arguments: str) -> None:
        netns.run_inside(self._namespace, lambda: subprocess.run(["ip", *arguments], check=True))

    def _open(self) -> list[socket.socket]:
        return [_raw(self._port), _raw(ENDS[0])]

    def _listen(self) -> None:
        port, far = self._sockets
        across = {port: far, far: port}
        order = itertools.count()
        on_the_way: list[tuple[float, int, bytes, socket.socket]] = []
        while True:
            patience = max(on_the_way[0][0] - time.monotonic(), 0.0) if on_the_way else None
            ready, _, _ = select.select([port, far, self._wake[1]], [], [], patience)
            if self._wake[1] in ready:
                return
            for one in ready:
                frame, address = one.recvfrom(65536)
                if address[2] != socket.PACKET_OUTGOING:
                    found = packet(_without_checksum(frame), sent=one is far)
                    due = found.at + self._delay(found)
                    heapq.heappush(on_the_way, (due, next(order), found.frame, across[one]))
            while on_the_way and on_the_way[0][0] <= time.monotonic():
                _, _, frame, to = heapq.heappop(on_the_way)
                to.send(frame)


def _raw(link: str) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    one.bind((link, 3))
    return one


def _without_checksum(frame: bytes) -> bytes:
    """UDP over IPv4 without one (RFC 768): the sender's kernel leaves it to a link's hardware, which is not there."""
    if frame[12:14] != b"\x08\x00" or frame[23] != _UDP:
        return frame
    at = 14 + (frame[14] & 15) * 4 + 6
    return frame[:at] + b"\0\0" + frame[at + 2 :]
