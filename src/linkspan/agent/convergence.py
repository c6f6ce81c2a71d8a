"""Brings one gateway to its desired state: namespace, charon, leak guard, MTUs and charon's configurations.

`core.tunnel.reconcile` decides what changes; this module carries it out. A run can fail at any point: the next one
compares anew and does what is left. Used only on the thread of the gateway's worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext

import msgspec
import structlog

from linkspan.agent.credentials import GatewayCredentials
from linkspan.agent.guard_coverage import GuardCoverage
from linkspan.agent.managed_charon import ManagedCharon
from linkspan.agent.mtu import MtuApplier
from linkspan.agent.peer_names import PeerNames
from linkspan.agent.reports import Reports
from linkspan.agent.restoration import Restoration
from linkspan.agent.revocation_lists import RevocationLists
from linkspan.agent.stray_sas import StraySas
from linkspan.agent.tunnels import GatewayTunnels
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.state import admin_state, drift
from linkspan.core.state.desired import Connection, Gateway, Gone
from linkspan.core.tunnel import events, reconcile, stray_sas
from linkspan.core.tunnel.precedence import Precedence
from linkspan.core.tunnel.reconcile import Plan
from linkspan.core.tunnel.stray_sas import Stray
from linkspan.core.tunnel.takeover import Seen
from linkspan.core.tunnel.tunnel import peer_addresses
from linkspan.drivers.ports import NAMESPACE, DriverError, Drivers, PathFault, Unresponsive

LOG_LIMIT = 20
"""More connections than this are loaded without reading charon's log, which makes loading faster."""


class Desired(msgspec.Struct, frozen=True):
    """The desired state of one gateway: all of its connections, and tombstones to answer."""

    gateway: Gateway
    connections: Mapping[str, Connection]
    gone: tuple[Gone, ...]


