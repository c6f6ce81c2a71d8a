"""One gateway on this node: a thread that alone drives its namespace, guard and charon.

Concurrency: each gateway has one worker with one thread and one inbox. Desired state, charon's events, a resolver's
answers and the request to stop are messages in the inbox; no other thread touches anything of the gateway. So the work
on one gateway is sequential, and gateways are independent: a charon that hangs blocks its own gateway only.

The worker keeps inbox, timers and dispatch. `convergence` brings the gateway to its desired state, `tunnels` runs the
state machines of its connections.
"""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterable

import msgspec
import structlog

from linkspan.agent.convergence import Convergence, Desired
from linkspan.agent.credentials import GatewayCredentials
from linkspan.agent.expiry import Expiry
from linkspan.agent.managed_charon import ManagedCharon
from linkspan.agent.outbox import Outbox
from linkspan.agent.peer_names import PeerNames
from linkspan.agent.probes import Probed, Probes
from linkspan.agent.reports import Reports
from linkspan.agent.revocation_lists import RevocationLists
from linkspan.agent.schedule import Schedule
from linkspan.agent.stray_sas import StraySas
from linkspan.agent.traffic import GatewayTraffic
from linkspan.agent.tunnel_news import TunnelNews
from linkspan.agent.tunnels import GatewayTunnels
from linkspan.core.ipsec.config import MAX_CHILDREN
from linkspan.core.ipsec.crl_schedule import Fetched
from linkspan.core.state import drift
from linkspan.core.state.desired import Gateway, Gone
from linkspan.core.state.drift import DEFAULT_INTERVALS, Intervals
from linkspan.core.state.live_facts import LiveAnswer
from linkspan.core.state.probes import ProbeRequest
from linkspan.core.state.traffic import STEP, ConnectionTraffic
from linkspan.core.tunnel.charon_events import (
    CharonEvent,
    ChildCounted,
    ConnectionEvent,
    DaemonLost,
    RekeyBegun,
    RoundTrip,
)
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.drivers.ports import DriverError, Drivers, Unresponsive

CLOCK_POLL = 0.02
"""Seconds between readings of a clock that is not the machine's own."""


class NetworkChanged(msgspec.Struct, frozen=True):
    """Another program may have changed the gateway's network."""


class PeersDoubted(msgspec.Struct, frozen=True):
    """Somebody says that the peers at these addresses are not there: anybody can."""

    addresses: frozenset[str]


class Stop(msgspec.Struct, frozen=True):
    """End the thread. With `teardown` the gateway is removed; without, everything that runs stays."""

    teardown: bool
    tombstones: tuple[Gone, ...] = ()


class Ask(msgspec.Struct, frozen=True):
    """A question about a connection; `deliver` takes the answer, from any thread, and must not block. `probe`: what to
    send before it is answered."""

    connection_id: str
    deliver: Callable[[LiveAnswer], None]
    probe: ProbeRequest | None = None


Message = Desired | Stop | NetworkChanged | PeersDoubted | Ask | Probed | Resolution | Fetched | CharonEvent


