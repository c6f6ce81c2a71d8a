"""A model of charon for simulations: every message takes time, can be lost, and is sent again; one clock for all.

It keeps what `linkspan.testing.fake_world` leaves out because everything happens at once there: the ends of an SA are
up one after the other, deletions take a round trip, an IKE SA keeps the configuration that it was negotiated with, and
children of one name can be twins. Both the driver (`SlowCharon`) and a plain peer use it.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec.config import ChildConfig, IkeConfig, SharedKey, owner_of
from linkspan.core.secret import Secret
from linkspan.core.tunnel import charon_events
from linkspan.core.tunnel.charon_events import Cause, CharonEvent, DaemonLost, SaChanged
from linkspan.core.tunnel.sas import ChildSa, IkeSa
from linkspan.drivers.ports import DriverError, LoadedConnection, Unresponsive
from linkspan.testing.fake_drivers import loaded_connection

SLOWEST = 0.05
"""Longest delay of a message, seconds."""
RETRANSMIT = 2.0
PROBE = 5.0
UP = ("CONNECTING", "ESTABLISHED")
_set = msgspec.structs.replace


class Timeline:
    """Acts in the order of their times. `now` in seconds."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.now = chance, 0.0
        self.after_each: Callable[[], None] = lambda: None
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def soon(self, act: Callable[[], None]) -> None:
        """Act after the delay of a message."""
        self.later(act, self.chance.uniform(0.001, SLOWEST))

    def later(self, act: Callable[[], None], delay: float) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), act))

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until it is over, or until something is done. May be called inside an act."""
        until = self.now + seconds
        while not done():
            if not self._queue or self._queue[0][0] > until:
                self.now = max(self.now, until)
                return
            when, _, act = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            act()
            self.after_each()


@dataclasses.dataclass(eq=False)
class LoadedConfig:
    """An IKE connection that is loaded. IKE SAs refer to it, also once it is unloaded or replaced."""

    config: IkeConfig


@dataclasses.dataclass(eq=False)
class End:
    """One end of an IKE SA; `other` is the peer's. `configs`: of the children, by unique id."""

    daemon: SlowDaemon
    unique_id: int
    loaded: LoadedConfig
    initiator: bool
    state: str
    since: float
    other: End | None = None
    children: dict[int, ChildSa] = dataclasses.field(default_factory=dict)
    configs: dict[int, ChildConfig] = dataclasses.field(default_factory=dict)
    born: dict[int, float] = dataclasses.field(default_factory=dict)
    pending: list[ChildConfig] = dataclasses.field(default_factory=list)
    is_busy: bool = False

    @property
    def name(self) -> str:
        return self.loaded.config.name

    @property
    def is_there(self) -> bool:
        return self.daemon.is_alive and self in self.daemon.ends

    def has(self, name: str) -> bool:
        return any(child.name == name for child in self.children.values())

    def drop(self, unique_id: int) -> None:
        child = self.children.pop(unique_id, None)
        if child:
            self.daemon.deliver(SaChanged(owner_of(child.name), down=True))

    def by_spi(self, spi_in: str) -> int | None:
        return next((number for number, child in self.children.items() if child.spi_in == spi_in), None)


