"""Deadlines for clients beyond those of uvicorn, so that slow or silent clients cannot pile up.

A connection must deliver a request within `ARRIVAL` and accept a piece of its answer within `TAKING`, or it is closed.
No thread is involved: a slow client costs a socket and a few kilobytes. The size of a body is the application's to
limit.

How many connections there may be is `connections`' to say.

A client may send requests without waiting for answers (pipelining). Few of them are read ahead: each one that waits
costs kilobytes, and one read of a socket can have thousands.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from linkspan.api.http.connections import ConnectionTable
from linkspan.api.http.joined_writes import JoinedWrites

ARRIVAL: Final = 60.0
"""Seconds from a request's first byte to its last, and from a connection to its first request."""
TAKING: Final = 60.0
"""Seconds in which a client takes what is ready for it, 64 KB at a time, before it is cut off."""
HEAD: Final = 64 * 1024
"""Bytes of a request line with headers, and of everything in a body that is not content: trailers, sizes of chunks."""
HEADERS: Final = 100
"""Headers of a request, trailers included."""
LEFT: Final = "linkspan.left"
"""Key of the ASGI scope: a function without parameters that returns whether the client has left."""
CERTIFICATE: Final = "linkspan.certificate"
"""Key of the ASGI scope: the SHA-256 of the client's certificate, in hexadecimal; empty if it has shown none."""
WHOLE: Final = "linkspan.whole"
"""Key of the ASGI scope: True if all of the request had arrived when its turn came."""
AHEAD: Final = 8
"""Requests of a connection that wait for the answers before theirs; the bytes of others stay as they are."""
PART: Final = 1024
"""Bytes that are parsed at a time, so that they hold few requests."""


class _HeldFlow(FlowControl):
    """Does not read on while there are bytes of requests that wait."""

    held = False

    def resume_reading(self) -> None:
        """Reads on, unless held."""
        if not self.held:
            super().resume_reading()


class TimedHttpProtocol(HttpToolsProtocol):
    """One connection. `table`: all connections of its server, if they are limited."""

    def __init__(self, *arguments: Any, table: ConnectionTable | None = None, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._table = table
        self.before: Callable[[], None] | None = None
        """Called before the connection is added to the table."""

    _arrival: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None
    _head: int | None = 0
    """Bytes of a head that is not complete; None while there is none."""
    _overhead = 0
    """Bytes that came with the present body and are not its content."""
    had_request = False
    """True if a request was answered."""
    _address = ""
    _certificate = ""
    _lost = False
    _began = False
    """True if the head started in the data at hand: what else is in there belongs to another request."""

    # --- what comes ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self.transport = JoinedWrites(transport, self.loop)  # type: ignore[assignment]
        self.flow = self._held = _HeldFlow(transport)
        self._unread = bytearray()
        self._address = self.client[0] if self.client else ""
        self._certificate = _shown_certificate(transport)
        if self.before is not None:
            self.before()
        if self._table is not None and not self._table.add(self, self._address):
            transport.abort()
            return
        self._expect()

    @property
    def waits_for_client(self) -> bool:
        """True if no whole request is there that needs an answer."""
        cycle: RequestResponseCycle | None = self.__dict__["cycle"]  # None before the first request
        return cycle is None or cycle.response_complete or (cycle.more_body and not self.pipeline)

    def drop(self) -> None:
        """Closes the connection at once."""
        self.transport.abort()

    def _left(self) -> bool:
        return self._lost or self.transport.is_closing()

    def data_received(self, data: bytes) -> None:
        """Part of a request, or several."""
        self._unread += data
        if not self._held.held:
            self._parse()

    def _parse(self) -> None:
        """Parses what has arrived, until enough requests wait."""
        while self._unread and len(self.pipeline) < AHEAD and not self.transport.is_closing():
            part = bytes(self._unread[:PART])
            del self._unread[:PART]
            self._received(part)
        self._held.held = bool(self._unread)
        if self._held.held:
            self.flow.pause_reading()
            # It has arrived, although it is not read yet.
            self._arrived()

    def on_response_complete(self) -> None:
        """The next request's turn."""
        self.had_request = True
        if self.cycle.response_complete:
            # Of a request that was answered before its body was read: nobody will.
            self.cycle.body = bytearray()
        super().on_response_complete()
        if self._held.held:
            self._parse()
            self.flow.resume_reading()

    def _received(self, data: bytes) -> None:
        self._expect()
        self._began = False
        self._overhead += len(data)
        super().data_received(data)
        if self._head is not None and not self._began:
            self._head += len(data)
            if self._head > HEAD and not self.transport.is_closing():
                self.send_400_response("The request line and its headers are too long.")
        elif self._overhead > HEAD:
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer. An error makes the parser refuse the request."""
        if len(self.headers) >= HEADERS:
            raise ValueError(f"more than {HEADERS} headers")
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Content of a body."""
        self._overhead = max(0, self._overhead - len(body))
        super().on_body(body)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self.scope[LEFT] = self._left  # type: ignore[typeddict-unknown-key]
        self.scope[CERTIFICATE] = self._certificate  # type: ignore[typeddict-unknown-key]
        self._head, self._began = 0, True
        self._expect()

    def on_headers_complete(self) -> None:
        """All of a request but its body."""
        self._head, self._overhead = None, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of a request."""
        self._arrived()
        self.scope[WHOLE] = True  # type: ignore[typeddict-unknown-key]
        super().on_message_complete()

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _expect(self) -> None:
        if self._arrival is None:
            self._arrival = self.loop.call_later(ARRIVAL, self.transport.abort)

    # --- what goes ----------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client has not taken what was written so far."""
        super().pause_writing()
        self._taking = self.loop.call_later(TAKING, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken most of it."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for a while after an answer. To close waits for what the client has not taken of it."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._lost = True
        if self._table is not None:
            self._table.remove(self, self._address)
        for timer in (self._arrival, self._taking):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        # What waits shall not live as long as the answer that is on its way.
        self.pipeline.clear()
        self._unread.clear()


def _shown_certificate(transport: asyncio.BaseTransport) -> str:
    tls = transport.get_extra_info("ssl_object")
    # TLS has verified it, else there would be no connection.
    certificate = None if tls is None else tls.getpeercert(binary_form=True)
    return hashlib.sha256(certificate).hexdigest() if certificate else ""
