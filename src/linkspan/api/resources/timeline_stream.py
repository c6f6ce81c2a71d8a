"""Events of connections as a stream (server-sent events): what follows, as soon as it has its place.

A stream goes on after an id (`Last-Event-ID`, or `after`), else after what is newest; `since` begins in the past. It
holds no thread: it reads when the ticker of its process tells of news, and now and then without. It ends after
`LONGEST`, so that whoever may not read any more does not: a client opens it again and misses nothing.

A client that does not read is cut off by the server (`http.slow_clients`); until then one piece of events waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from linkspan.api.http import event_stream
from linkspan.api.http.messages import Request, Response, encode
from linkspan.api.http.notifications import Notifier, Waiter
from linkspan.api.http.route import Receive, Run, Send
from linkspan.api.resources import timeline_query
from linkspan.api.resources.timeline_query import EventQuery
from linkspan.core.errors import ApiError
from linkspan.core.state.timeline import TimelineEvent
from linkspan.store import timeline
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.timeline_ticker import ANYTHING, key_of

PIECE: Final = 50
"""Events that are sent at a time."""
HEARTBEAT: Final = 10.0
"""Seconds without an event after which a stream says that it is alive, and looks by itself."""
LONGEST: Final = 60.0
"""Seconds after which a stream ends."""
MOST: Final = 400
"""Streams of one process."""
OF_PROJECT: Final = 40
"""Streams of the users of one project in one process."""
RETRY: Final = 1000
"""Milliseconds after which a client opens its stream again."""

Shown = Callable[[TimelineEvent], dict[str, Any]]


class EventStreams:
    """Streams of one process. Used on the event loop, except for what `run` runs."""

    def __init__(
        self, store: Store, notifier: Notifier, shown: Shown, heartbeat: float = HEARTBEAT, longest: float = LONGEST
    ) -> None:
        self._store = store
        self._notifier = notifier
        self._shown = shown
        self._heartbeat = heartbeat
        self._longest = longest
        self._open = Counter[str]()

    async def of_one(self, request: Request, receive: Receive, send: Send, run: Run) -> None:
        """Streams the events of a connection."""
        await self._serve(_Reader(self._store, self._shown, of_all=False), request, receive, send, run)

    async def of_all(self, request: Request, receive: Receive, send: Send, run: Run) -> None:
        """Streams the events of all connections that the caller may see."""
        await self._serve(_Reader(self._store, self._shown, of_all=True), request, receive, send, run)

    async def _serve(self, reader: _Reader, request: Request, receive: Receive, send: Send, run: Run) -> None:
        project = request.caller.project_id
        if self._open[project] >= OF_PROJECT or self._open.total() >= MOST:
            message = "Too many streams of events are open: close one, or read pages"
            raise ApiError("TooManyRequests", message, wait=self._longest)
        self._open[project] += 1
        disconnected: asyncio.Future[Any] = asyncio.ensure_future(event_stream.disconnect(receive))
        waiter: Waiter | None = None
        try:
            await run(reader.begin, request)
            # Before the first read: what is told afterwards is read afterwards.
            waiter = self._notifier.register(reader.key)
            await send({"type": "http.response.start", "status": 200, "headers": list(event_stream.HEADERS)})
            await self._stream(reader, waiter, request, disconnected, send, run)
        finally:
            disconnected.cancel()
            if waiter is not None:
                self._notifier.forget(waiter)
            self._open[project] -= 1
            self._open += Counter()

    async def _stream(
        self,
        reader: _Reader,
        waiter: Waiter,
        request: Request,
        disconnected: asyncio.Future[Any],
        send: Send,
        run: Run,
    ) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._longest
        text = b"retry: %d\n" % RETRY
        while not (self._notifier.closed or disconnected.done() or loop.time() >= ends_at):
            waiter.event.clear()
            try:
                events = (await run(reader.read, request)).body
            except (Conflict, Unavailable):
                events = b""  # the database is away: it goes on when that is back
            # An id alone has no event, and tells the client where to go on.
            text += events or b"id: %d\n\n" % reader.place
            await send({"type": "http.response.body", "body": text, "more_body": True})
            text = b""
            if not reader.has_more:
                await event_stream.wait(waiter.event, disconnected, min(self._heartbeat, ends_at - loop.time()))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Reader:
    """The reads of one stream, in worker threads. `place`: of the last event that was looked at; `has_more`: there may
    be more now."""

    def __init__(self, store: Store, shown: Shown, *, of_all: bool) -> None:
        self._store = store
        self._shown = shown
        self._of_all = of_all
        self.place = 0
        self.has_more = False
        self.key = ANYTHING

    def begin(self, request: Request) -> Response:
        """Finds out what the caller may see, and where to begin. Raises ApiError."""
        query = timeline_query.parse(request, PIECE, of_all=self._of_all)
        selection = query.selection
        with self._store.read() as tx:
            if not self._of_all:
                timeline_query.require_connection(tx, request)
            self.place = selection.after if selection.ascending or selection.after else timeline.newest(tx)
        ids = (selection.connection_id, selection.project_id)
        self.key = next((key_of(id) for id in ids if id is not None), ANYTHING)
        self._query = query
        return Response(200)

    def read(self, _request: Request) -> Response:
        """The next events as text of the stream."""
        query = self._next()
        with self._store.read() as tx:
            newest = timeline.newest(tx)
            page = timeline_query.read(tx, query)
        self.has_more = page.next is not None
        self.place = page.next if page.next is not None else max(newest, self.place)
        return Response(200, b"".join(self._text(event) for event in page.events))

    def _next(self) -> EventQuery:
        selection = msgspec.structs.replace(self._query.selection, after=self.place, ascending=True)
        return msgspec.structs.replace(self._query, selection=selection, limit=PIECE)

    def _text(self, event: TimelineEvent) -> bytes:
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), event.kind.encode(), encode(self._shown(event)))
