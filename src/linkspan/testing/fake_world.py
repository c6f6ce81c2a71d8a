"""A simulation of gateways, their charons and the network between them, for the fake drivers.

It behaves as charon does: a changed key leaves SAs up, the last loaded key wins, a failed child leaves its IKE SA, a
responder takes the first of equal children, IKEv2's first child has no group, a killed charon sends no delete. It logs
in charon's words. Everything happens at once: an attempt has succeeded or failed when `initiate` returns. There are no
clock, no packets and no automatic rekeying; DPD deadlines and backoff are the agent's. Tests break it with `kill`,
`freeze` and `cut`; `send` returns what would happen to a packet.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec.config import ChildConfig, IkeConfig, SharedKey, owner_of
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.secret import Secret
from linkspan.core.state import admin_state
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import peer_attempts
from linkspan.core.tunnel.charon_events import CharonEvent, ChildCounted, DaemonLost, SaChanged
from linkspan.core.tunnel.peer_attempts import PeerAttempts
from linkspan.core.tunnel.sas import UNNAMED, ChildSa, IkeSa

AgreedTransforms = tuple[str, int, str, str]
"""The negotiated transforms, as returned by `core.ipsec.algorithms.transforms`."""
PacketFate = Literal["esp", "dropped", "plaintext"]
"""The fate of a packet at the outside interface."""
_TYPE = re.compile("^(fqdn|email|keyid):")
_ANSWERS = {2: "parsed INFORMATIONAL response 2 [ ]", 1: "parsed INFORMATIONAL_V1 request 2 [ HASH N(DPD_ACK) ]"}


class FakeIkeSa:
    """One end of an IKE SA; `other` is the peer's end, None while the peer has none. `pending`: children to create."""

    def __init__(self, unique_id: int, config: IkeConfig, initiator: bool) -> None:
        self.unique_id = unique_id
        self.config = config
        self.initiator = initiator
        self.state = "CONNECTING"
        self.other: tuple[FakeDaemon, FakeIkeSa] | None = None
        self.children: dict[str, ChildSa] = {}
        self.pending: list[str] = []

    def listed(self) -> IkeSa:
        """Return the IKE SA as `list-sas` shows it."""
        config = self.config
        ends = (config.local_address, config.remote_address)
        return IkeSa(config.name, self.unique_id, self.state, self.initiator, *ends, 0, tuple(self.children.values()))

    def listing(self) -> dict[str, Any]:
        """Return a part of what VICI `list-sas` says of the IKE SA."""
        children = {
            f"{child.name}-{child.unique_id}": {
                "name": child.name,
                "uniqueid": str(child.unique_id),
                "state": child.state,
                "spi-in": child.spi_in,
                "local-ts": list(child.local_ts),
                "remote-ts": list(child.remote_ts),
            }
            for child in self.children.values()
        }
        section = {
            "uniqueid": str(self.unique_id),
            "version": str(self.config.version),
            "state": self.state,
            "initiator": "yes" if self.initiator else "no",
            "local-host": self.config.local_address,
            "remote-host": self.config.remote_address,
            "child-sas": children,
        }
        return {self.config.name: section}


class FakeDaemon:
    """A running charon. `frozen`: it runs and does not answer, as after SIGSTOP. `has_device`: its TUN device is there.
    `passed`: packets that have passed its tunnels.
    `traps`: the configuration at the time of `install`, by IKE connection and child."""

    def __init__(self, gateway: Gateway, backend: Backend) -> None:
        self.gateway = gateway
        self.backend: Backend = backend
        self.traps: dict[tuple[str, str], IkeConfig] = {}
        self.frozen = False
        self.has_device = True
        self.configs: dict[str, IkeConfig] = {}
        self.keys: dict[str, SharedKey] = {}
        self.private_keys: dict[str, Secret] = {}
        self.ppks: dict[str, Secret] = {}
        self.authorities: set[str] = set()
        self.crls: set[bytes] = set()
        self.sas: list[FakeIkeSa] = []
        self.listeners: list[Callable[[CharonEvent], None]] = []
        self.passed = 0
        self._attempts: PeerAttempts = {}

    def deliver(self, *events: CharonEvent) -> None:
        for event in events:
            for listener in list(self.listeners):
                listener(event)

    def log(self, name: str, line: str, number: int = 0) -> None:
        """Log a line as charon words it, about the IKE SA with this number."""
        message = {"ikesa-name": name, "ikesa-uniqueid": str(number), "msg": line}
        self._attempts, events = peer_attempts.read(self._attempts, "log", message, time.time())
        self.deliver(*events)

    def key(self, config: IkeConfig) -> SharedKey | None:
        """Return the key for a connection's identities; the last loaded one if there are several."""
        owners = {config.local_id, config.remote_id}
        return next((key for key in reversed(self.keys.values()) if set(key.owners) == owners), None)