class Convergence:
    """Has no desired state at first, and does nothing then. `changed` is called, on any thread, after other programs
    have changed the gateway's network, and `doubted` with the addresses of peers that signs are about.
    """

    def __init__(
        self,
        drivers: Drivers,
        charon: ManagedCharon,
        tunnels: GatewayTunnels,
        strays: StraySas,
        credentials: GatewayCredentials,
        revocation: RevocationLists,
        names: PeerNames,
        reports: Reports,
        max_children: int,
        clock: Callable[[], float],
        changed: Callable[[], None],
        doubted: Callable[[frozenset[str]], None],
    ) -> None:
        self._log = structlog.get_logger("agent.gateway").bind(gateway=reports.gateway.id)
        self._drivers = drivers
        self._charon = charon
        self._tunnels = tunnels
        self._strays = strays
        self._credentials = credentials
        self._revocation = revocation
        self._names = names
        self._reports = reports
        self._max_children = max_children
        self._clock = clock
        self._changed = changed
        self._doubted = doubted
        self._note_ends_at = math.inf
        self._guard_coverage = GuardCoverage(drivers.leak_guard, drivers.policy_bypass)
        self._mtus = MtuApplier(drivers.mtu_routing, drivers.backend)
        self._restoration = Restoration(drivers, charon, tunnels, self._guard_coverage, self._mtus)
        self._desired: Desired | None = None
        self._tombstones: dict[str, Gone] = {}
        self._namespace_of: Gateway | None = None
        self._events_lost = False
        self._are_credentials_adopted = False
        self._blocked: Precedence | None = None
        self._ike_peers: frozenset[str] | None = None

    def set_desired(self, desired: Desired) -> None:
        """Replace the desired state. Tombstones add up until they are answered."""
        before = self._desired.connections if self._desired else {}
        connections = admin_state.effective(desired.connections, desired.gateway, before)
        self._desired = msgspec.structs.replace(desired, connections=connections)
        self._tombstones.update({tombstone.id: tombstone for tombstone in desired.gone})

    @property
    def gateway(self) -> Gateway | None:
        """The gateway as its namespace has it; None before the first run."""
        return self._namespace_of

    def effective_mtu(self, id: str) -> int:
        """The MTU of a connection in bytes, 0 if no tunnel is configured for it."""
        return self._mtus.effective(id) or 0

    def run(self) -> None:
        """Bring the gateway to its desired state and report it ready. Raises DriverError.

        A run ends early, and another follows, while it is not known whether the peer has what it would delete.
        """
        desired = self._desired
        if desired is None:
            return
        self._ensure_namespace(desired.gateway)
        self._ensure_charon()
        plan = self._plan(desired)
        self._extend_guard(desired, plan)
        if not self._strays.end_before_loading(plan):
            return
        self._tunnels.replace(plan.tunnels, plan.overlaps, plan.awaited)
        self._block(self._tunnels.precedence(unknown=plan.keep))
        rechecked = self._load_credentials(plan)
        parked = [name for name in plan.unload if name in plan.park]
        for name in parked:
            self._charon.unload(name)
        self._load(plan)
        # While charon negotiates; what it reports is handled after this run.
        self._apply_mtus(desired.gateway)
        unload = self._strays.leaving(name for name in plan.unload if name not in plan.park)
        for name in unload:
            self._charon.unload(name)
        self._tunnels.step_all(plan.keep, events.Adopted())
        for id, reason in self._names.unresolved().items():
            self._tunnels.step_all([id], events.Unresolved(reason))
        self._tunnels.recheck(rechecked)
        left = self._strays.end([*parked, *unload])
        self._guard_coverage.uncover(
            desired.gateway, self._tunnels.by_id, self._tunnels.changed, stray_sas.owners(left)
        )
        self._answer_tombstones(left)
        self._credentials.forget_unused(self._tunnels.by_id.values())
        if self._events_lost:
            self._tunnels.refresh()
            self._events_lost = False
        self._reports.ready()

    def restore(self) -> bool:
        """Compare the gateway's network with what was applied last, and restore it.

        Returns whether a run has to follow. Raises DriverError.
        """
        gateway = self._namespace_of
        if gateway is None:
            return False
        if self._clock() >= self._note_ends_at:
            self._note("")
        missing: list[str] = []
        try:
            missing += self._restoration.network(gateway)
            self._set_network_error("")
            if NAMESPACE in missing:
                self._forget_namespace()
                return True
            missing += self._limit_ike(gateway)
            missing += self._restoration.tunnels(gateway, self._blocked) if self._charon.running else ()
        except Unresponsive:
            raise
        except DriverError as error:
            self._set_network_error(str(error))
            raise
        finally:
            self._restored(missing)
        return not self._charon.running or self._mtus.is_outdated

    def settle(self) -> None:
        """Do what can wait until new tunnels are up: limit IKE, and look at charon's routes. Raises DriverError."""
        gateway = self._namespace_of
        if gateway and self._charon.running and not self._reports.network_error:
            missing = [*self._limit_ike(gateway), *self._restoration.charon_routes(gateway)]
            self._restored(missing)

    def _limit_ike(self, gateway: Gateway) -> tuple[str, ...]:
        """Limit IKE of all but the gateway's peers. Returns what was missing of the limit, in words."""
        peers = peer_addresses(self._tunnels.by_id.values())
        if self._ike_peers == peers:
            return self._drivers.ike_limit.restore(gateway, peers)
        self._ike_peers = None
        self._drivers.ike_limit.apply(gateway, peers)
        self._ike_peers = peers
        return ()

    def _restored(self, missing: Sequence[str]) -> None:
        """Say what was missing and is restored."""
        if missing:
            self._log.warning("the gateway's network was changed by another program, restored", missing=missing)
            self._note(drift.sentence(missing, _now()))

    def _forget_namespace(self) -> None:
        """The namespace was made anew: nothing is in it, and charon runs in the one before, if at all."""
        self._guard_coverage.forget()
        self._mtus.forget()
        self._blocked = self._ike_peers = None
        self._charon.running = False

    def _note(self, text: str) -> None:
        """Have every reason of the gateway say this for a while; empty to end that."""
        self._note_ends_at = self._clock() + drift.NOTED
        if self._reports.note != text:
            self._reports.note = text
            self._tunnels.changed |= self._tunnels.by_id.keys()
            if not self._reports.network_error:
                self._reports.ready()

    def _set_network_error(self, text: str) -> None:
        """Report connections down while the network is not whole, whatever charon says."""
        if self._reports.network_error != text:
            self._reports.network_error = text
            self._tunnels.changed |= self._tunnels.by_id.keys()

    def block_traffic(self) -> None:
        """Block the traffic of tunnels that are down from going to another peer. Raises DriverError."""
        if self._blocked is not None:
            self._block(self._tunnels.precedence())

    def _block(self, wanted: Precedence) -> None:
        if self._blocked != wanted and self._desired:
            self._blocked = None
            self._drivers.traffic_block.apply(self._desired.gateway, wanted)
            self._blocked = wanted

    def failed(self, error: DriverError) -> None:
        """Report the gateway's error. The next run refreshes every tunnel, since the failure may have lost events."""
        self._events_lost = True
        self._reports.failed(self._desired.gateway if self._desired else self._reports.gateway, str(error))

    def report_changes(self) -> None:
        """Report the tunnels that changed since the last call."""
        changed = [tunnel for id in self._tunnels.changed if (tunnel := self._tunnels.by_id.get(id))]
        self._reports.connections(changed, self._mtus.effective, self._tunnels.spare_note, self._path_fault)
        self._tunnels.changed.clear()

    def _path_fault(self, connection: Connection) -> PathFault | None:
        gateway = self._reports.gateway
        return self._drivers.namespaces.path_fault(gateway.id, connection.local_address, connection.peer_address)

    def tear_down(self, *tombstones: Gone) -> None:
        """Remove charon and namespace. Without tombstones the gateway stays desired and is reported down.

        Raises DriverError.
        """
        self._drivers.network_watch.forget(self._reports.gateway.id)
        self._drivers.peer_signs.forget(self._reports.gateway.id)
        self._charon.stop(for_good=bool(tombstones))
        self._drivers.namespaces.remove(self._reports.gateway.id)
        if not tombstones:
            self._reports.removed(self._tunnels.by_id.values())
        self._reports.gone((*self._tombstones.values(), *tombstones))
        self._tombstones.clear()

    # -- the steps of a run, in their order ------------------------------------------------------------------------

    def _ensure_namespace(self, gateway: Gateway) -> None:
        is_known = self._namespace_of is not None
        is_as_applied = self._namespace_of is gateway and not self._reports.network_error
        if is_as_applied and not self._is_namespace_outdated(gateway):
            return
        missing = self._drivers.namespaces.apply(gateway)
        if not is_known or NAMESPACE in missing:
            self._watch(gateway)
        if is_known and NAMESPACE in missing:
            self._forget_namespace()
        if is_known and self._reports.network_error:
            self._set_network_error("")
            self._restored(missing)
        self._guard_coverage.close(gateway)
        self._namespace_of = self._reports.gateway = gateway

    def _is_namespace_outdated(self, gateway: Gateway) -> bool:
        return not self._charon.running and self._drivers.namespaces.is_outdated(gateway.id)

    def _watch(self, gateway: Gateway) -> None:
        try:
            self._drivers.network_watch.watch(gateway.id, self._changed)
        except DriverError as error:
            self._log.warning("changes of the gateway's network are found by comparing it only", error=str(error))
        try:
            self._drivers.peer_signs.watch(gateway.id, self._doubted)
        except DriverError as error:
            self._log.warning("peers that are gone are found by dead peer detection only", error=str(error))

    def _ensure_charon(self) -> None:
        start = self._charon.ensure_running()
        if start is None:
            return
        self._mtus.forget()
        self._strays.forget()
        self._credentials.started(start.fresh)
        self._are_credentials_adopted = False
        self._guard_coverage.charon_started()
        if start.fresh:
            self._tunnels.reset()
            if self._charon.was_stopped:
                self._charon.was_stopped = False
                self._note(f"charon did not answer and was started anew at {_now()}")
        else:
            self._names.adopt(start.adopted)
            self._tunnels.adopted(self._charon.adopted)

    def _plan(self, desired: Desired) -> Plan:
        tunnels = self._tunnels.by_id
        connections = self._names.replace_names(desired.connections, desired.gateway, tunnels)
        node = self._drivers.backend, self._drivers.capabilities, self._max_children
        seen = Seen(self._charon.adopted, self._tunnels.unsettled(), self._charon.configs)
        return reconcile.reconcile(tunnels, connections, self._tombstones, self._charon.loaded, *node, seen)

    def _extend_guard(self, desired: Desired, plan: Plan) -> None:
        known = desired.connections.keys() | self._tombstones.keys()
        self._guard_coverage.adopt(desired.gateway, known, self._charon.loaded.values())
        self._tunnels.changed |= self._guard_coverage.cover(desired.gateway, self._tunnels.by_id, plan.tunnels)

    def _apply_mtus(self, gateway: Gateway) -> None:
        orphans = bool(self._guard_coverage.orphans)
        self._tunnels.changed |= self._mtus.apply(gateway, self._tunnels.by_id, orphans)

    def _load(self, plan: Plan) -> None:
        ids_by_name: dict[str, list[str]] = {}
        for id in plan.fresh:
            config = self._tunnels.by_id[id].config
            ids_by_name.setdefault(config.name if config else "", []).append(id)
        many = len(plan.load) > LOG_LIMIT
        with self._charon.without_log() if many else nullcontext():
            loaded = [id for config in plan.load for id in self._load_one(config, ids_by_name.get(config.name, []))]
        if many:
            self._tunnels.step_all(self._tunnels.by_id, events.EventsLost())
        if turned := self._turned(plan):
            self._tunnels.step_all(turned, events.KeyLoaded())
        self._tunnels.step_all(loaded, events.Loaded())

    def _turned(self, plan: Plan) -> list[str]:
        """The connections for which the plan has loaded the other one of two keys."""
        names = {config.name for config in plan.load}
        return [
            id
            for id, tunnel in self._tunnels.by_id.items()
            if tunnel.config and tunnel.config.name in names and tunnel.key_rotation.has_turned
        ]

    def _load_one(self, config: IkeConfig, ids: list[str]) -> list[str]:
        """Load an IKE connection that is new for these connections. Returns those of them that charon has taken."""
        users = ids if ids or config.name in self._charon.loaded else self._users(config.name)
        if refusal := self._credentials.refusal(config):
            self._tunnels.step_all(ids, events.LoadFailed(refusal))
            return []
        try:
            self._charon.load(config, self._shared_key(config, users))
        except Unresponsive:
            raise
        except DriverError as error:
            self._log.error("charon refuses a connection", connections=ids, error=str(error))
            self._tunnels.step_all(ids, events.LoadFailed(f"charon refuses the configuration: {error}"))
            return []
        return ids

    def _load_credentials(self, plan: Plan) -> frozenset[str]:
        """Load keys, revocation lists and what else the tunnels need. Returns those whose peers have to be checked."""
        tunnels = self._tunnels.by_id
        if not self._are_credentials_adopted:
            self._revocation.adopt(self._credentials.loaded_crls(), tunnels)
            self._are_credentials_adopted = True
        revoked = self._revocation.update(tunnels)
        self._credentials.crls = self._revocation.lists
        if self._credentials.should_clean(tunnels.values()):
            self._clean_credentials(plan)
        else:
            self._credentials.load(tunnels.values())
        return revoked

    def _shared_key(self, config: IkeConfig, users: Iterable[str]) -> SharedKey | None:
        """The pre-shared key that these connections have for an IKE connection."""
        if config.auth != "psk":
            return None
        connections = (self._tunnels.by_id[id].connection for id in users)
        return next((ipsec_config.shared_key(connection, config) for connection in connections), None)

    def _clean_credentials(self, plan: Plan) -> None:
        """Unload leftover certificates: all credentials at once, and load what is needed again."""
        self._credentials.clean(self._tunnels.by_id.values())
        for config in plan.wanted:
            if config.name in self._charon.loaded:
                self._charon.load(config, self._shared_key(config, self._users(config.name)))

    def _users(self, name: str) -> list[str]:
        """The uuids of the connections that have an IKE connection of this name."""
        return [id for id, tunnel in self._tunnels.by_id.items() if tunnel.config and tunnel.config.name == name]

    def _answer_tombstones(self, left: tuple[Stray, ...]) -> None:
        """Answer the tombstones of which nothing is listed. A stray without children may belong to any of them."""
        owners = stray_sas.owners(left)
        waiting = {
            id: tombstone
            for id, tombstone in self._tombstones.items()
            if id in owners or any(not stray.sa.children for stray in left)
        }
        self._reports.gone(tombstone for id, tombstone in self._tombstones.items() if id not in waiting)
        self._tombstones = waiting


def _now() -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime())
