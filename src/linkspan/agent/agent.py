"""The agent of one node: reads desired state, distributes it to the gateways' workers, delivers their reports.

Five threads beside the workers' own: one reads hints, one delivers reports and so extends the lease, one delivers the
answers to the API's questions, one renews the node's certificate, and the caller's reads desired state by revision and
distributes it. A hint only wakes the reader; the state comes from the read. While the API is unreachable, everything
that runs goes on.
"""

from __future__ import annotations

import signal
import threading
import time

import structlog

import linkspan
from linkspan.agent.answers import Answers
from linkspan.agent.api_client import ApiClient, ApiUnreachable, NodeHeld
from linkspan.agent.certificate_renewal import keep_renewed
from linkspan.agent.convergence import Desired
from linkspan.agent.event_queue import EventQueue
from linkspan.agent.gateway_worker import GatewayWorker, Stop
from linkspan.agent.outbox import Outbox
from linkspan.core.ipsec import capabilities
from linkspan.core.ipsec.config import MAX_CHILDREN
from linkspan.core.state import desired, machine_limits
from linkspan.core.state.desired import Delta, Gone, Mismatch, NodeState
from linkspan.core.state.drift import DEFAULT_INTERVALS, Intervals
from linkspan.core.state.live_facts import Question
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.drivers.ports import Drivers

POLL = 30.0
"""Seconds after which desired state is read without a hint: the most that a lost hint costs."""
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between attempts to reach the API; the last one repeats."""
TEARDOWN = signal.SIGUSR1
"""The signal to remove the gateways and end. Not SIGTERM, which an agent gets for many reasons."""
STOP_TIMEOUT = 20.0
"""Seconds to wait for a gateway's worker to end."""


