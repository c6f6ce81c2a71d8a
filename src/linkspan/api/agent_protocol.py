"""The agent protocol: hello, desired state, hints, reports. A node authenticates with its token and reads only its own
state. Of several agents with one token the first holds the node until its lease ends; the others get a 409.

Blocking handlers like all others, except for the hint stream, which holds no thread. The body of
an agent's request is decoded into the types of `core.state.observed`; anything else is a 400. Without a known token the
answer is an empty 401.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from linkspan.api.http.body import check_depth
from linkspan.api.http.messages import After, Request, Response, encode
from linkspan.api.http.notifications import Notifier, Subscription
from linkspan.api.http.route import Receive, Route, Run, Send
from linkspan.api.renewals import Renewals
from linkspan.core import printable
from linkspan.core.errors import ApiError
from linkspan.core.state import desired
from linkspan.core.state.observed import HOLDER_HEADER, ConnectionReport, GatewayReport, Hello, Report, Welcome
from linkspan.store.identity.tokens import hash_token
from linkspan.store.nodes import delta as stored_delta
from linkspan.store.nodes import registry
from linkspan.store.nodes import reports as stored_reports
from linkspan.store.nodes.registry import NodeRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

HEARTBEAT: Final = 10.0
"""Seconds without an event after which a hint stream sends a heartbeat."""
LARGEST_REPORT: Final = 4 * 1024 * 1024
LONGEST_HOLDER: Final = 200

_T = TypeVar("_T")
_UNKNOWN: Final = Response(401, b"", ())
_ADMITTED: Final = Response(204, b"", ())
_hello: Final = msgspec.json.Decoder(Hello)
_report: Final = msgspec.json.Decoder(Report)


class AgentProtocol:
    """Handlers of `/agent/v1`."""

    def __init__(self, store: Store, notifier: Notifier, heartbeat: float = HEARTBEAT) -> None:
        self._store = store
        self._notifier = notifier
        self._heartbeat = heartbeat
        self._renewals = Renewals(store)

    def routes(self) -> list[Route]:
        """All paths. They are public to the dispatcher, because a node is no user; the handlers check its token."""
        root = "/agent/v1"
        return [
            Route("POST", f"{root}/hello", self.hello, public=True, admit=self.admit, largest_body=LARGEST_REPORT),
            Route("GET", f"{root}/desired", self.desired, public=True),
            Route("POST", f"{root}/reports", self.reports, public=True, admit=self.admit, largest_body=LARGEST_REPORT),
            Route("GET", f"{root}/hints", self.node, public=True, stream=self.hints),
        ]

    def admit(self, request: Request) -> Response | None:
        """Refuses a request without a node's token."""
        response = self._as_node(request, lambda _tx, _node: _ADMITTED)
        return response if response.status == 401 else None

    def _as_node(self, request: Request, answer: Callable[[Transaction, NodeRow], Response]) -> Response:
        """Reads, as the node whose token a request carries."""
        token = _token(request)
        if token is None:
            return _UNKNOWN
        with self._store.read() as tx:
            node = registry.node_by_token(tx, token)
            if node is None:
                return _UNKNOWN
            return _held(node) if _is_fenced(request, node) else answer(tx, node)

    def _written(self, request: Request, answer: Callable[[Transaction, NodeRow], Response]) -> Response:
        """Writes, as the node whose token a request carries. Without a known token no write transaction starts."""
        token = _token(request)
        if token is None:
            return _UNKNOWN
        with self._store.read() as tx:
            if registry.node_by_token(tx, token) is None:
                return _UNKNOWN
        # An agent says the same again until it has an answer.
        with self._store.write(repeatable=True) as tx:
            node = registry.node_by_token(tx, token)
            return _UNKNOWN if node is None else answer(tx, node)

    def hello(self, request: Request) -> Response:
        """Registers a node. The answer has its name, its revision and its lease."""

        def answer(tx: Transaction, node: NodeRow) -> Response:
            if registry.is_held_elsewhere(tx, node, _holder(request)):
                return _held(node)
            revision = registry.hello(tx, node["id"], _decoded(_hello, request.body), _holder(request))
            welcome = Welcome(node["id"], node["name"], revision, self._store.lease)
            return Response(200, encode(welcome))

        return self._written(request, answer)

    def desired(self, request: Request) -> Response:
        """Returns the node's desired state that changed after the revision `since`."""

        def answer(tx: Transaction, node: NodeRow) -> Response:
            return Response(200, desired.encode(stored_delta.desired_since(tx, node["id"], _since(request))))

        return self._as_node(request, answer)

    def reports(self, request: Request) -> Response:
        """Stores a node's report. A report without news extends the lease, together with those of other nodes."""
        token = _token(request)
        if token is None or _entries(_decoded(_report, request.body)):
            return self.report(request)

        def answer(_tx: Transaction, _node: NodeRow) -> Response:
            return Response(204, b"", (), after=After(self._renewals.renew(token), self.report))

        return self._as_node(request, answer)

    def report(self, request: Request) -> Response:
        """Stores a node's report by itself. A report that an object is gone wakes the DELETE requests that wait for
        it."""

        gone: list[str] = []

        def answer(tx: Transaction, node: NodeRow) -> Response:
            if _is_fenced(request, node):
                return _held(node)
            report = _decoded(_report, request.body)
            stored_reports.report(tx, node["id"], report)
            gone.extend(entry.id for entry in _entries(report) if entry.state == "gone")
            return Response(204, b"", ())

        response = self._written(request, answer)
        if gone:
            self._notifier.changed(gone)
        return response

    # --- hints --------------------------------------------------------------------------------------------------

    def node(self, request: Request) -> Response:
        """Returns the node's id and revision, for `hints`."""
        return self._as_node(request, lambda _tx, node: Response(200, encode([node["id"], node["revision"]])))

    async def hints(self, request: Request, receive: Receive, send: Send, run: Run) -> None:
        """Sends revisions as server-sent events until the node disconnects or the server shuts down.

        The first event comes at once. A later event may cover several commits.
        """
        response = await run(self.node, request)
        if response.status != 200:
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status,
                    "headers": [(b"content-length", b"%d" % len(response.body))],
                }
            )
            await send({"type": "http.response.body", "body": response.body})
            return
        node_id, _ = msgspec.json.decode(response.body)
        stream = self._notifier.subscribe(node_id)
        disconnected: asyncio.Future[Any] = asyncio.ensure_future(_disconnect(receive))
        try:
            # Read again after the subscription: a commit between the first read and the subscription woke no stream.
            _, revision = msgspec.json.decode((await run(self.node, request)).body or b'["",0]')
            stream.revision = max(stream.revision, revision)
            await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            await self._stream(stream, disconnected, send)
        finally:
            disconnected.cancel()
            self._notifier.unsubscribe(stream)

    async def _stream(self, stream: Subscription, disconnected: asyncio.Future[Any], send: Send) -> None:
        sent = -1
        while not (self._notifier.closed or disconnected.done() or stream.superseded):
            stream.event.clear()
            if stream.revision != sent:
                sent = stream.revision
                text = b"event: revision\ndata: %d\n\n" % sent
            else:
                text = b": alive\n\n"
            await send({"type": "http.response.body", "body": text, "more_body": True})
            news: asyncio.Future[Any] = asyncio.ensure_future(stream.event.wait())
            try:
                await asyncio.wait({news, disconnected}, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


_EVENTS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


def _entries(report: Report) -> tuple[ConnectionReport | GatewayReport, ...]:
    return (*report.connections, *report.gateways)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _token(request: Request) -> str | None:
    """The SHA-256 of the Bearer token: tokens are 256 random bits, so a plain digest is enough, and its look-up
    tells nothing about other tokens."""
    header = request.header(b"authorization") or b""
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        return None
    return hash_token(token.strip())


def _holder(request: Request) -> str | None:
    header = request.header(HOLDER_HEADER.lower().encode())
    return printable.bounded(header.decode("ascii", "replace"), LONGEST_HOLDER) if header else None


def _is_fenced(request: Request, node: NodeRow) -> bool:
    """True if another agent than the caller has said hello as this node since."""
    return node["holder"] not in (None, _holder(request))


def _held(node: NodeRow) -> Response:
    host = (node["holder"] or "").partition("/")[0]
    text = (
        f"node {node['name']} is held by another agent, on host {host}, until its lease ends: give each agent a node "
        "and a token of its own with 'linkspan node create NAME'"
    )
    return Response(409, text.encode(), ((b"content-type", b"text/plain"),))


def _since(request: Request) -> int:
    values = [value for name, value in request.parameters() if name == "since"]
    text = values[-1] if values else "0"
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError("BadRequest", "since must be an integer 0 or greater")
    return int(text)


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    # What is in no type is skipped level by level, on the stack.
    check_depth(body)
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError("HTTPBadRequest", f"Not what an agent says here: {error}") from None
