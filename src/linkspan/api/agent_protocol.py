"""The agent protocol: hello, desired state, hints, reports, answers. A node authenticates with its certificate or token
(`node_callers`) and reads only its own state. Of several agents of one node the first holds it until its lease ends;
the others get a 409.

Blocking handlers like all others, except for the hint stream, which holds no thread. The body of
an agent's request is decoded into the types of `core.state.observed`; anything else is a 400. Without known credentials
the answer is an empty 401.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from linkspan.api.http import event_stream
from linkspan.api.http.body import check_depth
from linkspan.api.http.messages import After, Request, Response, encode
from linkspan.api.http.notifications import Notifier, Subscription
from linkspan.api.http.route import Receive, Route, Run, Send
from linkspan.api.node_callers import NodeCallers, has_credentials
from linkspan.api.renewals import Renewals
from linkspan.core import printable
from linkspan.core.errors import ApiError
from linkspan.core.state import desired
from linkspan.core.state.live_facts import LARGEST_ANSWER, LiveAnswer
from linkspan.core.state.observed import (
    AGENT_PATH,
    HOLDER_HEADER,
    ConnectionReport,
    GatewayReport,
    Hello,
    Report,
    Welcome,
)
from linkspan.store.nodes import delta as stored_delta
from linkspan.store.nodes import questions, registry
from linkspan.store.nodes import reports as stored_reports
from linkspan.store.nodes.registry import NodeRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

HEARTBEAT: Final = 10.0
"""Seconds without an event after which a hint stream sends a heartbeat."""
RECHECK: Final = 15.0
"""Seconds after which a hint stream looks again, at its next event, whether its node may still read: with a heartbeat
less than the agent's poll."""
LARGEST_REPORT: Final = 4 * 1024 * 1024
LONGEST_HOLDER: Final = 200

_T = TypeVar("_T")
_ADMITTED: Final = Response(204, b"", ())
_hello: Final = msgspec.json.Decoder(Hello)
_report: Final = msgspec.json.Decoder(Report)
_answer: Final = msgspec.json.Decoder(LiveAnswer)


class AgentProtocol:
    """Handlers of `/agent/v1`."""

    def __init__(
        self, store: Store, notifier: Notifier, heartbeat: float = HEARTBEAT, recheck: float = RECHECK
    ) -> None:
        self._store = store
        self._notifier = notifier
        self._heartbeat = heartbeat
        self._recheck = recheck
        self._renewals = Renewals(store)
        self._callers = NodeCallers(store)

    def routes(self) -> list[Route]:
        """All paths. They are public to the dispatcher, because a node is no user; the handlers check who it is."""
        root = AGENT_PATH
        return [
            Route("POST", f"{root}/hello", self.hello, public=True, admit=self.admit, largest_body=LARGEST_REPORT),
            Route("GET", f"{root}/desired", self.desired, public=True),
            Route("POST", f"{root}/reports", self.reports, public=True, admit=self.admit, largest_body=LARGEST_REPORT),
            Route(
                "POST",
                f"{root}/answers/{{id}}",
                self.answer,
                public=True,
                admit=self.admit,
                largest_body=LARGEST_ANSWER,
            ),
            Route("GET", f"{root}/hints", self.node, public=True, stream=self.hints),
        ]

    def admit(self, request: Request) -> Response | None:
        """Refuses a request without a node's credentials."""
        response = self._as_node(request, lambda _tx, _node: _ADMITTED)
        return response if response.status == 401 else None

    def _as_node(self, request: Request, answer: Callable[[Transaction, NodeRow], Response]) -> Response:
        """Reads, as the node whose credentials a request carries."""
        return self._callers.read(
            request, lambda tx, node: _held(node) if _is_fenced(request, node) else answer(tx, node)
        )

    def hello(self, request: Request) -> Response:
        """Registers a node. The answer has its name, its revision and its lease."""

        def answer(tx: Transaction, node: NodeRow) -> Response:
            if registry.is_held_elsewhere(tx, node, _holder(request)):
                return _held(node)
            revision = registry.hello(tx, node["id"], _decoded(_hello, request.body), _holder(request))
            welcome = Welcome(node["id"], node["name"], revision, self._store.lease)
            return Response(200, encode(welcome))

        return self._callers.write(request, answer)

    def desired(self, request: Request) -> Response:
        """Returns the node's desired state that changed after the revision `since`."""

        def answer(tx: Transaction, node: NodeRow) -> Response:
            return Response(200, desired.encode(stored_delta.desired_since(tx, node["id"], _since(request))))

        return self._as_node(request, answer)

    def reports(self, request: Request) -> Response:
        """Stores a node's report. A report without news extends the lease, together with those of other nodes."""
        if not has_credentials(request) or _decoded(_report, request.body) != Report():
            return self.report(request)

        def answer(_tx: Transaction, node: NodeRow) -> Response:
            return Response(204, b"", (), after=After(self._renewals.renew(node["id"]), self.report))

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

        response = self._callers.write(request, answer)
        if gone:
            self._notifier.changed(gone)
        return response

    def answer(self, request: Request) -> Response:
        """Records the answer to a question that the node was asked. One that nobody waits for any more is a 404."""

        def answer(tx: Transaction, node: NodeRow) -> Response:
            if _is_fenced(request, node):
                return _held(node)
            is_open = questions.answer(tx, node["id"], request.id, _decoded(_answer, request.body))
            return Response(204 if is_open else 404, b"", ())

        response = self._callers.write(request, answer)
        self._notifier.changed([request.id])
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
        disconnected: asyncio.Future[Any] = asyncio.ensure_future(event_stream.disconnect(receive))
        try:
            # Read again after the subscription: a commit between the first read and the subscription woke no stream.
            _, revision = msgspec.json.decode((await run(self.node, request)).body or b'["",0]')
            stream.revision = max(stream.revision, revision)
            await send({"type": "http.response.start", "status": 200, "headers": list(event_stream.HEADERS)})
            await self._stream(stream, disconnected, send, lambda: run(self.node, request))
        finally:
            disconnected.cancel()
            self._notifier.unsubscribe(stream)

    async def _stream(
        self,
        stream: Subscription,
        disconnected: asyncio.Future[Any],
        send: Send,
        look: Callable[[], Awaitable[Response]],
    ) -> None:
        """`look` says whether the node may still read: it may have been revoked by another process."""
        sent = -1
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while not (self._notifier.closed or disconnected.done() or stream.superseded):
            stream.event.clear()
            if loop.time() >= looked + self._recheck:
                looked = loop.time()
                if (await look()).status != 200:
                    break
            text = b""
            if stream.revision != sent:
                sent = stream.revision
                text = b"event: revision\ndata: %d\n\n" % sent
            while stream.questions:
                text += b"event: question\ndata: %s\n\n" % encode(stream.questions.popleft())
            text = text or b": alive\n\n"
            await send({"type": "http.response.body", "body": text, "more_body": True})
            await event_stream.wait(stream.event, disconnected, self._heartbeat)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _entries(report: Report) -> tuple[ConnectionReport | GatewayReport, ...]:
    return (*report.connections, *report.gateways)


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
        "of its own with 'linkspan node join-token NAME'"
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
