"""The drivers in memory: for tests of everything above them, and for trials without root.

They pass the same contract tests as the real drivers. What outlives an agent on a real machine (namespaces, guards,
charons) is kept in the `FakeWorld`, so a second `FakeDrivers` of the same node finds it. Events are delivered on the
thread that caused them, before its call returns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import msgspec

from linkspan.core.ipsec import algorithms, exemptions
from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.ipsec.crl_schedule import Fetched
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.probe_plan import ProbePlan
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Gateway
from linkspan.core.state.machine_limits import MachineNeeds
from linkspan.core.state.observed import Backend, Capabilities
from linkspan.core.state.probes import EchoProbe, PortProbe, ProbeResult, ProbeState
from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.kernel_sas import KernelSas
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.core.tunnel.precedence import Precedence
from linkspan.core.tunnel.sas import IkeSa
from linkspan.drivers.ports import NAMESPACE, DriverError, LoadedConnection, PathFault, Unresponsive
from linkspan.testing.fake_world import FakeDaemon, FakeWorld

VERSION: Final = "5.9.8-fake"
COMPLETE: Final = Capabilities(
    ikev1=True,
    ah=True,
    transport=True,
    traps=True,
    encryption=tuple(algorithms.ENCRYPTION),
    integrity=tuple(algorithms.INTEGRITY),
    key_exchanges=tuple(algorithms.GROUPS),
    isolation="full",
)
"""The capabilities of a node without a lack."""


def loaded_connection(config: IkeConfig) -> LoadedConnection:
    """A configuration as charon lists it once it is loaded."""
    return LoadedConnection(frozenset(child.name for child in config.children), config.remote_address)


class FakeDrivers:
    """The `Drivers` of one node in a `FakeWorld`; see `drivers.ports`."""

    def __init__(self, world: FakeWorld, node: str = "node-1", backend: Backend = "user-space") -> None:
        self.world = world
        self.node = node
        self.backend: Backend = backend
        self.charon_version = VERSION
        self.capabilities = COMPLETE
        self.namespaces = FakeNamespaces(world, node)
        self.leak_guard = FakeLeakGuard(world, node)
        self.policy_bypass = FakePolicyBypass(world, node, backend)
        self.mtu_routing = FakeMtuRouting(world, node)
        self.traffic_block = FakeTrafficBlock(world, node)
        self.ike_limit = FakeIkeLimit(world, node)
        self.charon_network = FakeCharonNetwork(world, node)
        self.network_watch = FakeNetworkWatch(world, node)
        self.machine_limits = FakeMachineLimits()
        self.resolver = FakeResolver(world)
        self.fetcher = FakeFetcher(world)
        self.prober = FakeProber(world)

    def charon(self, gateway: Gateway) -> FakeCharon:
        return FakeCharon(self.world, self.node, gateway, self.backend)


class FakeNamespaces:
    """The `Namespaces` of one node. With `refusal` set, `apply` fails with this message. `outdated`: gateways whose
    namespace is of an earlier version. `path_faults`: by gateway."""

    def __init__(self, world: FakeWorld, node: str) -> None:
        self._world = world
        self._node = node
        self.refusal = ""
        self.outdated: set[str] = set()
        self.path_faults: dict[str, PathFault] = {}

    def apply(self, gateway: Gateway) -> tuple[str, ...]:
        if self.refusal:
            raise DriverError(self.refusal)
        if self.is_outdated(gateway.id):
            self.remove(gateway.id)
            self.outdated.discard(gateway.id)
        with self._world.lock:
            key = (self._node, gateway.id)
            missing = (*self.reattach(gateway.id), *sorted(self._world.damage.pop(key, ())))
            missing += () if key in self._world.gateways else (NAMESPACE,)
            self._world.gateways[key] = gateway
            if key in self._world.daemons:
                self._world.daemons[key].gateway = gateway
            return missing

    def is_outdated(self, gateway_id: str) -> bool:
        return gateway_id in self.outdated and (self._node, gateway_id) not in self._world.daemons

    def path_fault(self, gateway_id: str, local: str, peer: str) -> PathFault | None:
        return self.path_faults.get(gateway_id)

    def reattach(self, gateway_id: str) -> tuple[str, ...]:
        with self._world.lock:
            lost = (self._node, gateway_id) in self._world.nameless
            self._world.nameless.discard((self._node, gateway_id))
        return ("the name of the namespace",) if lost else ()

    def remove(self, gateway_id: str) -> None:
        with self._world.lock:
            key = (self._node, gateway_id)
            if key in self._world.daemons:
                self._world.kill(gateway_id)
            self._world.gateways.pop(key, None)
            self._world.guards.pop(key, None)
            self._world.guarded.pop(key, None)
            self._world.bypasses.pop(key, None)
            self._world.mtus.pop(key, None)
            self._world.blocks.pop(key, None)
            self._world.ike_peers.pop(key, None)
            self._world.damage.pop(key, None)
            self._world.nameless.discard(key)

    def present(self) -> frozenset[str]:
        with self._world.lock:
            return frozenset(id for node, id in self._world.gateways if node == self._node)


class FakeLeakGuard:
    """The `LeakGuard` of one node."""

    def __init__(self, world: FakeWorld, node: str) -> None:
        self._world = world
        self._node = node

    def apply(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        with self._world.lock:
            if (self._node, gateway.id) not in self._world.gateways:
                raise DriverError(f"there is no namespace of gateway {gateway.id} to guard")
            self._world.guards[self._node, gateway.id] = frozenset(pairs)
            self._world.guarded[self._node, gateway.id] = gateway

    def restore(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> tuple[str, ...]:
        wanted = frozenset(pairs)
        if self.current(gateway.id) == wanted and (self._node, gateway.id) in self._world.guarded:
            return ()
        self.apply(gateway, wanted)
        return ("table of the leak guard",)

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        with self._world.lock:
            return self._world.guards.get((self._node, gateway_id), frozenset())


class FakePolicyBypass:
    """The `PolicyBypass` of one node."""

    def __init__(self, world: FakeWorld, node: str, backend: Backend) -> None:
        self._world = world
        self._node = node
        self._backend = backend

    def apply(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> None:
        if self._backend != "kernel":
            return
        with self._world.lock:
            if (self._node, gateway.id) not in self._world.gateways:
                raise DriverError(f"there is no namespace of gateway {gateway.id} to exempt traffic in")
            self._world.bypasses[self._node, gateway.id] = exemptions.exempt_pairs(gateway, pairs)

    def restore(self, gateway: Gateway, pairs: Iterable[SelectorPair]) -> tuple[str, ...]:
        wanted = exemptions.exempt_pairs(gateway, pairs) if self._backend == "kernel" else frozenset()
        missing = wanted - self.current(gateway.id)
        if missing:
            self.apply(gateway, pairs)
        return tuple(f"bypass policy from {pair.local} to {pair.remote}" for pair in sorted(missing))

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        with self._world.lock:
            return self._world.bypasses.get((self._node, gateway_id), frozenset())


class FakeMtuRouting:
    """The `MtuRouting` of one node. `mtu`: the MTU of every outside interface, which tests may change."""

    def __init__(self, world: FakeWorld, node: str) -> None:
        self._world = world
        self._node = node
        self.mtu = 1500

    def outside_mtu(self, gateway_id: str) -> int:
        with self._world.lock:
            self._check(gateway_id)
            return self.mtu

    def apply(self, gateway: Gateway, mtus: Iterable[PairMtu]) -> None:
        with self._world.lock:
            self._check(gateway.id)
            self._world.mtus[self._node, gateway.id] = frozenset(mtus)

    def restore(self, gateway: Gateway, mtus: Iterable[PairMtu]) -> tuple[str, ...]:
        wanted = frozenset(mtus)
        if self.current(gateway.id) == wanted:
            return ()
        self.apply(gateway, wanted)
        return ("table of the MSS clamp",)

    def current(self, gateway_id: str) -> frozenset[PairMtu]:
        with self._world.lock:
            return self._world.mtus.get((self._node, gateway_id), frozenset())

    def _check(self, gateway_id: str) -> None:
        if (self._node, gateway_id) not in self._world.gateways:
            raise DriverError(f"there is no namespace of gateway {gateway_id} to route in")


class FakeTrafficBlock:
    """The `TrafficBlock` of one node."""

    def __init__(self, world: FakeWorld, node: str) -> None:
        self._world = world
        self._node = node

    def apply(self, gateway: Gateway, precedence: Precedence) -> None:
        with self._world.lock:
            if (self._node, gateway.id) not in self._world.gateways:
                raise DriverError(f"there is no namespace of gateway {gateway.id} to block traffic in")
            self._world.blocks[self._node, gateway.id] = precedence.blocked

    def restore(self, gateway: Gateway, precedence: Precedence) -> tuple[str, ...]:
        if self.current(gateway.id) == precedence.blocked:
            return ()
        self.apply(gateway, precedence)
        return ("table of the traffic block",)

    def current(self, gateway_id: str) -> frozenset[SelectorPair]:
        with self._world.lock:
            return self._world.blocks.get((self._node, gateway_id), frozenset())


class FakeIkeLimit:
    """The `IkeLimit` of one node."""

    def __init__(self, world: FakeWorld, node: str) -> None:
        self._world = world
        self._node = node

    def apply(self, gateway: Gateway, peers: Iterable[str]) -> None:
        with self._world.lock:
            if (self._node, gateway.id) not in self._world.gateways:
                raise DriverError(f"there is no namespace of gateway {gateway.id} to limit IKE in")
            self._world.ike_peers[self._node, gateway.id] = frozenset(peers)

    def restore(self, gateway: Gateway, peers: Iterable[str]) -> tuple[str, ...]:
        wanted = frozenset(peers)
        with self._world.lock:
            if self._world.ike_peers.get((self._node, gateway.id)) == wanted:
                return ()
        self.apply(gateway, wanted)
        return ("table of the limit of IKE",)


class FakeCharonNetwork:
    """The `CharonNetwork` of one node. `kernel`: what its kernels have, None with user-space ESP."""

    def __init__(self, world: FakeWorld, node: str) -> None:
        self._world = world
        self._node = node
        self.kernel: KernelSas | None = None

    def restore(self, gateway_id: str, remotes: Callable[[], frozenset[str]]) -> tuple[str, ...]:
        needed = remotes()
        with self._world.lock:
            return tuple(sorted(self._world.lost_routes.pop((self._node, gateway_id), frozenset()) & needed))

    def has_device(self, gateway_id: str) -> bool:
        with self._world.lock:
            daemon = self._world.daemons.get((self._node, gateway_id))
            return daemon is not None and daemon.has_device

    def kernel_sas(self, gateway_id: str) -> KernelSas | None:
        return self.kernel


class FakeNetworkWatch:
    """The `NetworkWatch` of one node."""

    def __init__(self, world: FakeWorld, node: str) -> None:
        self._world = world
        self._node = node

    def watch(self, gateway_id: str, deliver: Callable[[], None]) -> None:
        with self._world.lock:
            if (self._node, gateway_id) not in self._world.gateways:
                raise DriverError(f"there is no namespace of gateway {gateway_id} to watch")
            self._world.watchers[self._node, gateway_id] = deliver

    def forget(self, gateway_id: str) -> None:
        with self._world.lock:
            self._world.watchers.pop((self._node, gateway_id), None)


class FakeMachineLimits:
    """The `MachineLimits` of a machine; `refusals`: what cannot be raised. `ensured`: what was asked for."""

    def __init__(self) -> None:
        self.refusals: tuple[str, ...] = ()
        self.ensured: list[MachineNeeds] = []

    def ensure(self, needs: MachineNeeds) -> tuple[str, ...]:
        self.ensured.append(needs)
        return self.refusals


class FakeResolver:
    """The `Resolver` of one node. Every gateway resolves the names of the `FakeWorld`."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def resolve(self, gateway_id: str, name: str, deliver: Callable[[Resolution], None]) -> None:
        with self._world.lock:
            addresses = self._world.names.get(name, ())
        deliver(Resolution(name, addresses, "" if addresses else "no such name"))


