"""Generated histories of two gateways with several connections to each other, over a model of charon with delays.

The real agent runs at the left end, and at the right one in half of the histories. In the others the right end is a
plain peer: it never ends anything, and initiates whatever it ever knew, in every IKE SA. After each act the rules of
`History.look` are checked.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import msgspec

from linkspan.agent.convergence import Desired
from linkspan.agent.event_queue import EventQueue
from linkspan.agent.gateway_worker import GatewayWorker, Message
from linkspan.agent.outbox import Outbox
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import shared_keys
from linkspan.core.ipsec.config import ChildConfig
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Dpd, Gone
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.tunnel import fallback
from linkspan.core.tunnel.stray_sas import PATIENCE
from linkspan.core.tunnel.tunnel import children
from linkspan.testing.fake_drivers import FakeCharonNetwork, FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.agent.slow_charon import End, Network, SlowCharon
from tests.drivers.machine import connection, gateway

LIMIT = 1.0
"""Seconds within which a stray has ended, if the peer answers."""
DEAD_PEER = PATIENCE + 10.0
"""The same if the peer does not answer."""
ACTS = 16
CALM = 90.0
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"dpd": Dpd("restart", 12, 30)},
    {"ike": msgspec.structs.replace(connection(1, 2).ike, encryption_algorithm="aes-256")},
    {"ipsec": msgspec.structs.replace(connection(1, 2).ipsec, encryption_algorithm="aes-256")},
    {"ipsec": msgspec.structs.replace(connection(1, 2).ipsec, pfs="group19")},
)
BASE: dict[str, Any] = {"dpd": Dpd("restart", 10, 30)}
_set = msgspec.structs.replace


class SteppedWorker(GatewayWorker):
    """A worker without a thread: `Site` gives it turns."""

    def __init__(self, site: Site, outbox: Outbox) -> None:
        self._site = site
        self.messages: list[Message] = []
        super().__init__(site.gateway, site.drivers, outbox, lambda: site.network.time.now)

    def send(self, message: Message) -> None:
        self.messages.append(message)
        self._site.request_turn()


class CheckedOutbox(Outbox):
    """Tells its site of the reports, and of the tombstones that are answered."""

    def __init__(self, site: Site, events: EventQueue | None = None) -> None:
        super().__init__(events)
        self._site = site

    def put(self, report: GatewayReport | ConnectionReport) -> None:
        super().put(report)
        if isinstance(report, GatewayReport) and report.reason.startswith("unexpected"):
            self._site.faults.append(report.reason)
        self._site.reported(report)
        if report.state == "gone":
            self._site.confirmed(report.id)


class SlowCharonNetwork(FakeCharonNetwork):
    """Tells whether charon's device is there: as long as charon runs."""

    def __init__(self, world: FakeWorld, network: Network, address: str) -> None:
        super().__init__(world, address)
        self._daemons, self._address = network.daemons, address

    def has_device(self, gateway_id: str) -> bool:
        return self._address in self._daemons


class SlowDrivers(FakeDrivers):
    """Fake drivers, but for charon."""

    def __init__(self, world: FakeWorld, network: Network, address: str) -> None:
        super().__init__(world, address)
        self._network, self._address = network, address
        self.charon_network = SlowCharonNetwork(world, network, address)

    def charon(self, _gateway: object) -> SlowCharon:  # type: ignore[override]
        return SlowCharon(self._network, self._address)