class GatewayWorker:
    """`start`, `send`, `join`, `is_alive` and `traffic` are for other threads; all else runs on the worker's own.

    `clock` gives seconds that never go back. With one that runs faster than the machine's, the agent's own timeouts and
    delays take less real time, as tests need; charon and the machine take their real time.
    """

    def __init__(
        self,
        gateway: Gateway,
        drivers: Drivers,
        outbox: Outbox,
        clock: Callable[[], float] = time.monotonic,
        max_children: int = MAX_CHILDREN,
        intervals: Intervals = DEFAULT_INTERVALS,
    ) -> None:
        self._clock = clock
        self._intervals = intervals
        fraction = zlib.crc32(gateway.id.encode()) / 2**32
        self._settle_at: float | None = None
        self._comparisons = drift.first(clock(), intervals.comparison, fraction)
        self._ask_at = clock() + intervals.liveness * fraction
        self._log = structlog.get_logger("agent.gateway").bind(gateway=gateway.id)
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stop: Stop | None = None
        self._questions: list[Ask] = []
        self._schedule = Schedule(clock)
        driver = drivers.charon(gateway)
        self._charon = ManagedCharon(gateway.id, driver, self._hear)
        credentials = GatewayCredentials(gateway.id, driver)
        self._strays = StraySas(self._charon, clock, self._schedule.request)
        self._tunnels = GatewayTunnels(
            self._charon,
            self._strays,
            credentials,
            clock,
            self._schedule.request,
            drivers.backend,
            TunnelNews(outbox),
        )
        self._names = PeerNames(gateway.id, drivers.resolver, self.send, clock)
        self._credentials = credentials
        self._expiry = Expiry()
        self._revocation = RevocationLists(gateway.id, drivers.fetcher, self.send)
        self._probes = Probes(gateway.id, drivers, self.send, clock)
        self._traffic = GatewayTraffic(self._charon, clock, STEP * fraction)
        reports = Reports(gateway, outbox)
        self._convergence = Convergence(
            drivers,
            self._charon,
            self._tunnels,
            self._strays,
            credentials,
            self._revocation,
            self._names,
            reports,
            max_children,
            clock,
            lambda: self.send(NetworkChanged()),
            lambda addresses: self.send(PeersDoubted(addresses)),
        )
        self._thread = threading.Thread(target=self._run, name=f"gateway-{gateway.id[:8]}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def send(self, message: Message) -> None:
        """Put a message into the inbox; returns at once."""
        self._inbox.put(message)

    def _hear(self, event: CharonEvent) -> None:
        """Take an event of charon, on its listener's thread."""
        if isinstance(event, ChildCounted):
            event = msgspec.structs.replace(event, at=self._clock())
        self.send(event)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended after `Stop`, for `timeout` seconds at most."""
        self._thread.join(timeout)

    def is_alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def traffic(self, ids: Iterable[str], since: float | None) -> tuple[ConnectionTraffic, ...]:
        """The samples of connections, as `GatewayTraffic.of`; returns at once, also while charon hangs."""
        return self._traffic.of(ids, since)

    # -- on the worker's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        """Handle messages and timers until `Stop`."""
        while self._stop is None:
            self.turn(self._receive())
        self._end(self._stop)

    def turn(self, messages: list[Message]) -> None:
        """Handle messages and the timers that are due, and report what has changed."""
        try:
            self._handle(messages)
        except DriverError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 # without this thread the gateway would stay as it is for ever
            self._log.exception("unexpected")
            self._failed(DriverError(f"unexpected {type(error).__name__} in the agent: see its log"))
        self._convergence.report_changes()
        self._answer_questions()

    def due(self) -> float | None:
        """The time of the next timer."""
        times = (
            self._schedule.due,
            self._comparisons.next,
            self._settle_at,
            min(self._ask_at, self._traffic.due) if self._charon.running else None,
            self._tunnels.next_timer() if self._charon.running else None,
            self._names.next_query_at(self._tunnels.by_id),
            self._after(self._revocation.seconds_to_next_fetch()),
            self._after(self._expiry.seconds_to_next()) if self._charon.running else None,
        )
        return min((time for time in times if time is not None), default=None)

    def _after(self, seconds: float | None) -> float | None:
        return None if seconds is None else self._clock() + seconds

    def _receive(self) -> list[Message]:
        """All messages in the inbox; if it is empty, waits for a message or for the next timer."""
        due = self.due()
        timeout = None if due is None else max(0.0, due - self._clock())
        if timeout is not None and self._clock is not time.monotonic:
            timeout = min(timeout, CLOCK_POLL)
        messages: list[Message] = []
        try:
            messages.append(self._inbox.get(timeout=timeout))
            while True:
                messages.append(self._inbox.get_nowait())
        except queue.Empty:
            return messages

    def _handle(self, messages: list[Message]) -> None:
        # Desired state first: a failure while an event is handled loses the events after it, and nothing else.
        connection_events = [event for message in messages if (event := self._accept(message))]
        if self._stop:
            return
        self._compare()
        if self._charon.running:
            # While charon is down, queued events and timers would only fail again and delay the restart.
            self._tunnels.handle(connection_events)
        while self._schedule.take():
            self._convergence.run()
            self._schedule.succeeded()
            self._settle_soon()
        self._convergence.block_traffic()
        self._names.query(self._tunnels.by_id)
        self._revocation.fetch()
        if self._charon.running:
            self._tunnels.tick()
            self._tunnels.recheck(self._expiry.due(self._tunnels.by_id))
            self._convergence.block_traffic()
            self._ask()
        self._sample()
        if self._tunnels.came_up:
            self._tunnels.came_up = False
            self._settle_soon()
        if self._schedule.due is None:
            self._charon.answered()

    def _compare(self) -> None:
        """Look for changes of the gateway's network by other programs, if it is time."""
        now = self._clock()
        is_settled = self._settle_at is not None and now >= self._settle_at
        if is_settled:
            self._settle_at = None
            self._look_at_certificates()
        if now < self._comparisons.next:
            if is_settled:
                self._convergence.settle()
            return
        self._comparisons = drift.compared(now, self._intervals.comparison)
        if self._convergence.restore():
            self._schedule.request()

    def _look_at_certificates(self) -> None:
        """See when the certificates of peers end, and have charon forget them: it judges by what they send next."""
        if self._charon.running and any(tunnel.connection.certificates for tunnel in self._tunnels.by_id.values()):
            self._expiry.look(self._tunnels.by_id, self._credentials.certificates())
            self._credentials.forget_peers()

    def _settle_soon(self) -> None:
        self._settle_at = self._settle_at or self._clock() + drift.SETTLED

    def _ask(self) -> None:
        """Ask charon for a sign that it works, if it is time."""
        if self._clock() >= self._ask_at:
            self._ask_at = self._clock() + self._intervals.liveness
            self._charon.ask()

    def _sample(self) -> None:
        """Sample traffic, if it is time. That charon does not answer is found when it is asked for a sign of life."""
        try:
            self._traffic.sample(self._tunnels.by_id)
        except DriverError as error:
            self._log.debug("traffic cannot be sampled", error=str(error))

    def _accept(self, message: Message) -> ConnectionEvent | None:
        """Take a message about the whole gateway. Returns the event of a message about connections."""
        match message:
            case Desired():
                self._convergence.set_desired(message)
                self._schedule.request()
            case Stop():
                self._stop = message
            case NetworkChanged():
                self._comparisons = drift.noticed(self._comparisons, self._clock())
            case PeersDoubted(addresses):
                if self._charon.running:
                    self._tunnels.doubt(addresses)
            case Ask():
                self._questions.append(message)
            case Probed():
                self._probes.accept(message)
            case ChildCounted():
                self._traffic.count(message)
            case RekeyBegun():
                self._traffic.look_soon()
            case RoundTrip(about, seconds):
                self._traffic.time(self._tunnels.named(about), seconds)
            case Resolution():
                if self._names.accept(message):
                    self._schedule.request()
            case Fetched():
                if self._revocation.accept(message):
                    self._schedule.request()
            case DaemonLost():
                self._charon.lost()
                self._schedule.request()
            case _:
                return message
        return None

    def _answer_questions(self) -> None:
        """Answer what was asked; a charon that does not answer is dealt with when it is asked for a sign of life."""
        questions, self._questions = self._questions, []
        for question in questions:
            try:
                self._answer_question(question)
            except DriverError as error:
                question.deliver(LiveAnswer(None, str(error)))

    def _answer_question(self, question: Ask) -> None:
        id, tunnels, convergence = question.connection_id, self._tunnels.by_id, self._convergence
        facts = self._probes.added(id, self._tunnels.live_facts(id), tunnels)
        gateway = convergence.gateway
        if question.probe is None or gateway is None:
            question.deliver(LiveAnswer(facts))
            return
        mtu = convergence.effective_mtu(id)
        self._probes.start(question.probe, id, facts, gateway, tunnels, mtu, question.deliver)

    def _failed(self, error: DriverError) -> None:
        """Report the failure, and converge again later."""
        delay = self._schedule.retry()
        self._log.error("the gateway cannot be brought to its desired state", error=str(error), retry_in=delay)
        if isinstance(error, Unresponsive):
            self._charon.timed_out()
        self._convergence.failed(error)

    def _end(self, stop: Stop) -> None:
        try:
            if stop.teardown:
                self._convergence.tear_down(*stop.tombstones)
            else:
                self._charon.detach()
        except DriverError as error:
            self._log.error("the gateway could not be stopped cleanly", error=str(error))