class FakeFetcher:
    """The `Fetcher` of one node. Every gateway reaches the files of the `FakeWorld`."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def fetch(self, gateway_id: str, url: str, deliver: Callable[[Fetched], None]) -> None:
        with self._world.lock:
            data = self._world.files.get(url)
        deliver(Fetched(url, data) if data is not None else Fetched(url, error="the server answers 404"))


class FakeProber:
    """The `Prober` of one node. Gateways of the `FakeWorld` answer, others keep silent. `plans`: what was probed."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world
        self.plans: list[ProbePlan] = []

    def probe(self, gateway_id: str, plan: ProbePlan, deliver: Callable[[ProbeResult | str], None]) -> None:
        self.plans.append(plan)
        with self._world.lock:
            own = [address for gateway in self._world.gateways.values() for address in gateway.outside.addresses]
        answers = any(address.partition("/")[0] == plan.peer for address in own)
        state: ProbeState = "answered" if answers else "silent"
        echo = EchoProbe(source=plan.source, target=plan.peer, state=state, sent=3, received=3 if answers else 0)
        inside = EchoProbe(state="not sent", note=plan.inside.refusal, target=plan.inside.target)
        if answers and not plan.inside.refusal:
            inside = msgspec.structs.replace(echo, source=plan.inside.source, target=plan.inside.target)
        ports = tuple(PortProbe(port=port, state=state) for port in (500, 4500))
        deliver(ProbeResult(ports=ports, path=echo, inside=inside))