class Site:
    """One end with an agent. `desired` and `tombstones` are what the API holds."""

    def __init__(self, number: int, network: Network) -> None:
        self.network, self.number = network, number
        self.address = f"203.0.113.{number}"
        self.gateway = gateway(number)
        self.world = FakeWorld()
        self.drivers = SlowDrivers(self.world, network, self.address)
        self.desired: dict[str, Connection] = {}
        self.keyed: dict[str, Connection] = {}
        self.tombstones: dict[str, Gone] = {}
        self.changed_at: dict[str, float] = {}
        self.faults: list[str] = []
        self.worker: SteppedWorker | None = None
        self.started_at = 0.0
        self.outbox = CheckedOutbox(self)
        self._is_in_turn = self._is_requested = False
        self._free_at = 0.0
        self._strays: dict[int, float] = {}
        self._names: dict[int, tuple[Connection, frozenset[str]]] = {}

    # -- the agent -----------------------------------------------------------------------------------------------

    def start_agent(self) -> None:
        self.outbox = self.new_outbox()
        self.worker = SteppedWorker(self, self.outbox)
        self.started_at = self.network.time.now
        self.send_desired()

    def new_outbox(self) -> CheckedOutbox:
        return CheckedOutbox(self)

    def crash_agent(self) -> None:
        self.worker = None
        if daemon := self.network.daemons.get(self.address):
            daemon.listeners.clear()

    def send_desired(self) -> None:
        if self.worker:
            self.worker.send(Desired(self.gateway, dict(self.desired), tuple(self.tombstones.values())))

    def request_turn(self) -> None:
        if not self._is_requested:
            self._is_requested = True
            self.network.time.soon(self._turn)

    def _turn(self) -> None:
        if self._is_in_turn:
            self.network.time.soon(self._turn)
            return
        self._is_requested = False
        worker = self.worker
        if worker is None:
            return
        self._is_in_turn = True
        self._free_at = math.inf
        messages, worker.messages = worker.messages, []
        worker.turn(messages)
        self._is_in_turn = False
        self._free_at = self.network.time.now
        due = worker.due()
        if due is not None and worker is self.worker:
            self.network.time.later(lambda: self._timer(worker), max(due - self.network.time.now, 0.001))

    def _timer(self, worker: SteppedWorker) -> None:
        due = worker.due()
        if worker is self.worker and due is not None and due <= self.network.time.now:
            self.request_turn()

    # -- the API -------------------------------------------------------------------------------------------------

    def put(self, item: Connection) -> None:
        self.desired[item.id] = item
        self._changed(item.id)

    def delete(self, id: str) -> None:
        item = self.desired.pop(id)
        self.tombstones[id] = Gone("connection", id, item.revision + 1, self.gateway.id)
        self._changed(id)

    def _changed(self, id: str) -> None:
        """A connection has changed, and with it those that use its key (`core.ipsec.shared_keys`)."""
        before, self.keyed = self.keyed, shared_keys.with_keys_in_use(self.desired)
        others = {other for other, item in self.keyed.items() if item != before.get(other)}
        self.changed_at |= dict.fromkeys(others | {id}, self.network.time.now)
        self.send_desired()

    def reported(self, report: GatewayReport | ConnectionReport) -> None:
        """The agent has put a report into its outbox."""

    def confirmed(self, id: str) -> None:
        self.tombstones.pop(id, None)
        left = [child.name for end in self.ends() for child in end.children.values() if child.name.startswith(id)]
        if left:
            self.faults.append(f"{self.network.time.now:.2f}: the tombstone is answered and {left} is listed")

    # -- what charon lists ---------------------------------------------------------------------------------------

    def ends(self) -> list[End]:
        daemon = self.network.daemons.get(self.address)
        return daemon.ends if daemon else []

    def look(self, answers_since: float) -> None:
        """Strays end in time, and what was guarded stays guarded as long as it is listed."""
        now = self.network.time.now
        guarded = self.drivers.leak_guard.current(self.gateway.id)
        seen = dict[int, float]()
        for end in self.ends():
            for number, child in end.children.items():
                owner = ipsec_config.owner_of(child.name)
                if owner in self.desired or owner in self.tombstones:
                    self._check_guard(end, number, owner, guarded)
                if child.name not in self._allowed(owner):
                    seen[number] = self._strays.get(number, now)
                    is_known = end.other is not None and end.other.is_there
                    self._check_age(child.name, seen[number], answers_since if is_known else now)
        self._strays = seen

    def _check_age(self, name: str, seen: float, answers_since: float) -> None:
        now = self.network.time.now
        if self.worker is None:
            return
        since = max(seen, self.started_at, self.changed_at.get(ipsec_config.owner_of(name), 0.0))
        # An agent waits for the responses to its commands, a second at most for each.
        in_time = max(since, self._free_at) + LIMIT if answers_since < since else since + DEAD_PEER
        if now > in_time:
            self.faults.append(f"{now:.2f}: {name} is listed for {now - since:.2f} s")

    def _check_guard(self, end: End, number: int, owner: str, guarded: frozenset[SelectorPair]) -> None:
        config = end.configs[number]
        pairs = {SelectorPair(left, right) for left in config.local_ts for right in config.remote_ts}
        if end.born[number] < self.changed_at[owner] and not pairs <= guarded:
            self.faults.append(f"{self.network.time.now:.2f}: {config.name} is listed and not guarded")

    def _allowed(self, owner: str) -> frozenset[str]:
        """The children that a connection may have: of its version, and of the previous one while the tunnel has it."""
        item = self.keyed.get(owner)
        if item is None or not item.enabled:
            return frozenset()
        tunnel = self.worker._tunnels.by_id.get(owner) if self.worker else None
        names = {child.name for child in ipsec_config.build(item).children}
        if tunnel and tunnel.connection == item:
            names |= children(tunnel)
        return frozenset(names | {fallback.fallback_name(name) for name in names})


