"""A minimal name server (RFC 1035) in the namespace of a test."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Final, Self

from linkspan.drivers.linux import netns

FAMILIES: Final = {1: socket.AF_INET, 28: socket.AF_INET6}
"""Address families by record type: A and AAAA."""


class NameServer:
    """Serves during the `with` block: `records`, NXDOMAIN for other names, no answer while `silent`."""

    def __init__(self, namespace: str, address: str) -> None:
        self.records: dict[str, list[str]] = {}
        self.silent = False
        self.asked = 0
        self._stop = threading.Event()
        self._socket = netns.run_inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.bind((address, 53))
        self._socket.settimeout(0.1)
        self._thread = threading.Thread(target=self._serve, name="name-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                query, client = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            self.asked += 1
            if not self.silent:
                self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        position, labels = 12, []
        while length := query[position]:
            labels.append(query[position + 1 : position + 1 + length].decode())
            position += 1 + length
        (kind,) = struct.unpack_from("!H", query, position + 1)
        known = self.records.get(".".join(labels).lower())
        family = FAMILIES.get(kind)
        matching = [address for address in known or () if family and (":" in address) == (family == socket.AF_INET6)]
        data = [socket.inet_pton(family, address) for address in matching if family]
        answers = [struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed for packed in data]
        flags = 0x8180 if known is not None else 0x8183
        head = query[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
        return head + query[12 : position + 5] + b"".join(answers)
