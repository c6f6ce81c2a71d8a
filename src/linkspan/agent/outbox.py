"""What is still to be reported: the newest report of each object, and nothing older.

A report replaces the one before it of the same object, so an API that is away for a day costs no memory. Everything is
kept after it was sent, so that an API that lost it (or is another one) can be told all of it again.
"""

from __future__ import annotations

import threading

from linkspan.core.state.observed import ConnectionReport, GatewayReport, Report

BATCH = 500
"""Most objects in one report: keeps a body far below the API's limit."""


class Outbox:
    """Filled by the gateways' threads, emptied by one thread of the link."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._gateways: dict[str, GatewayReport] = {}
        self._connections: dict[str, ConnectionReport] = {}
        self._waiting: dict[tuple[str, str], None] = {}
        self._closed = False

    def put(self, report: GatewayReport | ConnectionReport) -> None:
        """Have an object reported, unless the same was said of it before."""
        kind = "gateway" if isinstance(report, GatewayReport) else "connection"
        box: dict[str, GatewayReport] | dict[str, ConnectionReport]
        box = self._gateways if kind == "gateway" else self._connections
        with self._changed:
            if box.get(report.id) == report:
                return
            box[report.id] = report  # type: ignore[assignment]  # the kind chose the box
            self._waiting[kind, report.id] = None
            self._changed.notify()

    def again(self) -> None:
        """Have everything reported once more, to an API that may know nothing of it."""
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
        """The next batch; an empty one after `timeout` seconds without any. Gateways come first."""
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(timeout)
            keys = sorted(self._waiting, key=lambda key: key[0] != "gateway")[:BATCH]
            for key in keys:
                del self._waiting[key]
            return Report(
                gateways=tuple(self._gateways[id] for kind, id in keys if kind == "gateway"),
                connections=tuple(self._connections[id] for kind, id in keys if kind == "connection"),
            )

    def sent(self, report: Report) -> None:
        """Forget what is gone, now that it was said, unless something new was said of it meanwhile."""
        with self._changed:
            for gateway in report.gateways:
                if gateway.state == "gone" and self._gateways.get(gateway.id) == gateway:
                    del self._gateways[gateway.id]
            for connection in report.connections:
                if connection.state == "gone" and self._connections.get(connection.id) == connection:
                    del self._connections[connection.id]

    def back(self, report: Report) -> None:
        """Keep a batch that could not be delivered; what was said meanwhile is newer and stays."""
        with self._changed:
            self._waiting.update({("gateway", gateway.id): None for gateway in report.gateways})
            self._waiting.update({("connection", connection.id): None for connection in report.connections})