class PlainPeer:
    """A peer with a charon of its own and no agent. It loads every version of every connection and forgets none."""

    def __init__(self, number: int, network: Network) -> None:
        self.network, self.address = network, f"203.0.113.{number}"
        self._versions: list[Connection] = []
        network.start(self.address)

    def learn(self, item: Connection) -> None:
        self._versions.append(item)
        self.load()

    def load(self) -> None:
        daemon = self.network.daemons[self.address]
        for item in self._versions:
            config = ipsec_config.build(item)
            daemon.load(_set(config, children=self._children()), ipsec_config.shared_key(item, config))

    def initiate(self, chance: random.Random) -> None:
        """Any child, in any IKE SA or in a new one."""
        daemon = self.network.daemons[self.address]
        child = chance.choice(self._children())
        established = [end for end in daemon.ends if end.state == "ESTABLISHED"]
        if established and chance.random() < 0.7:
            end = chance.choice(established)
            end.pending.append(child)
            self.network.create_next(end)
        else:
            daemon.initiate(chance.choice(list(daemon.loaded)), child)

    def restart(self) -> None:
        self.network.kill(self.address)
        self.network.start(self.address)
        self.load()

    def _children(self) -> tuple[ChildConfig, ...]:
        return tuple(child for item in self._versions for child in ipsec_config.build(item).children)