class FakeWorld:
    """All gateways that can reach each other. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.gateways: dict[tuple[str, str], Gateway] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self.files: dict[str, bytes] = {}
        self.guards: dict[tuple[str, str], frozenset[SelectorPair]] = {}
        self.guarded: dict[tuple[str, str], Gateway] = {}
        self.bypasses: dict[tuple[str, str], frozenset[SelectorPair]] = {}
        self.mtus: dict[tuple[str, str], frozenset[PairMtu]] = {}
        self.blocks: dict[tuple[str, str], frozenset[SelectorPair]] = {}
        self.ike_peers: dict[tuple[str, str], frozenset[str]] = {}
        self.damage: dict[tuple[str, str], frozenset[str]] = {}
        self.lost_routes: dict[tuple[str, str], frozenset[str]] = {}
        self.nameless: set[tuple[str, str]] = set()
        self.watchers: dict[tuple[str, str], Callable[[], None]] = {}
        self.daemons: dict[tuple[str, str], FakeDaemon] = {}
        self._cut: set[frozenset[str]] = set()
        self._numbers = itertools.count(1)

    # -- for tests -----------------------------------------------------------------------------------------------

    def kill(self, gateway_id: str) -> None:
        """SIGKILL a gateway's charon: no delete is sent to peers; guards and namespaces stay."""
        with self.lock:
            for key, daemon in self._of(gateway_id):
                del self.daemons[key]
                self._forget(daemon)
                daemon.deliver(DaemonLost())

    def freeze(self, gateway_id: str, frozen: bool = True) -> None:
        """SIGSTOP a gateway's charon, or SIGCONT."""
        with self.lock:
            for _, daemon in self._of(gateway_id):
                daemon.frozen = frozen

    def flush(self, gateway_id: str) -> None:
        """Remove all packet filter rules and IPsec policies of a gateway, as another program might."""
        with self.lock:
            for state in (self.guards, self.guarded, self.bypasses, self.mtus, self.blocks, self.ike_peers):
                for key in [key for key in state if key[1] == gateway_id]:
                    del state[key]
            self._changed(gateway_id)

    def remove_from_network(self, gateway_id: str, *items: str) -> None:
        """Remove interfaces, addresses or routes of a gateway, as another program might."""
        with self.lock:
            for key in [key for key in self.gateways if key[1] == gateway_id]:
                self.damage[key] = self.damage.get(key, frozenset()) | {*items}
            self._changed(gateway_id)

    def remove_name(self, gateway_id: str) -> None:
        """Remove the name of a gateway's namespace, as `ip netns delete` does."""
        with self.lock:
            self.nameless |= {key for key in self.gateways if key[1] == gateway_id}
            self._changed(gateway_id)

    def _changed(self, gateway_id: str) -> None:
        for (_, id), deliver in list(self.watchers.items()):
            if id == gateway_id:
                deliver()

    def cut(self, address: str, other: str) -> None:
        """Drop all packets between two addresses; ends with DPD send a probe."""
        with self.lock:
            self._cut.add(frozenset((address, other)))
            for daemon, sa in self._between(address, other):
                if sa.state == "ESTABLISHED" and sa.config.dpd_delay:
                    daemon.log(sa.config.name, "sending DPD request", sa.unique_id)
                    if sa.config.version == 2:
                        daemon.log(sa.config.name, "retransmit 1 of request with message ID 2", sa.unique_id)

    def heal(self, address: str, other: str) -> None:
        """Let packets pass again; retransmitted messages arrive."""
        with self.lock:
            self._cut.discard(frozenset((address, other)))
            for daemon, sa in self._between(address, other):
                if sa.state == "CONNECTING":
                    self.connect(daemon, sa)
                elif sa.other and sa.config.dpd_delay:
                    daemon.log(sa.config.name, _ANSWERS[sa.config.version], sa.unique_id)

    def send(self, gateway_id: str, source: str, destination: str) -> PacketFate:
        """Return what happens to a packet at a gateway's outside interface; counts it on its child SA."""
        with self.lock:
            if any(id == gateway_id and _is_closed(gateway, source) for (_, id), gateway in self.guarded.items()):
                return "dropped"
            for _, daemon in self._of(gateway_id):
                for sa in daemon.sas:
                    for child in sa.config.children:
                        if child.name in sa.children and _covers(child, source, destination):
                            daemon.passed += 1
                            self._carry(sa, child.name)
                            return "esp"
                if daemon.backend == "kernel":
                    self._acquire(daemon, source, destination)
            for (_, id), pairs in self.guards.items():
                if id == gateway_id and any(_within(source, p.local) and _within(destination, p.remote) for p in pairs):
                    return "dropped"
            return "plaintext" if any(id == gateway_id for _, id in self.guards) else "dropped"

    # -- for the fake drivers ------------------------------------------------------------------------------------

    def stop_charon(self, key: tuple[str, str]) -> None:
        """SIGTERM a charon: it deletes its SAs at its peers."""
        with self.lock:
            daemon = self.daemons.get(key)
            if daemon is None:
                return
            for sa in list(daemon.sas):
                self.delete_ike_sa(daemon, sa)
            del self.daemons[key]

    def initiate(self, daemon: FakeDaemon, config: IkeConfig, child: str) -> None:
        """Initiate a child, in the IKE SA of its connection if there is one."""
        with self.lock:
            sa = next((sa for sa in daemon.sas if sa.config.name == config.name), None)
            if sa is None:
                sa = FakeIkeSa(next(self._numbers), config, initiator=True)
                daemon.sas.append(sa)
                mode = {2: "", 1: "Aggressive Mode " if config.aggressive else "Main Mode "}[config.version]
                line = f"initiating {mode}IKE_SA {config.name}[{sa.unique_id}] to {config.remote_address}"
                daemon.log(config.name, line, sa.unique_id)
            sa.pending.append(child)
            if sa.state == "CONNECTING":
                self.connect(daemon, sa)
            else:
                self._make_children(daemon, sa)

    def retransmit(self) -> None:
        """Retransmit the unanswered first messages of all IKE SAs."""
        with self.lock:
            for daemon in list(self.daemons.values()):
                for sa in [sa for sa in daemon.sas if sa.state == "CONNECTING"]:
                    self.connect(daemon, sa)

    def delete_ike_sa(self, daemon: FakeDaemon, sa: FakeIkeSa) -> None:
        """Delete an IKE SA, at the peer too if it is reachable."""
        with self.lock:
            ends = [(daemon, sa)]
            if sa.other and self._reachable(daemon, sa.other[0], sa.config):
                ends.append(sa.other)
            elif sa.other:
                sa.other[1].other = None
            for end, end_sa in ends:
                if end_sa in end.sas:
                    end.sas.remove(end_sa)
                    end.deliver(*map(ChildCounted, end_sa.children.values()))
                    end.deliver(SaChanged(owner_of(end_sa.config.name), down=True))

    def delete_child_sa(self, daemon: FakeDaemon, unique_id: int) -> None:
        """Delete a child SA, at the peer too if it is reachable."""
        for sa in daemon.sas:
            for name, child in list(sa.children.items()):
                if child.unique_id != unique_id:
                    continue
                del sa.children[name]
                daemon.deliver(ChildCounted(child), SaChanged(owner_of(name), down=True))
                for other, twin in list(sa.other[1].children.items()) if sa.other else ():
                    if sa.other and twin.spi_in == child.spi_out and self._reachable(daemon, sa.other[0], sa.config):
                        del sa.other[1].children[other]
                        sa.other[0].deliver(ChildCounted(twin), SaChanged(owner_of(other), down=True))

    def connect(self, daemon: FakeDaemon, sa: FakeIkeSa) -> None:
        """Attempt to establish an IKE SA."""
        name, mine = sa.config.name, sa.config
        peer = self._peer(daemon, mine)
        if peer is None:
            daemon.log(name, "retransmit 1 of request with message ID 0")
            return
        number = next(self._numbers)
        for line in _first_lines(mine):
            peer.log(UNNAMED, line, number)
        theirs, refusal = _choose(mine, peer)
        if theirs is None:
            daemon.sas.remove(sa)
            for line in refusal[:-1]:
                peer.log(UNNAMED, line, number)
            daemon.log(name, refusal[-1])
            return
        ours, others = daemon.key(mine), peer.key(theirs)
        if ours is None:
            daemon.sas.remove(sa)
            daemon.log(name, f"no shared key found for '{mine.local_id}' - '{mine.remote_id}'")
            return
        if others is None or others.key != ours.key:
            daemon.sas.remove(sa)
            pair = f"for '{theirs.local_id}' - '{theirs.remote_id}'"
            peer.log(
                theirs.name,
                f"tried 1 shared key {pair}, but MAC mismatched" if others else f"no shared key found {pair}",
                number,
            )
            daemon.log(name, "received AUTHENTICATION_FAILED notify error")
            return
        end = FakeIkeSa(number, theirs, initiator=False)
        peer.sas.append(end)
        sa.other, end.other = (peer, end), (daemon, sa)
        sa.state = end.state = "ESTABLISHED"
        peer.deliver(SaChanged(owner_of(theirs.name)))
        daemon.deliver(SaChanged(owner_of(name)))
        self._make_children(daemon, sa)

    def _make_children(self, daemon: FakeDaemon, sa: FakeIkeSa) -> None:
        wanted, sa.pending = sa.pending, []
        for name in wanted:
            if sa.other is None or not self._reachable(daemon, sa.other[0], sa.config):
                daemon.log(sa.config.name, "retransmit 1 of request with message ID 2")
                continue
            child = next(child for child in sa.config.children if child.name == name)
            self._make_child(daemon, sa, child, *sa.other)

    def _make_child(
        self, daemon: FakeDaemon, sa: FakeIkeSa, child: ChildConfig, peer: FakeDaemon, end: FakeIkeSa
    ) -> None:
        fitting = [other for other in end.config.children if other.mode == child.mode and _overlap(other, child)]
        # The group of a child created in IKE_AUTH is not negotiated (RFC 7296 1.2).
        bare = sa.config.version == 2 and not sa.children
        agreed = _agree(child, fitting[0], bare) if fitting else None
        if agreed is None:
            theirs = "traffic selectors - === - unacceptable" if not fitting else "no acceptable proposal found"
            notify = "NO_PROPOSAL_CHOSEN" if fitting else "TS_UNACCEPTABLE"
            if fitting:
                peer.log(end.config.name, f"received proposals: {_as_logged(child)}", end.unique_id)
                peer.log(end.config.name, f"configured proposals: {_as_logged(fitting[0])}", end.unique_id)
            peer.log(end.config.name, theirs, end.unique_id)
            daemon.log(sa.config.name, f"received {notify} notify, no CHILD_SA built")
            return
        self._install(sa, child.name, end, fitting[0].name, agreed)
        peer.deliver(SaChanged(owner_of(end.config.name)))
        daemon.deliver(SaChanged(owner_of(sa.config.name)))

    def rekey(self, daemon: FakeDaemon, unique_id: int) -> None:
        """Rekey a child, with a key exchange of its own. If the peer refuses, the child stays as it is."""
        with self.lock:
            for sa in daemon.sas:
                for name, child in list(sa.children.items()):
                    if child.unique_id == unique_id and sa.other and self._reachable(daemon, sa.other[0], sa.config):
                        self._rekey_child(daemon, sa, name, *sa.other)

    def replace(self, daemon: FakeDaemon, unique_id: int) -> None:
        """Replace an IKE SA by a new one with its children, unless the new one does not come up."""
        with self.lock:
            for old in [sa for sa in daemon.sas if sa.unique_id == unique_id]:
                new = FakeIkeSa(next(self._numbers), old.config, initiator=True)
                new.pending = list(old.children)
                daemon.sas.append(new)
                self.connect(daemon, new)
                if old.children.keys() <= new.children.keys():
                    self.delete_ike_sa(daemon, old)

    def _rekey_child(self, daemon: FakeDaemon, sa: FakeIkeSa, name: str, peer: FakeDaemon, end: FakeIkeSa) -> None:
        twin = next(twin.name for twin in end.children.values() if twin.spi_in == sa.children[name].spi_out)
        ours = next(child for child in sa.config.children if child.name == name)
        theirs = next(child for child in end.config.children if child.name == twin)
        agreed = _agree(ours, theirs, bare=False)
        if agreed is None:
            peer.log(end.config.name, "no acceptable proposal found")
            daemon.log(sa.config.name, "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built")
            daemon.log(sa.config.name, "CHILD_SA rekeying failed, trying again in 14 seconds")
            return
        peer.deliver(ChildCounted(end.children[twin]))
        daemon.deliver(ChildCounted(sa.children[name]))
        self._install(sa, name, end, twin, agreed)
        peer.deliver(SaChanged(owner_of(twin)))
        daemon.deliver(SaChanged(owner_of(name)))

    def _install(self, sa: FakeIkeSa, name: str, end: FakeIkeSa, other: str, agreed: AgreedTransforms) -> None:
        """Install both ends of a child SA."""
        spis = (f"{next(self._numbers):08x}", f"{next(self._numbers):08x}")
        for ike_sa, child, (spi_in, spi_out) in ((sa, name, spis), (end, other, spis[::-1])):
            ike_sa.children[child] = ChildSa(
                child, next(self._numbers), "INSTALLED", spi_in, spi_out, 0, 0, 0, 0, -1, *agreed
            )

    def _acquire(self, daemon: FakeDaemon, source: str, destination: str) -> None:
        """Initiate the children whose traps the packet matches; the packet itself is lost."""
        for (_, name), config in list(daemon.traps.items()):
            trapped = next(child for child in config.children if child.name == name)
            if _covers(trapped, source, destination):
                self.initiate(daemon, config, name)

    def _carry(self, sa: FakeIkeSa, name: str) -> None:
        child = sa.children[name]
        sa.children[name] = msgspec.structs.replace(
            child, packets_out=child.packets_out + 1, bytes_out=child.bytes_out + 84
        )
        for other, twin in sa.other[1].children.items() if sa.other else ():
            if sa.other and twin.spi_in == child.spi_out:
                sa.other[0].passed += 1
                sa.other[1].children[other] = msgspec.structs.replace(
                    twin, packets_in=twin.packets_in + 1, bytes_in=twin.bytes_in + 84, idle_in=0
                )

    # -- lookup --------------------------------------------------------------------------------------------------

    def _of(self, gateway_id: str) -> list[tuple[tuple[str, str], FakeDaemon]]:
        return [(key, daemon) for key, daemon in self.daemons.items() if key[1] == gateway_id]

    def _between(self, address: str, other: str) -> list[tuple[FakeDaemon, FakeIkeSa]]:
        return [
            (daemon, sa)
            for daemon in list(self.daemons.values())
            for sa in list(daemon.sas)
            if {sa.config.local_address, sa.config.remote_address} == {address, other}
        ]

    def _peer(self, daemon: FakeDaemon, config: IkeConfig) -> FakeDaemon | None:
        for other in self.daemons.values():
            hosts = {address.partition("/")[0] for address in other.gateway.outside.addresses}
            if config.remote_address in hosts and self._reachable(daemon, other, config):
                return other
        return None

    def _reachable(self, daemon: FakeDaemon, other: FakeDaemon, config: IkeConfig) -> bool:
        is_cut = frozenset((config.local_address, config.remote_address)) in self._cut
        return not (is_cut or other.frozen or daemon.frozen) and other in self.daemons.values()

    def _forget(self, daemon: FakeDaemon) -> None:
        for sa in daemon.sas:
            if sa.other:
                sa.other[1].other = None