class Agent:
    """`run` returns after `stop`, which any thread or signal handler may call."""

    def __init__(
        self,
        drivers: Drivers,
        api: ApiClient,
        max_children: int = MAX_CHILDREN,
        intervals: Intervals = DEFAULT_INTERVALS,
        events: EventQueue | None = None,
    ) -> None:
        self._drivers = drivers
        self._api = api
        self._log = structlog.get_logger("agent")
        self._max_children = max_children
        self._intervals = intervals
        self._outbox = Outbox(events)
        self._answers = Answers(api)
        self._workers: dict[str, GatewayWorker] = {}
        self._stopping: dict[str, GatewayWorker] = {}
        self._state: NodeState = desired.EMPTY
        self._needs = machine_limits.NOTHING
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._teardown = False
        self._joined = False
        self._holds_node = False
        self._lease = 30.0

    def stop(self, teardown: bool) -> None:
        """Have `run` return. With `teardown` the gateways are removed, unless another agent holds the node; without,
        every tunnel stays up."""
        self._teardown = teardown
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Run until `stop`. Raises ApiUnreachable if a retry cannot help (unknown token)."""
        self._log.info(
            "agent started",
            backend=self._drivers.backend,
            charon=self._drivers.charon_version,
            lacks=capabilities.lacks(self._drivers.capabilities),
            gateways=len(self._drivers.namespaces.present()),
        )
        renewal = threading.Thread(target=keep_renewed, args=(self._api, self._stop), name="certificate", daemon=True)
        renewal.start()
        try:
            self._join()
            threads = [
                threading.Thread(target=self._read_hints, name="hints", daemon=True),
                threading.Thread(target=self._deliver, name="reports", daemon=True),
                threading.Thread(target=self._answers.deliver, name="answers", daemon=True),
            ]
            for thread in threads:
                thread.start()
            self._follow_desired()
        finally:
            self._end()

    # -- desired state -------------------------------------------------------------------------------------------

    def _join(self) -> None:
        """Wait until the API accepts this agent, or only lets it read, as while its disk is full."""
        failures = 0
        while not self._stop.is_set():
            try:
                self._send_hello()
                self._holds_node = True
                return
            except ApiUnreachable as error:
                if error.final:
                    raise
                refusal = error
            try:
                self._read(0)
                self._holds_node = True
                return
            except (ApiUnreachable, Mismatch):
                failures = self._pause(failures, refusal)

    def _send_hello(self) -> None:
        drivers = self._drivers
        hello = Hello(drivers.backend, linkspan.__version__, drivers.charon_version, drivers.capabilities)
        welcome = self._api.hello(hello)
        self._lease = welcome.lease
        self._joined = True
        self._log.info("joined", node=welcome.node_name, revision=welcome.revision)

    def _follow_desired(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._read(self._state.revision)
                failures = 0
            except (ApiUnreachable, Mismatch) as error:
                failures = self._pause(failures, error)
                if isinstance(error, Mismatch):
                    self._state = desired.EMPTY
                elif isinstance(error, NodeHeld):
                    self._let_go()
                continue
            self._wake.wait(POLL)

    def _let_go(self) -> None:
        """Another agent holds the node: leave the gateways as they are, and wait until this one may have them again."""
        for worker in self._workers.values():
            worker.send(Stop(teardown=False))
        for worker in (*self._workers.values(), *self._stopping.values()):
            worker.join(STOP_TIMEOUT)
        self._workers, self._stopping, self._state, self._holds_node = {}, {}, desired.EMPTY, False
        self._join()

    def _read(self, since: int) -> None:
        delta = self._api.desired(since)
        self._state = desired.merge(self._state, delta)
        self._raise_limits()
        self._distribute(delta)

    def _raise_limits(self) -> None:
        needs = machine_limits.needs(len(self._state.gateways), len(self._state.connections))
        grown = machine_limits.at_least(self._needs, needs)
        if grown != self._needs:
            self._needs = grown
            for refusal in self._drivers.machine_limits.ensure(grown):
                self._log.warning("a limit of the machine is too low for its gateways", limit=refusal)

    def _distribute(self, delta: Delta) -> None:
        """Send each gateway that the delta changes its whole desired state."""
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
                self._worker(gateway).send(Desired(gateway, connections.get(id, {}), tuple(gone.pop(id, ()))))
        for item in delta.gone:
            if item.kind == "gateway":
                self._remove(item, gone.pop(item.id, []))
        for item in [item for items in gone.values() for item in items]:
            # Its gateway was removed earlier, and the connection with it.
            self._outbox.put(ConnectionReport(item.id, 0, item.revision, "gone"))

    def _worker(self, gateway: desired.Gateway) -> GatewayWorker:
        worker = self._workers.get(gateway.id)
        if worker is None:
            stopping = self._stopping.pop(gateway.id, None)
            if stopping is not None:
                stopping.join(STOP_TIMEOUT)
            worker = self._workers[gateway.id] = GatewayWorker(
                gateway,
                self._drivers,
                self._outbox,
                max_children=self._max_children,
                intervals=self._intervals,
            )
            worker.start()
        return worker

    def _remove(self, tombstone: Gone, connections: list[Gone]) -> None:
        worker = self._workers.pop(tombstone.id, None)
        if worker is not None:
            self._stopping[tombstone.id] = worker
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
                for revision in self._api.hints(self._ask):
                    failures = 0
                    if revision != self._state.revision:
                        self._wake.set()
            except ApiUnreachable as error:
                failures = self._pause(failures, error)
                continue
            failures = self._pause(failures, ApiUnreachable("the API closed the hint stream"))

    def _ask(self, question: Question) -> None:
        self._answers.ask(self._workers.get, question)

    def _deliver(self) -> None:
        failures = 0
        while not self._stop.is_set():
            batch = self._outbox.take(self._lease / 3)
            try:
                if not self._joined:
                    # The API was unreachable and may have lost its state: join again and report everything.
                    self._send_hello()
                    self._outbox.resend_all()
                    self._wake.set()
                self._api.report(batch)
                failures = 0
                self._outbox.delivered(batch)
            except ApiUnreachable as error:
                self._joined = False
                if isinstance(error, NodeHeld):
                    self._wake.set()
                self._outbox.put_back(batch)
                failures = self._pause(failures, error)

    def _pause(self, failures: int, error: Exception) -> int:
        if failures == 0 and not self._stop.is_set():
            self._log.warning("cannot exchange state with the API; tunnels stay as they are", error=str(error))
        # Never longer than a renewal of the lease is due, so that it outlasts an API that was away.
        self._stop.wait(min(BACKOFF[min(failures, len(BACKOFF) - 1)], self._lease / 3))
        return failures + 1

    def _end(self) -> None:
        started = time.monotonic()
        for worker in self._workers.values():
            worker.send(Stop(teardown=self._teardown))
        for worker in (*self._workers.values(), *self._stopping.values()):
            worker.join(STOP_TIMEOUT)
        if self._teardown and self._holds_node:
            for id in self._drivers.namespaces.present():
                self._drivers.namespaces.remove(id)
        self._outbox.close()
        self._deliver_last()
        self._api.close()
        self._log.info("agent stopped", teardown=self._teardown, seconds=round(time.monotonic() - started, 2))

    def _deliver_last(self) -> None:
        """Try once to deliver the reports that wait."""
        try:
            batch = self._outbox.take(0.0)
            if batch != Report():
                self._api.report(batch)
        except ApiUnreachable:
            return
