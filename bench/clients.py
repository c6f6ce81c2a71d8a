"""Clients that cost little: they send requests that were made before, and of an answer look for status and length only.

Run as a process of its own, so that it shares no interpreter with what is measured:
`python -m bench.clients REQUESTS CLIENTS SECONDS PORT…`, where REQUESTS is a file of whole HTTP requests (msgpack).
Each client has one connection, to one port after the other, and sends the next request when the last one was answered.
Prints requests per second. A request costs it a tenth of the CPU that it costs the API.
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
    """State that all clients share. `requests` does not end before `deadline`."""

    def __init__(self, requests: Iterator[bytes], clients: int, deadline: float) -> None:
        self.requests = requests
        self.deadline = deadline
        self.answers = 0
        self.ended = asyncio.get_running_loop().create_future()
        self._left = clients

    def leave(self) -> None:
        """One client is done."""
        self._left -= 1
        if not self._left and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, why: str) -> None:
        """No figure comes out of this."""
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(why))


class Client(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._got = bytearray()
        self._whole = 0
        """Bytes of the answer that comes; 0 while its head is not complete."""
        # No type: uvloop's transports are none of asyncio's.
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts."""
        self._transport = transport
        self._next()

    def _next(self) -> None:
        if time.monotonic() < self._load.deadline:
            self._transport.write(next(self._load.requests))
        else:
            self._transport.close()
            self._load.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Only we end a connection."""
        if time.monotonic() < self._load.deadline:
            self._load.fail(f"the API ended a connection: {exc}")

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        self._got += data
        if not self._whole:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            if self._got[9:10] != b"2":
                self._load.fail(f"refused: {bytes(self._got[:600])!r}")
                return
            length = _LENGTH.search(self._got, 0, end)
            self._whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._got) >= self._whole:
            self._got.clear()
            self._whole = 0
            self._load.answers += 1
            self._next()


async def measure(requests: list[bytes], clients: int, seconds: float, ports: list[int]) -> float:
    """Requests per second."""
    started = time.monotonic()
    load = Load(itertools.cycle(requests), clients, started + seconds)
    loop = asyncio.get_running_loop()
    for _, port in zip(range(clients), itertools.cycle(ports), strict=False):
        await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
    await load.ended
    return load.answers / (time.monotonic() - started)


def main() -> None:
    """Send for some seconds."""
    requests = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=list[bytes])
    print(uvloop.run(measure(requests, int(sys.argv[2]), float(sys.argv[3]), [int(port) for port in sys.argv[4:]])))


if __name__ == "__main__":
    main()
