"""The agents' door: hello, desired state, hints, reports. A node proves itself by its token and sees only its own.

Blocking handlers like all others, except for the hint stream, which holds no thread. What an agent says is decoded
into the types of `core.state.observed`; anything else is a 400. Without a known token the answer is an empty 401.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from linkspan.api.http.messages import Request, Response, encode
from linkspan.api.http.notifications import Notifier, Subscription
from linkspan.api.http.route import Receive, Route, Run, Send
from linkspan.core.errors import ApiError
from linkspan.core.state import desired
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report, Welcome
from linkspan.store.identity.tokens import hash_token
from linkspan.store.nodes import delta as stored_delta
from linkspan.store.nodes import registry
from linkspan.store.nodes import reports as stored_reports
from linkspan.store.nodes.registry import NodeRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

HEARTBEAT: Final = 10.0
"""Seconds of silence after which a hint stream says that it is alive."""
LARGEST_REPORT: Final = 4 * 1024 * 1024

_T = TypeVar("_T")
_UNKNOWN: Final = Response(401, b"", ())
_hello: Final = msgspec.json.Decoder(Hello)
_report: Final = msgspec.json.Decoder(Report)


class AgentProtocol:
    """Handlers of `/agent/v1`."""

    def __init__(self, store: Store, hub: Notifier, heartbeat: float = HEARTBEAT) -> None:
        self._store = store
        self._hub = hub
        self._heartbeat = heartbeat

    def routes(self) -> list[Route]:
        """All paths; public to the edge, because a node is no user and is looked at here."""
        root = "/agent/v1"
        return [
            Route("POST", f"{root}/hello", self.hello, public=True, largest_body=LARGEST_REPORT),
            Route("GET", f"{root}/desired", self.desired, public=True),
            Route("POST", f"{root}/reports", self.reports, public=True, largest_body=LARGEST_REPORT),
            Route("GET", f"{root}/hints", self.node, public=True, stream=self.hints),
        ]

    def _as_node(self, call: Request, answer: Callable[[Transaction, NodeRow], Response]) -> Response:
        """Reads, as the node whose token a request carries."""
        token = _token(call)
        if token is None:
            return _UNKNOWN
        with self._store.read() as tx:
            node = registry.node_by_token(tx, token)
            return _UNKNOWN if node is None else answer(tx, node)

    def _written(self, call: Request, answer: Callable[[Transaction, NodeRow], Response]) -> Response:
        """Writes, as the node whose token a request carries; who has none gets no turn to write."""
        token = _token(call)
        if token is None:
            return _UNKNOWN
        with self._store.read() as tx:
            if registry.node_by_token(tx, token) is None:
                return _UNKNOWN
        with self._store.write() as tx:
            node = registry.node_by_token(tx, token)
            return _UNKNOWN if node is None else answer(tx, node)

    def hello(self, call: Request) -> Response:
        """A node joins: it is told its name, its revision and its lease."""

        def answer(tx: Transaction, node: NodeRow) -> Response:
            revision = registry.hello(tx, node["id"], _decoded(_hello, call.body))
            welcome = Welcome(node["id"], node["name"], revision, self._store.lease)
            return Response(200, encode(welcome))

        return self._written(call, answer)

    def desired(self, call: Request) -> Response:
        """Everything of the node that was stamped after `since`."""

        def answer(tx: Transaction, node: NodeRow) -> Response:
            return Response(200, desired.encode(stored_delta.desired_since(tx, node["id"], _since(call))))

        return self._as_node(call, answer)

    def reports(self, call: Request) -> Response:
        """What a node observed. Its word that something is gone ends the DELETEs that wait for it."""

        gone: list[str] = []

        def answer(tx: Transaction, node: NodeRow) -> Response:
            report = _decoded(_report, call.body)
            stored_reports.report(tx, node["id"], report)
            gone.extend(each.id for each in _said(report) if each.state == "gone")
            return Response(204, b"", ())

        reply = self._written(call, answer)
        if gone:
            self._hub.changed(gone)
        return reply

    # --- hints --------------------------------------------------------------------------------------------------

    def node(self, call: Request) -> Response:
        """The node that asks for hints: its id and revision, for `hints`."""
        return self._as_node(call, lambda _tx, node: Response(200, encode([node["id"], node["revision"]])))

    async def hints(self, call: Request, receive: Receive, send: Send, run: Run) -> None:
        """Revisions as server-sent events until the node leaves or the server goes down.

        The first comes at once; every later one says only that there is something to read, and may stand for several.
        """
        found = await run(self.node, call)
        if found.status != 200:
            await send(
                {
                    "type": "http.response.start",
                    "status": found.status,
                    "headers": [(b"content-length", b"0")],
                }
            )
            await send({"type": "http.response.body", "body": b""})
            return
        node_id, _ = msgspec.json.decode(found.body)
        stream = self._hub.subscribe(node_id)
        left: asyncio.Future[Any] = asyncio.ensure_future(_left(receive))
        try:
            # Read again now that nothing can be missed: between the two a commit may have been.
            _, revision = msgspec.json.decode((await run(self.node, call)).body or b'["",0]')
            stream.revision = max(stream.revision, revision)
            await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            await self._stream(stream, left, send)
        finally:
            left.cancel()
            self._hub.unsubscribe(stream)

    async def _stream(self, stream: Subscription, left: asyncio.Future[Any], send: Send) -> None:
        said = -1
        while not self._hub.closed and not left.done():
            stream.event.clear()
            if stream.revision != said:
                said = stream.revision
                text = b"event: revision\ndata: %d\n\n" % said
            else:
                text = b": alive\n\n"
            await send({"type": "http.response.body", "body": text, "more_body": True})
            news: asyncio.Future[Any] = asyncio.ensure_future(stream.event.wait())
            try:
                await asyncio.wait({news, left}, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


_EVENTS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


def _said(report: Report) -> tuple[ConnectionReport | GatewayReport, ...]:
    return (*report.connections, *report.gateways)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _token(call: Request) -> str | None:
    """The SHA-256 of the Bearer token: tokens are 256 random bits, so a plain digest is enough, and its look-up
    tells nothing about other tokens."""
    header = call.header(b"authorization") or b""
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        return None
    return hash_token(token.strip())


def _since(call: Request) -> int:
    values = [value for name, value in call.parameters() if name == "since"]
    text = values[-1] if values else "0"
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError("BadRequest", "since must be an integer 0 or greater")
    return int(text)


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError("HTTPBadRequest", f"Not what an agent says here: {error}") from None