class SlowDaemon:
    """One charon. A plain peer uses its methods directly."""

    def __init__(self, network: Network, address: str) -> None:
        self.network, self.address = network, address
        self.is_alive = True
        self.loaded: dict[str, LoadedConfig] = {}
        self.keys: dict[str, SharedKey] = {}
        self.ends: list[End] = []
        self.listeners: list[Callable[[CharonEvent], None]] = []

    def deliver(self, *events: CharonEvent) -> None:
        for event in events:
            for listener in list(self.listeners):
                listener(event)

    def log(self, end: End, line: str) -> None:
        self.deliver(*charon_events.from_log(end.name, line, end.unique_id))

    def key(self, config: IkeConfig) -> SharedKey | None:
        owners = {config.local_id, config.remote_id}
        return next((key for key in reversed(self.keys.values()) if set(key.owners) == owners), None)

    def load(self, config: IkeConfig, key: SharedKey | None) -> None:
        """In place, if only its children differ; else IKE SAs keep the former one."""
        if key is not None:
            self.keys.pop(key.id, None)
            self.keys[key.id] = key
        held = self.loaded.get(config.name)
        if held and _set(held.config, children=()) == _set(config, children=()):
            held.config = config
        else:
            self.loaded[config.name] = LoadedConfig(config)

    def initiate(self, name: str, child: ChildConfig) -> None:
        """Inside an IKE SA with equal parameters, if there is one, and no child is equal."""
        loaded = self.loaded[name]
        end = next((end for end in self.ends if end.state in UP and _equal(end.loaded.config, loaded.config)), None)
        if end is None:
            end = End(self, next(self.network.numbers), loaded, True, "CONNECTING", self.network.time.now)
            self.ends.append(end)
            self.log(end, f"initiating IKE_SA {name}[{end.unique_id}] to {loaded.config.remote_address}")
            end.pending.append(child)
            self.network.connect(end)
        elif not end.has(child.name):
            end.pending.append(child)
            self.network.create_next(end)


