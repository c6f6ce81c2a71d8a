"""One gateway on this node: a thread that alone drives its namespace, guard and charon.

Concurrency: every gateway has one worker thread and one inbox. What others want of it (new desired state, facts from
charon's event thread, an end) is a message there; nothing of a gateway is touched from outside. So one gateway is
sequential, and gateways are independent: a charon that hangs holds up nobody else.

The decisions are in `core.tunnel.reconcile` and `core.tunnel.lifecycle`; here is only what carries them out.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial

import msgspec
import structlog

from linkspan.agent.guard_coverage import GuardCoverage
from linkspan.agent.mtu import MtuApplier
from linkspan.agent.outbox import Outbox
from linkspan.agent.peer_names import PeerNames
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.state.desired import Connection, Gateway, Gone
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.tunnel import dpd, events, lifecycle, reconcile, tunnel
from linkspan.core.tunnel.actions import (
    Action,
    DeclarePeerDead,
    DeleteChildSa,
    DeleteIkeSa,
    GiveUpSa,
    Initiate,
    ListSas,
    Reconcile,
    Rekey,
)
from linkspan.core.tunnel.charon_events import CharonEvent, ConnectionEvent, DaemonLost
from linkspan.core.tunnel.events import Event
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from linkspan.drivers.ports import Charon, DriverError, Drivers, Unresponsive

RETRY = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between attempts to make a gateway that the machine refused."""
FEW = 20
"""Loading more connections than this at once is done without listening to charon's log."""
HANGS = 3
"""After so many deadlines in a row a charon that does not answer is ended and started anew."""
GLANCE = 0.02
"""Seconds between looks at a clock that is not the machine's own."""


class Desired(msgspec.Struct, frozen=True):
    """What the gateway should be: all of its connections, and tombstones to answer."""

    gateway: Gateway
    connections: Mapping[str, Connection]
    gone: tuple[Gone, ...]


class Stop(msgspec.Struct, frozen=True):
    """End the thread. With `teardown` the gateway goes too; without, everything that runs stays."""

    teardown: bool
    tombstones: tuple[Gone, ...] = ()


Message = Desired | Stop | Resolution | CharonEvent


