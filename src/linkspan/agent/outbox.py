"""Reports that wait for delivery: the newest of each object, and with them the events of connections.

A report replaces the previous one of its object, so memory stays bounded while the API is unreachable. Reports are kept
after delivery, so that an API that has lost them, or another API, can receive them all again.
"""

from __future__ import annotations

import threading

from linkspan.agent.event_queue import EventQueue
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Report, with_bounded_reason
from linkspan.core.state.timeline import NodeEventKind

BATCH = 500
"""Most objects in one batch: keeps its body far below the API's limit."""


class Outbox:
    """Filled by the gateways' threads, emptied by the agent's thread that delivers reports. `events`: of connections,
    which are kept until they are delivered; reports add to them."""

    def __init__(self, events: EventQueue | None = None) -> None:
        self.events = EventQueue() if events is None else events
        self._changed = threading.Condition()
        self._gateways: dict[str, GatewayReport] = {}
        self._connections: dict[str, ConnectionReport] = {}
        self._waiting: dict[tuple[str, str], None] = {}
        self._closed = False

    def put(self, report: GatewayReport | ConnectionReport) -> None:
        """Have a report delivered, unless it equals the previous one of its object. Its reason is bounded."""
        report = with_bounded_reason(report)
        kind = "gateway" if isinstance(report, GatewayReport) else "connection"
        box: dict[str, GatewayReport] | dict[str, ConnectionReport]
        box = self._gateways if kind == "gateway" else self._connections
        with self._changed:
            if isinstance(report, ConnectionReport):
                # An equal report tells that it is up again, if it was told to be down meanwhile.
                self.events.follow(report)
            if box.get(report.id) == report:
                return
            box[report.id] = report  # type: ignore[assignment]  # the kind chose the box
            self._waiting[kind, report.id] = None
            self._changed.notify()

    def happened(self, connection_id: str, kind: NodeEventKind, code: str = "", reason: str = "") -> None:
        """Have an event of a connection delivered."""
        with self._changed:
            self.events.happened(connection_id, kind, code, reason)
            self._changed.notify()

    def went_down(self, connection_id: str, code: str, reason: str) -> None:
        """Have the event delivered that a connection went down, if it was told to be up. It may be up again before it
        is reported."""
        with self._changed:
            if self.events.is_up(connection_id):
                self.events.follow(ConnectionReport(connection_id, 0, 0, "down", reason, code=code))
                self._changed.notify()

    def succeeded(self, connection_id: str, text: str) -> None:
        """Have the event delivered that says by what a connection is superseded, unless it was."""
        with self._changed:
            self.events.succeeded(connection_id, text)
            self._changed.notify()

    def resend_all(self) -> None:
        """Have every report delivered again, to an API that may have lost them."""
        with self._changed:
            self._waiting.update({("gateway", id): None for id in self._gateways})
            self._waiting.update({("connection", id): None for id in self._connections})
            self._changed.notify()

    def close(self) -> None:
        """Let `take` return at once from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, timeout: float) -> Report:
        """The next batch, gateways first. Waits up to `timeout` seconds for a report; the batch may be empty."""
        with self._changed:
            if not self._waiting and not self.events and not self._closed:
                self._changed.wait(timeout)
            keys = sorted(self._waiting, key=lambda key: key[0] != "gateway")[:BATCH]
            for key in keys:
                del self._waiting[key]
            return Report(
                gateways=tuple(self._gateways[id] for kind, id in keys if kind == "gateway"),
                connections=tuple(self._connections[id] for kind, id in keys if kind == "connection"),
                events=self.events.oldest(),
            )

    def delivered(self, batch: Report) -> None:
        """Forget the events of this batch, and the objects that it reported gone, unless there is a newer report."""
        self.events.confirmed(batch.events)
        with self._changed:
            for gateway in batch.gateways:
                if gateway.state == "gone" and self._gateways.get(gateway.id) == gateway:
                    del self._gateways[gateway.id]
            for connection in batch.connections:
                if connection.state == "gone" and self._connections.get(connection.id) == connection:
                    del self._connections[connection.id]

    def put_back(self, batch: Report) -> None:
        """Have the objects of a batch that was not delivered reported again, each with its newest report."""
        with self._changed:
            self._waiting.update({("gateway", gateway.id): None for gateway in batch.gateways})
            self._waiting.update({("connection", connection.id): None for connection in batch.connections})