def _first_lines(mine: IkeConfig) -> tuple[str, str]:
    """Return the responder's log lines about the first packet of an initiator."""
    exchange = {2: "IKE_SA_INIT", 1: "AGGRESSIVE" if mine.aggressive else "ID_PROT"}[mine.version]
    return (
        f"received packet: from {mine.local_address}[500] to {mine.remote_address}[500] (464 bytes)",
        f"parsed {exchange} request 0 [ SA KE No ]",
    )


def _choose(mine: IkeConfig, peer: FakeDaemon) -> tuple[IkeConfig | None, tuple[str, ...]]:
    """Return the responder's configuration for an initiator's, or None and log lines: the last one is the initiator's,
    the others the responder's."""
    fitting = [
        config
        for config in peer.configs.values()
        if (config.local_address, config.remote_address) == (mine.remote_address, mine.local_address)
        and (config.version, config.aggressive) == (mine.version, mine.aggressive)
    ]
    if not fitting:
        line = f"no IKE config found for {mine.remote_address}...{mine.local_address}, sending NO_PROPOSAL_CHOSEN"
        return None, (line, "parsed IKE_SA_INIT response 0 [ N(NO_PROP) ]")
    agreed = [config for config in fitting if set(config.proposals) & set(mine.proposals)]
    if not agreed:
        return None, ("received proposals unacceptable", "parsed IKE_SA_INIT response 0 [ N(NO_PROP) ]")
    matching = [config for config in agreed if (config.local_id, config.remote_id) == (mine.remote_id, mine.local_id)]
    if not matching:
        us, itself = (_TYPE.sub("", identity) for identity in (mine.remote_id, mine.local_id))
        looking = f"looking for peer configs matching {mine.remote_address}[{us}]...{mine.local_address}[{itself}]"
        return None, (looking, "no matching peer config found", "received AUTHENTICATION_FAILED notify error")
    return matching[0], ()