class History:
    """One history, the same for the same seed."""

    site_class: type[Site] = Site

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.network = Network(self.chance)
        self.left = self.site_class(1, self.network)
        self.is_plain = seed % 2 == 1
        self.plain = PlainPeer(2, self.network) if self.is_plain else None
        self.right = None if self.is_plain else self.site_class(2, self.network)
        self.sites = [site for site in (self.left, self.right) if site]
        self._count = 0
        self._answers_since = -100.0
        self.network.time.after_each = self._look

    def run(self) -> list[str]:
        """Play it to its end. Returns the faults."""
        for site in self.sites:
            site.start_agent()
        for _ in range(self.chance.choice((2, 3))):
            self._create()
        for _ in range(ACTS):
            self.network.time.run(self.chance.choice((0.02, 0.1, 0.3, 1.0, 3.0, 15.0)) * self.chance.random())
            self._act()
        self._calm_down()
        return [fault for site in self.sites for fault in site.faults]

    def _look(self) -> None:
        if self.network.is_cut or len(self.network.daemons) < 2:
            self._answers_since = self.network.time.now
        for site in self.sites:
            site.look(self._answers_since)

    # -- acts ----------------------------------------------------------------------------------------------------

    def _act(self) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (4, self._edit),
            (4, self._delete),
            (2, self._create),
            (4, self._toggle),
            (2, self._crash_agent),
            (1, self._crash_charon),
            (1, self._cut),
            (20 if self.is_plain else 0, self._initiate),
        ]
        act = self.chance.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        act()

    def _create(self) -> None:
        self._count += 1
        kinds = ("response-only", "bi-directional", "bi-directional")
        changes = {**BASE, **self.chance.choice(VARIANTS)}
        for site, ends in ((self.left, (1, 2)), (self.right, (2, 1))):
            item = self._connection(*ends, self._count, initiator=self.chance.choice(kinds), **changes)
            if site:
                site.put(item)
            elif self.plain:
                self.plain.learn(item)

    def _connection(self, near: int, far: int, count: int, **changes: object) -> Connection:
        return connection(
            near,
            far,
            id=f"{near:04x}{count:04x}-e29b-41d4-a716-446655440000",
            local_cidrs=(f"10.{near}.{count}.0/24",),
            peer_cidrs=(f"10.{far}.{count}.0/24",),
            **changes,
        )

    def _any(self) -> tuple[Site, Connection] | None:
        site = self.chance.choice(self.sites)
        return (site, self.chance.choice(list(site.desired.values()))) if site.desired else None

    def _edit(self) -> None:
        found = self._any()
        if found is None:
            return
        count = found[1].id[4:8]
        changes = {**BASE, **self.chance.choice(VARIANTS)}
        if self.chance.random() < 0.1:
            now = self.network.time.now
            changes |= {"psk": Secret("another"), "psk_ref": f"key-{now}", "psk_written_at": now}
        for site in self.sites if self.chance.random() < 0.7 else (found[0],):
            for item in [item for item in site.desired.values() if item.id[4:8] == count]:
                fresh = {"ike": connection(1, 2).ike, "ipsec": connection(1, 2).ipsec} | changes
                site.put(_set(item, revision=item.revision + 1, **fresh))
                if self.plain:
                    back: dict[str, Any] = {"local_address": item.peer_address, "peer_address": item.local_address}
                    back |= {"peer_id": item.local_address, "local_cidrs": item.peer_cidrs}
                    ends = {"id": f"0002{count}{item.id[8:]}", "peer_cidrs": item.local_cidrs}
                    self.plain.learn(_set(site.desired[item.id], **back, **ends))

    def _delete(self) -> None:
        if found := self._any():
            found[0].delete(found[1].id)

    def _toggle(self) -> None:
        if found := self._any():
            found[0].put(_set(found[1], enabled=not found[1].enabled, revision=found[1].revision + 1))

    def _crash_agent(self) -> None:
        site = self.chance.choice(self.sites)
        if site.worker:
            site.crash_agent()
            self.network.time.later(site.start_agent, self.chance.uniform(0.0, 3.0))

    def _crash_charon(self) -> None:
        if self.plain and self.chance.random() < 0.5:
            self.plain.restart()
            return
        address = self.chance.choice(self.sites).address
        if address in self.network.daemons:
            self.network.kill(address)

    def _cut(self) -> None:
        if not self.network.is_cut:
            self.network.is_cut = True
            self.network.time.later(self._heal, self.chance.choice((1.0, 8.0, 40.0)))

    def _heal(self) -> None:
        self.network.is_cut = False

    def _initiate(self) -> None:
        if self.plain:
            for _ in range(self.chance.choice((1, 3, 6))):
                self.plain.initiate(self.chance)

    # -- the end -------------------------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        """Afterwards every tombstone is answered, nothing but what is desired is listed, and it is listed once."""
        self.network.time.run(45.0)
        self.network.time.run(CALM)
        for site in self.sites:
            if site.tombstones:
                site.faults.append(f"never answered: {sorted(site.tombstones)}")
            names = {child.name for item in site.keyed.values() for child in ipsec_config.build(item).children}
            loaded = self.network.daemons[site.address].loaded
            idle = [end.name for end in site.ends() if not end.children and end.name not in loaded]
            if idle:
                site.faults.append(f"an IKE SA of nothing: {idle}")
            if self.right:
                listed = [child.name for end in site.ends() for child in end.children.values() if child.name in names]
                if len(listed) > len(set(listed)):
                    site.faults.append(f"twice: {sorted(listed)}")
        if self.right:
            self._compare_ends(self.left, self.right)

    def _compare_ends(self, left: Site, right: Site) -> None:
        """What both ends want alike is up at both."""
        far = {item.id[4:]: item for item in right.keyed.values()}
        for item in left.keyed.values():
            other = far.get(item.id[4:])
            same = other and (other.ike, other.ipsec, other.psk) == (item.ike, item.ipsec, item.psk)
            may = other and item.initiator == other.initiator == "bi-directional"
            if not (other and same and may and item.enabled and other.enabled):
                continue
            for site, wanted in ((left, item), (right, other)):
                name = ipsec_config.build(wanted).children[0].name
                names = {child.name for end in site.ends() for child in end.children.values()}
                if not names & {name, fallback.fallback_name(name)}:
                    site.faults.append(f"{name} is not up")