class GatewayWorker(threading.Thread):
    """See the module. `send` is the only method for other threads.

    `clock` gives seconds that never go back. One that runs faster than the machine's lets a test live through an hour
    of the agent's patience (deadlines, attempts, waiting) in less; what charon and the machine do takes its real time.
    """

    def __init__(
        self, gateway: Gateway, drivers: Drivers, outbox: Outbox, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(name=f"gateway-{gateway.id[:8]}", daemon=True)
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._drivers = drivers
        self._outbox = outbox
        self._clock = clock
        self._log = structlog.get_logger("agent.gateway").bind(gateway=gateway.id)
        self._gateway = gateway
        self._charon: Charon = drivers.charon(gateway)
        self._names = PeerNames(gateway.id, drivers.resolver, self.send, clock)
        self._want: Desired | None = None
        self._gone: dict[str, Gone] = {}
        self._lives: dict[str, Tunnel] = {}
        self._loaded: dict[str, frozenset[str]] = {}
        self._variants: dict[str, set[str]] = {}
        self._traps: dict[str, frozenset[Initiate]] = {}
        self._peers: dict[str, set[str]] = {}
        self._coverage = GuardCoverage(drivers.leak_guard)
        self._mtus = MtuApplier(drivers.mtu_routing, drivers.backend)
        self._built: Gateway | None = None
        self._listening = False
        self._faults = 0
        self._hangs = 0
        self._in_doubt = False
        self._due: float | None = None
        self._wakes: list[tuple[float, str]] = []
        self._touched: set[str] = set()
        self._leaving: Stop | None = None

    def send(self, message: Message) -> None:
        """Put a message into the inbox; returns at once."""
        self._inbox.put(message)

    def run(self) -> None:
        """Handle messages and timers until told to leave."""
        while self._leaving is None:
            messages = self._gather()
            try:
                self._handle(messages)
                self._hangs = 0 if self._due is None else self._hangs
            except DriverError as error:
                self._fault(error)
            except Exception as error:  # noqa: BLE001 # nobody else tends this gateway: a mistake of ours is a fault
                self._log.exception("unexpected")
                self._fault(DriverError(f"unexpected {type(error).__name__} in the agent: see its log"))
            self._say()
        self._end(self._leaving)

    # -- messages and timers -------------------------------------------------------------------------------------

    def _gather(self) -> list[Message]:
        """All messages that wait; if none does, wait for one or for the next timer."""
        times = [self._wakes[0][0]] if self._wakes and self._listening else []
        times += [due for due in (self._due, self._names.due_at(self._lives)) if due is not None]
        timeout = max(0.0, min(times) - self._clock()) if times else None
        if timeout is not None and self._clock is not time.monotonic:
            timeout = min(timeout, GLANCE)
        messages: list[Message] = []
        try:
            messages.append(self._inbox.get(timeout=timeout))
            while True:
                messages.append(self._inbox.get_nowait())
        except queue.Empty:
            return messages

    def _handle(self, messages: list[Message]) -> None:
        # What has to be remembered comes first: a fault while looking at a fact loses the facts behind it, no more.
        facts = [fact for message in messages if (fact := self._remember(message))]
        if self._leaving:
            return
        # While charon is away its last words and our timers would only find that out again, and put off its return.
        for fact in facts if self._listening else ():
            for id in self._about(fact.about):
                self._step(id, fact)
        while self._due is not None and self._due <= self._clock():
            # What happens while converging may ask for it once more.
            self._due = None
            self._converge()
            self._faults = 0
        self._tick()

    def _remember(self, message: Message) -> ConnectionEvent | None:
        """Keep what is wanted of the gateway; a fact about connections comes back."""
        match message:
            case Desired():
                self._want = message
                self._gone.update({gone.id: gone for gone in message.gone})
                self._due = self._clock()
            case Stop():
                self._leaving = message
            case Resolution():
                if self._names.hear(message):
                    self._due = self._clock()
            case DaemonLost():
                self._log.warning("charon is gone, starting it anew")
                self._listening = False
                self._due = self._clock()
            case _:
                return message
        return None

    def _tick(self) -> None:
        self._names.ask(self._lives)
        now = self._clock()
        while self._listening and self._wakes and self._wakes[0][0] <= now:
            _, id = heapq.heappop(self._wakes)
            life = self._lives.get(id)
            due = lifecycle.wake_at(life) if life else None
            if due is not None and due <= now:
                self._step(id, events.Tick())

    def _about(self, name: str) -> tuple[str, ...]:
        """The connections that a fact is about: one, or all that share an IKE connection."""
        return (name,) if name in self._lives else tuple(self._peers.get(ipsec_config.peer_of(name), ()))

    # -- one connection ------------------------------------------------------------------------------------------

    def _step(self, id: str, event: Event) -> None:
        life = self._lives.get(id)
        if life is None:
            return
        after, actions = lifecycle.step(life, event, self._clock())
        self._lives[id] = after
        self._touched.add(id)
        for action in actions:
            self._act(id, action)
        self._trap(id)
        self._wake(id)

    def _wake(self, id: str) -> None:
        due = lifecycle.wake_at(self._lives[id])
        if due is not None:
            heapq.heappush(self._wakes, (due, id))

    def _act(self, id: str, action: Action) -> None:
        match action:
            case ListSas():
                self._step(id, events.SasListed(self._sas(id)))
            case Initiate(name, child):
                self._tolerate(lambda: self._charon.initiate(name, child))
            case GiveUpSa(number):
                self._end_deserted(id, number)
            case DeclarePeerDead():
                address = self._lives[id].connection.peer_address
                for other in [one for one, life in self._lives.items() if life.connection.peer_address == address]:
                    if other != id:
                        self._step(other, events.PeerDeclaredDead())
            case Rekey(child_id):
                self._tolerate(lambda: self._charon.rekey(child_id))
            case Reconcile():
                self._due = self._clock()
            case _:
                self._end_sa(action)

    def _end_sa(self, action: DeleteIkeSa | DeleteChildSa) -> None:
        end = self._charon.terminate_sa if isinstance(action, DeleteIkeSa) else self._charon.terminate_child
        self._tolerate(lambda: end(action.unique_id))

    def _end_deserted(self, id: str, number: int) -> None:
        """End an IKE SA whose peer is dead, unless a connection in it still waits for the peer."""
        for sa in self._sas(id):
            owners = {ipsec_config.owner_of(child.name) for child in sa.children} & self._lives.keys()
            watches = {one: (self._lives[one].connection, self._lives[one].watch) for one in owners}
            if sa.unique_id == number and dpd.all_gave_up(sa, watches):
                self._tolerate(lambda: self._charon.terminate_sa(number, dead=True))

    def _trap(self, id: str) -> None:
        """Have charon initiate by itself exactly what the connection waits for traffic to begin."""
        wanted = tunnel.traps(self._lives[id]) if id in self._lives else frozenset()
        present = self._traps.get(id, frozenset())
        for one in present - wanted:
            self._tolerate(partial(self._charon.uninstall, one.ike, one.child))
        for one in wanted - present:
            self._tolerate(partial(self._charon.install, one.ike, one.child))
        if wanted != present:
            self._traps[id] = wanted

    def _sas(self, id: str) -> tuple[IkeSa, ...]:
        """The IKE SAs with a connection's peer."""
        life = self._lives[id]
        names: set[str] = set()
        for config in tunnel.configs(life):
            names |= self._variants.get(config.peer, set())
        return tuple(sa for name in sorted(names) for sa in self._charon.sas(name))

    def _tolerate(self, command: Callable[[], None]) -> None:
        """charon refuses to initiate what is up and to end what is gone; the next look tells what is."""
        try:
            command()
        except Unresponsive:
            raise
        except DriverError as error:
            self._log.debug("charon refused a command", error=str(error))

    # -- the whole gateway ---------------------------------------------------------------------------------------

    def _converge(self) -> None:
        """Make namespace, guard and charon as wanted. Safe to repeat after any failure half-way."""
        want = self._want
        if want is None:
            return
        if self._built is not want.gateway:
            self._drivers.namespaces.apply(want.gateway)
            self._built = self._gateway = want.gateway
        self._run_charon()
        desired = self._names.place(want.connections, want.gateway, self._lives)
        todo = reconcile.reconcile(self._lives, desired, self._gone, self._loaded, self._drivers.backend)
        known = want.connections.keys() | self._gone.keys()
        self._coverage.adopt(want.gateway, known, self._loaded.values())
        self._touched |= self._coverage.cover(want.gateway, self._lives, todo.lives)
        self._retire(todo)
        self._touched |= self._mtus.apply(want.gateway, self._lives, bool(self._coverage.orphans))
        fresh: dict[str, list[str]] = {}
        for id in todo.fresh:
            fresh.setdefault(self._named(id), []).append(id)
        many = len(todo.load) > FEW
        with self._charon.without_log() if many else nullcontext():
            loaded = [id for config in todo.load for id in self._load(config, fresh.get(config.name, []))]
        for id in self._lives if many else ():
            self._step(id, events.EventsLost())
        for id in loaded:
            self._step(id, events.Loaded())
        self._unload(todo)
        for id in todo.keep:
            self._step(id, events.Adopted())
        for id, why in self._names.unresolved().items():
            self._step(id, events.Unresolved(why))
        self._coverage.uncover(want.gateway, self._lives, self._touched)
        self._answer()
        self._look_again()
        self._outbox.put(GatewayReport(want.gateway.id, want.gateway.generation, want.gateway.revision, "ready"))

    def _look_again(self) -> None:
        """After a fault facts and timers may be lost: see where everything stands."""
        if not self._in_doubt:
            return
        for id, life in list(self._lives.items()):
            if life.applied and life.config:
                self._step(id, events.EventsLost())
                self._act(id, ListSas())
        self._in_doubt = False

    def _run_charon(self) -> None:
        if self._listening:
            return
        fresh = self._charon.start()
        self._charon.listen(self.send)
        self._listening = True
        self._mtus.forget()
        self._loaded = {} if fresh else dict(self._charon.loaded())
        if not fresh:
            self._names.adopt(self._loaded, self._charon.peer_addresses())
        self._variants = {}
        self._traps = {}
        for trap in () if fresh else self._charon.traps():
            # Of an earlier run, which knew what waited for its traffic: everything is tried again now.
            self._charon.uninstall(*trap)
        for name in self._loaded:
            self._variants.setdefault(ipsec_config.peer_of(name), set()).add(name)
        if fresh and self._lives:
            self._lives = {id: tunnel.after_charon_restart(life) for id, life in self._lives.items()}
            self._touched.update(self._lives)
        self._log.info("charon started" if fresh else "charon adopted", connections=len(self._loaded))

    def _retire(self, todo: reconcile.Plan) -> None:
        """End the SAs of children that are gone or replaced, and go on with the lives of the new plan."""
        for name in todo.inspect:
            for action in reconcile.deletions(self._charon.sas(name), todo):
                self._act("", action)
        edited = [id for id, life in todo.lives.items() if id in self._lives and self._lives[id] is not life]
        self._lives = dict(todo.lives)
        self._peers = {}
        for id, life in self._lives.items():
            for config in tunnel.configs(life):
                self._peers.setdefault(config.peer, set()).add(id)
        for id in self._traps.keys() - self._lives.keys():
            self._trap(id)
            del self._traps[id]
        for id in edited:
            life = self._lives[id]
            self._trap(id)
            if life.applied and life.config:
                self._act(id, ListSas())

    def _named(self, id: str) -> str:
        config = self._lives[id].config
        return config.name if config else ""

    def _load(self, config: IkeConfig, fresh: list[str]) -> list[str]:
        """Load an IKE connection; which of its fresh connections charon has taken."""
        key = next((ipsec_config.shared_key(self._lives[id].connection, config) for id in fresh), None)
        try:
            self._charon.load(config, key if config.auth == "psk" else None)
        except Unresponsive:
            raise
        except DriverError as error:
            self._log.error("charon refuses a connection", connections=fresh, error=str(error))
            for id in fresh:
                self._step(id, events.LoadFailed(f"charon refuses the configuration: {error}"))
            return []
        self._loaded[config.name] = frozenset(child.name for child in config.children)
        self._variants.setdefault(config.peer, set()).add(config.name)
        return fresh

    def _unload(self, todo: reconcile.Plan) -> None:
        for name in todo.unload:
            self._charon.unload(name)
            del self._loaded[name]
            self._variants[ipsec_config.peer_of(name)].discard(name)

    def _answer(self, *tombstones: Gone) -> None:
        """Say that these are gone, and whatever waited to be said so."""
        generation = self._gateway.generation
        for gone in (*self._gone.values(), *tombstones):
            if gone.kind == "gateway":
                self._outbox.put(GatewayReport(gone.id, generation, gone.revision, "gone"))
            else:
                self._outbox.put(ConnectionReport(gone.id, generation, gone.revision, "gone"))
        self._gone.clear()

    # -- faults, reports, the end --------------------------------------------------------------------------------

    def _fault(self, error: DriverError) -> None:
        """Say so, and try the whole gateway again, later each time."""
        delay = RETRY[min(self._faults, len(RETRY) - 1)]
        self._faults += 1
        self._in_doubt = True
        self._due = self._clock() + delay
        self._log.error("the gateway cannot be made as desired", error=str(error), retry_in=delay)
        if isinstance(error, Unresponsive):
            self._listening = False
            self._hangs += 1
            if self._hangs >= HANGS:
                self._log.error("charon does not answer, ending it")
                self._hangs = 0
                self._tolerate(self._charon.stop)
        gateway = self._want.gateway if self._want else self._gateway
        self._outbox.put(GatewayReport(gateway.id, gateway.generation, gateway.revision, "error", str(error)))

    def _say(self) -> None:
        for id in self._touched:
            life = self._lives.get(id)
            report = tunnel.report(life, self._gateway.generation) if life else None
            if report:
                self._outbox.put(msgspec.structs.replace(report, effective_mtu=self._mtus.effective(id)))
        self._touched.clear()

    def _end(self, leave: Stop) -> None:
        try:
            if not leave.teardown:
                self._charon.detach()
                return
            if leave.tombstones:
                self._charon.remove()
            else:
                self._charon.stop()
            self._drivers.namespaces.remove(self._gateway.id)
        except DriverError as error:
            self._log.error("the gateway did not end cleanly", error=str(error))
            return
        if not leave.tombstones:
            self._say_goodbye()
        self._answer(*leave.tombstones)

    def _say_goodbye(self) -> None:
        """The agent was told to take its gateways down: nobody may read ACTIVE until the lease ends."""
        why, here = "the agent was stopped and took its gateways down", self._gateway
        self._outbox.put(GatewayReport(here.id, here.generation, here.revision, "error", why))
        for id, life in self._lives.items():
            if life.applied:
                self._outbox.put(ConnectionReport(id, here.generation, life.connection.revision, "down", why))