def _agree(ours: ChildConfig, theirs: ChildConfig, bare: bool) -> AgreedTransforms | None:
    """Return the first of the responder's proposals that the initiator has too; `bare`: without their groups."""
    for offered, accepted in (
        (ours.esp_proposals, theirs.esp_proposals),
        (ours.ah_proposals, theirs.ah_proposals),
    ):
        wanted = [_transforms(proposal, bare) for proposal in offered]
        for proposal in accepted:
            if _transforms(proposal, bare) in wanted:
                return _transforms(proposal, bare)
    return None


def _as_logged(config: ChildConfig) -> str:
    """The proposals of a child in IKE_AUTH as charon logs them, without their groups."""
    protocol = "AH" if config.ah_proposals else "ESP"
    names = []
    for proposal in config.esp_proposals or config.ah_proposals:
        encryption, bits, integrity, _ = _transforms(proposal, bare=True)
        cipher = f"{encryption}_{bits}" if bits else encryption
        names.append(f"{protocol}:" + "/".join(part for part in (cipher, integrity, "NO_EXT_SEQ") if part))
    return ", ".join(names)


def _transforms(proposal: str, bare: bool) -> AgreedTransforms:
    encryption, bits, integrity, group = algorithms.transforms(proposal)
    return encryption, bits, integrity, "" if bare else group


def _overlap(child: ChildConfig, other: ChildConfig) -> bool:
    return _networks_overlap(child.local_ts, other.remote_ts) and _networks_overlap(child.remote_ts, other.local_ts)


def _networks_overlap(networks: tuple[str, ...], others: tuple[str, ...]) -> bool:
    pairs = ((ipaddress.ip_network(network), ipaddress.ip_network(other)) for network in networks for other in others)
    return any(network.version == other.version and network.overlaps(other) for network, other in pairs)


def _covers(child: ChildConfig, source: str, destination: str) -> bool:
    inside = any(_within(source, network) for network in child.local_ts)
    return inside and any(_within(destination, network) for network in child.remote_ts)


def _within(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _is_closed(gateway: Gateway, source: str) -> bool:
    """True if the gateway's guard lets no packet of this host out, because of an admin state."""
    closed = admin_state.closed_networks(gateway)
    return bool(admin_state.outside_reason(gateway)) or any(_within(source, str(network)) for network in closed)
