"""Cheap clients: they send prepared requests, and parse only status and length of a response.

Run as a process of its own, so that it shares no interpreter with the API:
`python -m bench.clients REQUESTS CLIENTS SECONDS PORT…`, where REQUESTS is a file of whole HTTP requests (msgpack).
Each client has one connection, to the ports in turn, and sends its next request after the last response. Prints
requests per second. Per request it uses a tenth of the CPU of the API.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class Load:
    """The state that all clients share. `requests` must not end before `deadline`."""

    def __init__(self, requests: Iterator[bytes], clients: int, deadline: float) -> None:
        self.requests = requests
        self.deadline = deadline
        self.answers = 0
        self.ended = asyncio.get_running_loop().create_future()
        self._left = clients

    def leave(self) -> None:
        """Count a client as finished."""
        self._left -= 1
        if not self._left and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, reason: str) -> None:
        """Fail the measurement."""
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(reason))


class Client(asyncio.Protocol):
    """A connection that sends a request, reads the response, and sends the next request."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = bytearray()
        self._whole = 0
        """Bytes of the whole current response; 0 while its header is incomplete."""
        # Untyped: uvloop's transports do not derive from asyncio's.
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self._next()

    def _next(self) -> None:
        if time.monotonic() < self._load.deadline:
            self._transport.write(next(self._load.requests))
        else:
            self._transport.close()
            self._load.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail if the API closed the connection."""
        if time.monotonic() < self._load.deadline:
            self._load.fail(f"the API closed a connection: {exc}")

    def data_received(self, data: bytes) -> None:
        """Receive a part of a response; after its end send the next request."""
        self._received += data
        if not self._whole:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            if self._received[9:10] != b"2":
                self._load.fail(f"refused: {bytes(self._received[:600])!r}")
                return
            length = _LENGTH.search(self._received, 0, end)
            self._whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) >= self._whole:
            self._received.clear()
            self._whole = 0
            self._load.answers += 1
            self._next()


async def measure(requests: list[bytes], clients: int, seconds: float, ports: list[int]) -> float:
    """Return requests per second."""
    started = time.monotonic()
    load = Load(itertools.cycle(requests), clients, started + seconds)
    loop = asyncio.get_running_loop()
    for _, port in zip(range(clients), itertools.cycle(ports), strict=False):
        await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
    await load.ended
    return load.answers / (time.monotonic() - started)


def main() -> None:
    """Send for the given time and print the rate."""
    requests = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=list[bytes])
    print(uvloop.run(measure(requests, int(sys.argv[2]), float(sys.argv[3]), [int(port) for port in sys.argv[4:]])))


if __name__ == "__main__":
    main()