class Network:
    """All charons. While it is `cut`, no message arrives."""

    def __init__(self, chance: random.Random) -> None:
        self.time = Timeline(chance)
        self.is_cut = False
        self.cut_at = -100.0
        self.daemons: dict[str, SlowDaemon] = {}
        self.numbers = itertools.count(1)

    def start(self, address: str) -> SlowDaemon:
        daemon = self.daemons[address] = SlowDaemon(self, address)
        self.time.later(lambda: self._probe(daemon), PROBE)
        return daemon

    def kill(self, address: str) -> None:
        """SIGKILL: nobody is notified but the agent."""
        daemon = self.daemons.pop(address)
        daemon.is_alive = False
        daemon.deliver(DaemonLost())

    # -- messages ------------------------------------------------------------------------------------------------

    def request(self, end: End, arrive: Callable[[], bool]) -> None:
        """Send a request until it has arrived; `arrive` returns whether the peer responds to it."""

        def attempt() -> None:
            if not end.is_there:
                return
            if self.is_cut or not arrive():
                end.daemon.log(end, f"retransmit 1 of request with message ID {0 if end.state == 'CONNECTING' else 2}")
                self.time.later(attempt, RETRANSMIT)

        self.time.soon(attempt)

    def respond(self, end: End, arrive: Callable[[], None]) -> None:
        """Send a response to the end that requested, again if it is lost."""

        def attempt() -> None:
            if self.is_cut:
                self.time.later(attempt, RETRANSMIT)
            elif end.is_there:
                arrive()

        self.time.soon(attempt)

    def _probe(self, daemon: SlowDaemon) -> None:
        if not daemon.is_alive:
            return
        for end in [end for end in daemon.ends if end.state == "ESTABLISHED" and end.loaded.config.dpd_delay]:
            daemon.log(end, "sending DPD request")
            if end.other and end.other.is_there and not self.is_cut:
                daemon.log(end, "parsed INFORMATIONAL response 2 [ ]")
        self.time.later(lambda: self._probe(daemon), PROBE)

    # -- IKE SAs -------------------------------------------------------------------------------------------------

    def connect(self, end: End) -> None:
        """With INITIAL_CONTACT if there is no other IKE SA between these identities (`unique = no`)."""
        is_first = not any(_same_ends(other, end) for other in end.daemon.ends if other.state == "ESTABLISHED")
        self.request(end, lambda: self._receive_auth(end, is_first))

    def _receive_auth(self, end: End, is_first: bool) -> bool:
        mine = end.loaded.config
        daemon = self.daemons.get(mine.remote_address)
        if daemon is None:
            return False
        theirs = next((held for held in daemon.loaded.values() if _matches(held.config, mine)), None)
        if theirs is None:
            self.respond(end, lambda: self._refused(end, "received NO_PROPOSAL_CHOSEN notify error"))
            return True
        ours, others = end.daemon.key(mine), daemon.key(theirs.config)
        if ours is None or others is None or ours.key != others.key:
            text = "the peer's authentication is wrong"
            daemon.deliver(Cause(theirs.config.name, "PSK_MISMATCH", text, self.time.now, attempt=next(self.numbers)))
            self.respond(end, lambda: self._refused(end, "received AUTHENTICATION_FAILED notify error"))
            return True
        far = End(daemon, next(self.numbers), theirs, False, "ESTABLISHED", self.time.now, end)
        for other in list(daemon.ends):
            if is_first and other.state == "ESTABLISHED" and _same_ends(other, far):
                self.forget(other)
        daemon.ends.append(far)
        end.other = far
        offered = end.pending.pop(0) if end.pending else None
        installed = self._respond_child(far, offered, bare=True) if offered else None
        daemon.deliver(SaChanged(far.name))
        self.respond(end, lambda: self._established(end, offered, installed))
        return True

    def _refused(self, end: End, line: str) -> None:
        end.daemon.ends.remove(end)
        end.daemon.log(end, line)

    def _established(self, end: End, offered: ChildConfig | None, installed: ChildSa | None) -> None:
        end.state, end.since = "ESTABLISHED", self.time.now
        if offered:
            self._created(end, offered, installed)
        end.daemon.deliver(SaChanged(end.name))
        self.create_next(end)

    def delete_ike_sa(self, end: End, *, dead: bool) -> None:
        """With a second for the response; destroyed then, come what may."""
        notify = end.state == "ESTABLISHED"
        if notify:
            end.state = "DELETING"
            self.request(end, lambda: self._receive_delete(end))
            self.time.run(0.0 if dead else 1.0, lambda: not end.is_there)
        self.forget(end)

    def _receive_delete(self, end: End) -> bool:
        if end.other and end.other.is_there:
            self.forget(end.other)
            self.respond(end, lambda: self.forget(end))
        return bool(end.other and end.other.daemon.is_alive)

    def forget(self, end: End) -> None:
        if end.is_there:
            end.daemon.ends.remove(end)
            end.daemon.deliver(SaChanged(end.name, down=True))

    # -- children ------------------------------------------------------------------------------------------------

    def create_next(self, end: End) -> None:
        """Create the next pending child; one exchange at a time (RFC 7296 2.3)."""
        if end.is_busy or not end.pending or end.state != "ESTABLISHED":
            return
        end.is_busy = True
        offered = end.pending.pop(0)
        self.request(end, lambda: self._receive_create(end, offered))

    def _receive_create(self, end: End, offered: ChildConfig) -> bool:
        far = end.other
        if far is None or not far.is_there:
            return False
        installed = self._respond_child(far, offered, bare=False) if far.state == "ESTABLISHED" else None
        self.respond(end, lambda: self._next(end, offered, installed))
        return True

    def _next(self, end: End, offered: ChildConfig, installed: ChildSa | None) -> None:
        end.is_busy = False
        self._created(end, offered, installed)
        self.create_next(end)

    def _respond_child(self, far: End, offered: ChildConfig, *, bare: bool) -> ChildSa | None:
        """The first child with these selectors answers (`core.tunnel.fallback`)."""
        selectors = (offered.remote_ts, offered.local_ts)
        found = next((c for c in far.loaded.config.children if (c.local_ts, c.remote_ts) == selectors), None)
        if found is None:
            return None
        proposal = next((p for p in found.esp_proposals if _agree(p, offered.esp_proposals, bare=bare)), None)
        return self._install(far, found, proposal, bare=bare) if proposal else None

    def _install(
        self, end: End, config: ChildConfig, proposal: str, *, bare: bool, spis: Iterable[str] = ()
    ) -> ChildSa:
        encryption, bits, integrity, group = algorithms.transforms(proposal)
        number = next(self.numbers)
        spi_in, spi_out = spis or (f"{number:08x}", f"{next(self.numbers):08x}")
        agreed = (encryption, bits, integrity, "" if bare else group)
        child = ChildSa(config.name, number, "INSTALLED", spi_in, spi_out, 0, 0, 0, 0, -1, *agreed)
        end.children[number], end.configs[number] = child, config
        end.born[number] = self.time.now
        end.daemon.deliver(SaChanged(owner_of(config.name)))
        return child

    def _created(self, end: End, offered: ChildConfig, far: ChildSa | None) -> None:
        if far is None:
            end.daemon.log(end, "received TS_UNACCEPTABLE notify, no CHILD_SA built")
            return
        child = ChildSa(
            offered.name,
            next(self.numbers),
            "INSTALLED",
            far.spi_out,
            far.spi_in,
            *(0, 0, 0, 0, -1),
            far.encryption,
            far.bits,
            far.integrity,
            far.group,
        )
        end.children[child.unique_id], end.configs[child.unique_id] = child, offered
        end.born[child.unique_id] = self.time.now
        end.daemon.deliver(SaChanged(owner_of(offered.name)))

    def delete_child(self, end: End, number: int) -> None:
        child = end.children[number]
        if child.state != "DELETING":
            end.children[number] = _set(child, state="DELETING")
            self.request(end, lambda: self._receive_delete_child(end, number, child.spi_out))
        self.time.run(1.0, lambda: not end.is_there or number not in end.children)

    def _receive_delete_child(self, end: End, number: int, spi: str) -> bool:
        far = end.other
        if far is None or not far.is_there:
            return False
        twin = far.by_spi(spi)
        if twin is not None:
            far.drop(twin)
        self.respond(end, lambda: end.drop(number))
        return True

    def rekey(self, end: End, number: int) -> None:
        """At both ends at once, with a key exchange of its own."""

        def arrive() -> bool:
            far, child = end.other, end.children.get(number)
            twin = far.by_spi(child.spi_out) if far and far.is_there and child else None
            if far is None or child is None or twin is None:
                return True
            config, theirs = end.configs[number], far.configs[twin]
            proposal = next((p for p in theirs.esp_proposals if p in config.esp_proposals), None)
            if proposal is None or child.state != "INSTALLED":
                end.daemon.log(end, "CHILD_SA rekeying failed, trying again in 14 seconds")
                return True
            new = self._install(far, theirs, proposal, bare=False)
            self._created(end, config, new)
            end.drop(number)
            far.drop(twin)
            return True

        self.request(end, arrive)


