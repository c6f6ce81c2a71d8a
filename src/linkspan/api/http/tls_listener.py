"""Accepts TLS connections, so that they are counted before their handshake, which has a deadline.

An event loop that accepts TLS by itself shows a connection only after its handshake: silent ones would take descriptors
that nobody counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Callable
from typing import Final

from linkspan.api.http.connections import ConnectionTable
from linkspan.api.http.slow_clients import TimedHttpProtocol

HANDSHAKE: Final = 10.0
"""Seconds for a handshake."""
SHUTDOWN: Final = 1.0
"""Seconds for a client to take part in the end of its connection: one that is silent would delay the server's."""
BATCH: Final = 64
"""Connections that are accepted at a time."""
PAUSE: Final = 0.1
"""Seconds without accepting after the system refused a descriptor."""


class Handshake:
    """A connection whose handshake is not over."""

    waits_for_client = True
    had_request = False

    def __init__(self, client: socket.socket, address: str) -> None:
        self.client = client
        self.address = address
        self.started = False
        self.task: asyncio.Task[None] | None = None

    def drop(self) -> None:
        """Ends it, and the connection with it."""
        if self.task is not None:
            self.task.cancel()


class TlsListener:
    """A listening socket. `context` returns what the next connection is accepted with; `protocol` makes its HTTP
    protocol."""

    def __init__(
        self,
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext],
        protocol: Callable[[], TimedHttpProtocol],
        table: ConnectionTable,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._context = context
        self._protocol = protocol
        self._table = table
        self._handshakes: set[Handshake] = set()
        self._is_open = True
        listener.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Accepts no more, and ends the handshakes."""
        self._is_open = False
        self._loop.remove_reader(self._listener)
        for handshake in list(self._handshakes):
            handshake.drop()

    async def wait_closed(self) -> None:
        """Waits for the handshakes to end."""
        tasks = [handshake.task for handshake in self._handshakes if handshake.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                client, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor is left: the socket would stay readable.
                self._loop.remove_reader(self._listener)
                self._loop.call_later(PAUSE, self._resume)
                return
            client.setblocking(False)
            handshake = Handshake(client, address[0])
            if self._table.add(handshake, handshake.address):
                self._handshakes.add(handshake)
                handshake.task = self._loop.create_task(self._shake_hands(handshake))
                handshake.task.add_done_callback(functools.partial(self._end, handshake))
            else:
                client.close()

    async def _shake_hands(self, handshake: Handshake) -> None:
        def connected() -> TimedHttpProtocol:
            http = self._protocol()
            # It takes the place of the handshake in the table.
            http.before = functools.partial(self._table.remove, handshake, handshake.address)
            return http

        handshake.started = True
        # OSError is no TLS, another version, a late client, or one that is gone.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(
                connected,
                handshake.client,
                ssl=self._context(),
                ssl_handshake_timeout=HANDSHAKE,
                ssl_shutdown_timeout=SHUTDOWN,
            )

    def _end(self, handshake: Handshake, _task: asyncio.Task[None]) -> None:
        if not handshake.started:
            handshake.client.close()  # else the transport has closed it, or goes on
        self._table.remove(handshake, handshake.address)
        self._handshakes.discard(handshake)