class FakeCharon:
    """The `Charon` of one gateway. Commands come from one thread, as with the real charon."""

    def __init__(self, world: FakeWorld, node: str, gateway: Gateway, backend: Backend) -> None:
        self._world = world
        self._gateway = gateway
        self._backend = backend
        self._key = (node, gateway.id)
        self._listener: Callable[[CharonEvent], None] | None = None

    def start(self) -> bool:
        with self._world.lock:
            self.detach()
            if self._key in self._world.daemons:
                self._daemon()
                return False
            if self._key not in self._world.gateways:
                raise DriverError(f"charon cannot be started: gateway {self._gateway.id} has no namespace")
            self._world.bypasses.pop(self._key, None)
            self._world.daemons[self._key] = FakeDaemon(self._world.gateways[self._key], self._backend)
            return True

    def stop(self) -> None:
        with self._world.lock:
            self._world.stop_charon(self._key)
            self._listener = None

    def remove(self) -> None:
        self.stop()

    def detach(self) -> None:
        with self._world.lock:
            daemon = self._world.daemons.get(self._key)
            if daemon and self._listener in daemon.listeners:
                daemon.listeners.remove(self._listener)
            self._listener = None

    def listen(self, deliver: Callable[[CharonEvent], None]) -> None:
        with self._world.lock:
            self.detach()
            self._listener = deliver
            self._daemon().listeners.append(deliver)

    def without_log(self) -> AbstractContextManager[None]:
        return nullcontext()

    def load(self, config: IkeConfig, key: SharedKey | None) -> None:
        with self._world.lock:
            daemon = self._daemon()
            if key is not None:
                daemon.keys.pop(key.id, None)
                daemon.keys[key.id] = key
            daemon.configs[config.name] = config
            for sa in daemon.sas:
                if sa.config.name == config.name:
                    sa.config = config
            self._world.retransmit()

    def unload(self, name: str) -> None:
        with self._world.lock:
            daemon = self._daemon()
            daemon.configs.pop(name, None)
            daemon.keys.pop(name, None)

    def load_key(self, key: Secret) -> str:
        with self._world.lock:
            id = hashlib.sha1(key.reveal().encode()).hexdigest()  # noqa: S324 # a name
            self._daemon().private_keys[id] = key
            return id

    def unload_key(self, id: str) -> None:
        with self._world.lock:
            self._daemon().private_keys.pop(id, None)

    def keys(self) -> frozenset[str]:
        with self._world.lock:
            return frozenset(self._daemon().private_keys)

    def load_ppk(self, id: str, key: Secret) -> None:
        with self._world.lock:
            self._daemon().ppks[id] = key

    def unload_ppk(self, id: str) -> None:
        with self._world.lock:
            self._daemon().ppks.pop(id, None)

    def ppks(self) -> frozenset[str]:
        with self._world.lock:
            return frozenset(self._daemon().ppks)

    def load_authority(self, certificate: str) -> None:
        with self._world.lock:
            self._daemon().authorities.add(certificate)

    def load_crls(self, crls: Iterable[bytes]) -> None:
        with self._world.lock:
            self._daemon().crls.update(crls)

    def certificates(self) -> tuple[bytes, ...]:
        return ()

    def crls(self) -> tuple[bytes, ...]:
        return ()

    def forget_peers(self) -> None:
        pass

    def clear_credentials(self) -> None:
        with self._world.lock:
            daemon = self._daemon()
            for held in (daemon.keys, daemon.private_keys, daemon.ppks, daemon.authorities, daemon.crls):
                held.clear()

    def initiate(self, ike: str, child: str) -> None:
        with self._world.lock:
            daemon = self._daemon()
            config = self._known(daemon, ike, child)
            if any(child in sa.children for sa in daemon.sas if sa.config.name == ike):
                return
            self._world.initiate(daemon, config, child)

    def install(self, ike: str, child: str) -> None:
        with self._world.lock:
            daemon = self._daemon()
            daemon.traps[ike, child] = self._known(daemon, ike, child)

    def uninstall(self, ike: str, child: str) -> None:
        with self._world.lock:
            self._daemon().traps.pop((ike, child), None)

    def traps(self) -> frozenset[tuple[str, str]]:
        with self._world.lock:
            return frozenset(self._daemon().traps)

    def _known(self, daemon: FakeDaemon, ike: str, child: str) -> IkeConfig:
        config = daemon.configs.get(ike)
        if config is None or child not in {known.name for known in config.children}:
            raise DriverError(f"CHILD_SA config '{child}' not found")
        return config

    def terminate_sa(self, unique_id: int, *, dead: bool = False) -> None:
        with self._world.lock:
            daemon = self._daemon()
            for sa in [sa for sa in daemon.sas if sa.unique_id == unique_id]:
                self._world.delete_ike_sa(daemon, sa)

    def terminate_child(self, unique_id: int) -> None:
        with self._world.lock:
            self._world.delete_child_sa(self._daemon(), unique_id)

    def rekey(self, unique_id: int) -> None:
        with self._world.lock:
            self._world.rekey(self._daemon(), unique_id)

    def replace(self, unique_id: int) -> None:
        with self._world.lock:
            self._world.replace(self._daemon(), unique_id)

    def loaded(self) -> dict[str, LoadedConnection]:
        with self._world.lock:
            return {name: loaded_connection(config) for name, config in self._daemon().configs.items()}

    def device_counters(self) -> str:
        with self._world.lock:
            daemon = self._world.daemons.get(self._key)
            return f"passed: {daemon.passed}" if daemon else ""

    def ask(self) -> None:
        with self._world.lock:
            self._daemon()

    def sas(self, ike: str = "") -> tuple[IkeSa, ...]:
        with self._world.lock:
            return tuple(sa.listed() for sa in self._daemon().sas if ike in ("", sa.config.name))

    def listing(self, ike: str) -> list[dict[str, Any]]:
        with self._world.lock:
            return [sa.listing() for sa in self._daemon().sas if sa.config.name == ike]

    def _daemon(self) -> FakeDaemon:
        daemon = self._world.daemons.get(self._key)
        if daemon is None:
            raise Unresponsive("charon does not run")
        if daemon.frozen:
            raise Unresponsive("charon did not answer within 5 s")
        return daemon