class SlowCharon:
    """The `Charon` of one gateway."""

    def __init__(self, network: Network, address: str) -> None:
        self._network, self._address = network, address
        self._listener: Callable[[CharonEvent], None] | None = None

    def start(self) -> bool:
        fresh = self._address not in self._network.daemons
        if fresh:
            self._network.start(self._address)
        return fresh

    def stop(self) -> None:
        raise NotImplementedError

    remove = stop

    def detach(self) -> None:
        daemon = self._network.daemons.get(self._address)
        if daemon and self._listener in daemon.listeners:
            daemon.listeners.remove(self._listener)

    def listen(self, deliver: Callable[[CharonEvent], None]) -> None:
        self.detach()
        self._listener = deliver
        self._daemon().listeners.append(deliver)

    def without_log(self) -> AbstractContextManager[None]:
        return nullcontext()

    def load(self, config: IkeConfig, key: SharedKey | None) -> None:
        self._daemon().load(config, key)

    def unload(self, name: str) -> None:
        daemon = self._daemon()
        daemon.loaded.pop(name, None)
        daemon.keys.pop(name, None)

    def load_key(self, key: Secret) -> str:
        raise NotImplementedError

    def unload_key(self, id: str) -> None:
        raise NotImplementedError

    def keys(self) -> frozenset[str]:
        return frozenset()

    def load_ppk(self, id: str, key: Secret) -> None:
        raise NotImplementedError

    def unload_ppk(self, id: str) -> None:
        raise NotImplementedError

    def ppks(self) -> frozenset[str]:
        return frozenset()

    def load_authority(self, certificate: str) -> None:
        raise NotImplementedError

    def load_crls(self, crls: Iterable[bytes]) -> None:
        raise NotImplementedError

    def certificates(self) -> tuple[bytes, ...]:
        return ()

    crls = certificates

    def forget_peers(self) -> None:
        pass

    def clear_credentials(self) -> None:
        raise NotImplementedError

    def initiate(self, ike: str, child: str) -> None:
        daemon = self._daemon()
        held = daemon.loaded.get(ike)
        config = next((c for c in held.config.children if c.name == child), None) if held else None
        if config is None:
            raise DriverError(f"CHILD_SA config '{child}' not found")
        daemon.initiate(ike, config)

    def install(self, ike: str, child: str) -> None:
        raise NotImplementedError

    uninstall = install

    def traps(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    def terminate_sa(self, unique_id: int, *, dead: bool = False) -> None:
        for end in [end for end in self._daemon().ends if end.unique_id == unique_id]:
            self._network.delete_ike_sa(end, dead=dead)
        self._daemon()

    def terminate_child(self, unique_id: int) -> None:
        for end in [end for end in self._daemon().ends if unique_id in end.children]:
            self._network.delete_child(end, unique_id)
        self._daemon()

    def rekey(self, unique_id: int) -> None:
        for end in [end for end in self._daemon().ends if unique_id in end.children]:
            self._network.rekey(end, unique_id)

    def replace(self, unique_id: int) -> None:
        raise NotImplementedError

    def loaded(self) -> Mapping[str, LoadedConnection]:
        return {name: loaded_connection(one.config) for name, one in self._daemon().loaded.items()}

    def device_counters(self) -> str:
        return ""

    def ask(self) -> None:
        self._daemon()

    def listing(self, _ike: str) -> list[dict[str, Any]]:
        raise NotImplementedError

    def sas(self, ike: str = "") -> tuple[IkeSa, ...]:
        now = self._network.time.now
        return tuple(
            IkeSa(
                end.name,
                end.unique_id,
                end.state,
                end.initiator,
                end.loaded.config.local_address,
                end.loaded.config.remote_address,
                int(now - end.since),
                tuple(_set(child, age=int(now - end.born[id])) for id, child in end.children.items()),
            )
            for end in self._daemon().ends
            if ike in ("", end.name)
        )

    def _daemon(self) -> SlowDaemon:
        daemon = self._network.daemons.get(self._address)
        if daemon is None:
            raise Unresponsive("charon does not run")
        return daemon


def _same_ends(one: End, other: End) -> bool:
    left, right = one.loaded.config, other.loaded.config
    return (left.local_id, left.remote_id) == (right.local_id, right.remote_id)


def _equal(one: IkeConfig, other: IkeConfig) -> bool:
    """charon compares everything but children. The name is part of what the driver loads."""
    return _set(one, children=()) == _set(other, children=())


def _matches(theirs: IkeConfig, mine: IkeConfig) -> bool:
    ends = (theirs.local_address, theirs.remote_address, theirs.local_id, theirs.remote_id)
    return (
        ends == (mine.remote_address, mine.local_address, mine.remote_id, mine.local_id)
        and theirs.version == mine.version
        and bool(set(theirs.proposals) & set(mine.proposals))
    )


def _agree(proposal: str, offered: tuple[str, ...], *, bare: bool) -> bool:
    def key(text: str) -> tuple[object, ...]:
        *rest, group = algorithms.transforms(text)
        return (*rest, "" if bare else group)

    return key(proposal) in [key(text) for text in offered]
