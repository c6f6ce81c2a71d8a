"""The agent of one node: keeps the link, hands desired state to the gateways, delivers their reports.

Three threads beside the gateways' own: one reads hints, one delivers reports and so renews the lease, and the caller's
reads desired state by revision and hands it out. A hint only wakes; the truth is read. While the API is away everything
that runs goes on.
"""

from __future__ import annotations

import threading
import time

import structlog

import linkspan
from linkspan.agent.api_client import ApiClient, ApiUnreachable
from linkspan.agent.convergence import Desired
from linkspan.agent.gateway_worker import GatewayWorker, Stop
from linkspan.agent.outbox import Outbox
from linkspan.core.state import desired
from linkspan.core.state.desired import Delta, Gone, Mismatch, NodeState
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.drivers.ports import Drivers

POLL = 30.0
"""Seconds after which desired state is read without a hint: a lost hint costs no more."""
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between attempts to reach an API that is away."""

PATIENCE = 20.0
"""Seconds that a gateway has to end."""


class Agent:
    """`run` returns after `stop`, which any thread or signal handler may call."""

    def __init__(self, drivers: Drivers, link: ApiClient) -> None:
        self._drivers = drivers
        self._link = link
        self._log = structlog.get_logger("agent")
        self._outbox = Outbox()
        self._workers: dict[str, GatewayWorker] = {}
        self._leaving: dict[str, GatewayWorker] = {}
        self._state: NodeState = desired.EMPTY
        self._hint = threading.Event()
        self._stop = threading.Event()
        self._teardown = False
        self._lease = 30.0

    def stop(self, teardown: bool) -> None:
        """Have `run` return. With `teardown` the gateways go; without, every tunnel stays up."""
        self._teardown = teardown
        self._stop.set()
        self._hint.set()

    def run(self) -> None:
        """Serve until stopped. Raises LinkError if only a person can help (unknown token)."""
        self._log.info(
            "agent starts",
            backend=self._drivers.backend,
            charon=self._drivers.charon_version,
            gateways=len(self._drivers.namespaces.present()),
        )
        try:
            self._join()
            threads = [
                threading.Thread(target=self._read_hints, name="hints", daemon=True),
                threading.Thread(target=self._deliver, name="reports", daemon=True),
            ]
            for thread in threads:
                thread.start()
            self._follow()
        finally:
            self._end()

    # -- desired state -------------------------------------------------------------------------------------------

    def _join(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._greet()
                return
            except ApiUnreachable as error:
                if error.final:
                    raise
                failures = self._pause(failures, error)

    def _greet(self) -> None:
        hello = Hello(self._drivers.backend, linkspan.__version__, self._drivers.charon_version)
        welcome = self._link.hello(hello)
        self._lease = welcome.lease
        self._log.info("joined", node=welcome.node_name, revision=welcome.revision)

    def _follow(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._hint.clear()
            try:
                self._read(self._state.revision)
                failures = 0
            except (ApiUnreachable, Mismatch) as error:
                failures = self._pause(failures, error)
                if isinstance(error, Mismatch):
                    self._state = desired.EMPTY
                continue
            self._hint.wait(POLL)

    def _read(self, since: int) -> None:
        delta = self._link.desired(since)
        self._state = desired.merge(self._state, delta)
        self._hand_out(delta)

    def _hand_out(self, delta: Delta) -> None:
        """Give each gateway that the delta touches its whole desired state."""
        gone: dict[str, list[Gone]] = {}
        for item in delta.gone:
            if item.kind == "connection":
                gone.setdefault(item.gateway_id, []).append(item)
        touched = {gateway.id for gateway in delta.gateways} | {item.gateway_id for item in delta.connections}
        connections: dict[str, dict[str, desired.Connection]] = {}
        for connection in self._state.connections.values():
            connections.setdefault(connection.gateway_id, {})[connection.id] = connection
        for id in touched | gone.keys():
            gateway = self._state.gateways.get(id)
            if gateway is not None:
                want = Desired(gateway, connections.get(id, {}), tuple(gone.pop(id, ())))
                self._worker(gateway).send(want)
        for item in delta.gone:
            if item.kind == "gateway":
                self._remove(item, gone.pop(item.id, []))
        for item in [item for items in gone.values() for item in items]:
            # Its gateway went earlier, and everything of it went with the gateway.
            self._outbox.put(ConnectionReport(item.id, 0, item.revision, "gone"))

    def _worker(self, gateway: desired.Gateway) -> GatewayWorker:
        worker = self._workers.get(gateway.id)
        if worker is None:
            leaving = self._leaving.pop(gateway.id, None)
            if leaving is not None:
                leaving.join(PATIENCE)
            worker = self._workers[gateway.id] = GatewayWorker(gateway, self._drivers, self._outbox)
            worker.start()
        return worker

    def _remove(self, tombstone: Gone, connections: list[Gone]) -> None:
        worker = self._workers.pop(tombstone.id, None)
        if worker is not None:
            self._leaving[tombstone.id] = worker
            worker.send(Stop(teardown=True, tombstones=(*connections, tombstone)))
            return
        self._drivers.namespaces.remove(tombstone.id)
        for item in connections:
            self._outbox.put(ConnectionReport(item.id, 0, item.revision, "gone"))
        self._outbox.put(GatewayReport(tombstone.id, 0, tombstone.revision, "gone"))

    # -- threads -------------------------------------------------------------------------------------------------

    def _read_hints(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                for revision in self._link.hints():
                    failures = 0
                    if revision != self._state.revision:
                        self._hint.set()
            except ApiUnreachable as error:
                failures = self._pause(failures, error)
                continue
            failures = self._pause(failures, ApiUnreachable("the API closed the hint stream"))

    def _deliver(self) -> None:
        failures = 0
        while not self._stop.is_set():
            report = self._outbox.take(self._lease / 3)
            try:
                self._link.report(report)
                if failures:
                    # The API was away, and may have lost what it knew: join again and say everything once more.
                    self._greet()
                    self._outbox.again()
                    self._hint.set()
                    failures = 0
                self._outbox.sent(report)
            except ApiUnreachable as error:
                self._outbox.back(report)
                failures = self._pause(failures, error)

    def _pause(self, failures: int, error: Exception) -> int:
        if failures == 0 and not self._stop.is_set():
            self._log.warning("the link is down; tunnels stay as they are", error=str(error))
        self._stop.wait(BACKOFF[min(failures, len(BACKOFF) - 1)])
        return failures + 1

    def _end(self) -> None:
        started = time.monotonic()
        for worker in self._workers.values():
            worker.send(Stop(teardown=self._teardown))
        for worker in (*self._workers.values(), *self._leaving.values()):
            worker.join(PATIENCE)
        if self._teardown:
            for id in self._drivers.namespaces.present():
                self._drivers.namespaces.remove(id)
        self._outbox.close()
        self._farewell()
        self._link.close()
        self._log.info("agent ends", teardown=self._teardown, seconds=round(time.monotonic() - started, 2))

    def _farewell(self) -> None:
        """Deliver what is still to be said, once, as far as the API is there."""
        try:
            report = self._outbox.take(0.0)
            if report != Report():
                self._link.report(report)
        except ApiUnreachable:
            return
