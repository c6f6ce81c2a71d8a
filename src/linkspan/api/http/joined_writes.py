"""Writes the head of an answer and its body to a connection at once: two writes would be two system calls, two packets
and two wake-ups of the client."""

from __future__ import annotations

import asyncio
from typing import Any


class JoinedWrites:
    """A transport that keeps what is written until the next write, or until the event loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""

    def write(self, data: bytes) -> None:
        """Sends data soon."""
        if self._kept:
            # Now, so that the transport can say that it has enough.
            kept, self._kept = self._kept, b""
            self._transport.writelines((kept, data))
        elif data:
            self._kept = data
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._kept:
            kept, self._kept = self._kept, b""
            self._transport.write(kept)

    def get_write_buffer_size(self) -> int:
        """The number of bytes that are not sent yet."""
        return len(self._kept) + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Closes the connection after everything is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._kept = b""
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
