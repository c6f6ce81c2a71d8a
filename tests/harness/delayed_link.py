"""A link between a bridge and one of its ports that delays packets, for kernels without netem.

The bridge forwards nothing from and to the port, and a thread does that, each frame after its own delay. So messages
can overtake each other, as they do between the threads of a busy charon. The port stays the bridge's, where the agent
wants it.
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
"""The veth pair that replaces the port: `near` is attached to the bridge."""
_UDP = 17


class DelayedLink(Listener):
    """Delays packets during the `with` block. `delay` returns seconds; `Packet.sent` is true towards the port."""

    def __init__(self, namespace: str, bridge: str, port: str, delay: Callable[[Packet], float]) -> None:
        super().__init__(namespace, "delayed-link")
        self._bridge, self._port = bridge, port
        self._delay = delay

    def __enter__(self) -> Self:
        far, near = ENDS
        self._ip("link", "add", far, "type", "veth", "peer", "name", near)
        self._set_state("disabled")
        self._ip("link", "set", near, "master", self._bridge)
        for name in ENDS:
            self._ip("link", "set", name, "up")
        self._ip("link", "set", far, "promisc", "on")
        self._ip("link", "set", self._port, "promisc", "on")
        self._forget_ways()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._ip("link", "del", ENDS[0])
        self._ip("link", "set", self._port, "promisc", "off")
        self._set_state("forwarding")
        self._forget_ways()

    def _forget_ways(self) -> None:
        """Until it has learnt otherwise the bridge would send what is for the port to where it was before."""
        self._ip("link", "set", self._bridge, "type", "bridge", "fdb_flush")

    def _set_state(self, state: str) -> None:
        command = ["bridge", "link", "set", "dev", self._port, "state", state]
        netns.run_inside(self._namespace, lambda: subprocess.run(command, check=True))

    def _ip(self, *arguments: str) -> None:
        netns.run_inside(self._namespace, lambda: subprocess.run(["ip", *arguments], check=True))

    def _open(self) -> list[socket.socket]:
        return [_raw(self._port), _raw(ENDS[0])]

    def _listen(self) -> None:
        port, far = self._sockets
        opposite = {port: far, far: port}
        order = itertools.count()
        in_flight: list[tuple[float, int, bytes, socket.socket]] = []
        while True:
            patience = max(in_flight[0][0] - time.monotonic(), 0.0) if in_flight else None
            ready, _, _ = select.select([port, far, self._wake[1]], [], [], patience)
            if self._wake[1] in ready:
                return
            for source in ready:
                frame, address = source.recvfrom(65536)
                if address[2] != socket.PACKET_OUTGOING:
                    forwarded = packet(_without_checksum(frame), sent=source is far)
                    due = forwarded.at + self._delay(forwarded)
                    heapq.heappush(in_flight, (due, next(order), forwarded.frame, opposite[source]))
            while in_flight and in_flight[0][0] <= time.monotonic():
                _, _, frame, to = heapq.heappop(in_flight)
                to.send(frame)


def _raw(link: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.bind((link, 3))
    return raw


def _without_checksum(frame: bytes) -> bytes:
    """Clear the UDP checksum (RFC 768): the sender's kernel leaves it to hardware offload, which is not there."""
    if frame[12:14] != b"\x08\x00" or frame[23] != _UDP:
        return frame
    at = 14 + (frame[14] & 15) * 4 + 6
    return frame[:at] + b"\0\0" + frame[at + 2 :]
