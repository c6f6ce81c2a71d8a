"""Gateways, their charons and the wires between them, in memory: what the fake drivers act on.

It behaves as the measured truth of the real drivers does (a change of keys leaves SAs up, the last loaded key wins, a
failed child leaves its IKE SA, of equal children a responder takes the first, IKEv2's first child has no group, a
killed charon tells nobody), says it in charon's words, and is at once: an attempt has worked or failed when `initiate`
returns. It has no clock, no packets and no rekeying by itself; `dpd` deadlines and backoff are decided above. Tests
break it with `kill`, `freeze` and `cut`, and ask it what a packet would meet with `send`.
"""

from __future__ import annotations

import ipaddress
import itertools
import threading
from collections.abc import Callable
from typing import Literal

import msgspec

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec.config import ChildConfig, IkeConfig, SharedKey, owner_of
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import charon_events
from linkspan.core.tunnel.charon_events import CharonEvent, DaemonLost, SaChanged
from linkspan.core.tunnel.sas import ChildSa, IkeSa

Agreed = tuple[str, int, str, str]
"""What two ends agreed on, as `core.ipsec.algorithms.transforms` has it."""
Fate = Literal["esp", "dropped", "clear"]
"""What becomes of a packet on the outside leg."""
_ANSWERS = {2: "parsed INFORMATIONAL response 2 [ ]", 1: "parsed INFORMATIONAL_V1 request 2 [ HASH N(DPD_ACK) ]"}


class Sa:
    """One IKE SA as one end sees it; `other` is what the other end sees, None while there is none."""

    def __init__(self, unique_id: int, config: IkeConfig, initiator: bool) -> None:
        self.unique_id = unique_id
        self.config = config
        self.initiator = initiator
        self.state = "CONNECTING"
        self.other: tuple[Daemon, Sa] | None = None
        self.children: dict[str, ChildSa] = {}
        self.wanted: list[str] = []

    def listed(self) -> IkeSa:
        """As `list-sas` shows it."""
        config = self.config
        ends = (config.local_address, config.remote_address)
        return IkeSa(config.name, self.unique_id, self.state, self.initiator, *ends, 0, tuple(self.children.values()))


class Daemon:
    """A running charon. `frozen`: it lives and does not answer, as after SIGSTOP. `traps`: IKE connection and child,
    as they were configured then."""

    def __init__(self, gateway: Gateway, backend: Backend) -> None:
        self.gateway = gateway
        self.backend: Backend = backend
        self.traps: dict[tuple[str, str], IkeConfig] = {}
        self.frozen = False
        self.configs: dict[str, IkeConfig] = {}
        self.keys: dict[str, SharedKey] = {}
        self.sas: list[Sa] = []
        self.listeners: list[Callable[[CharonEvent], None]] = []

    def deliver(self, *what: CharonEvent) -> None:
        for fact in what:
            for listener in list(self.listeners):
                listener(fact)

    def say(self, name: str, line: str, number: int = 0) -> None:
        """A line of the log, as charon words it, about the IKE SA with this number."""
        self.deliver(*charon_events.from_log(name, line, number))

    def key(self, config: IkeConfig) -> SharedKey | None:
        """Of several keys for the same identities the last loaded one counts."""
        owners = {config.local_id, config.remote_id}
        return next((key for key in reversed(self.keys.values()) if set(key.owners) == owners), None)


class FakeWorld:
    """Everything there is; fakes of one world can reach each other. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.gateways: dict[tuple[str, str], Gateway] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self.guards: dict[tuple[str, str], frozenset[SelectorPair]] = {}
        self.paths: dict[tuple[str, str], frozenset[PairMtu]] = {}
        self.daemons: dict[tuple[str, str], Daemon] = {}
        self._cut: set[frozenset[str]] = set()
        self._numbers = itertools.count(1)

    # -- what a test does to it ----------------------------------------------------------------------------------

    def kill(self, gateway_id: str) -> None:
        """kill -9 of a gateway's charon: peers are told nothing, guards and namespaces stay."""
        with self.lock:
            for key, daemon in self._of(gateway_id):
                del self.daemons[key]
                self._forget(daemon)
                daemon.deliver(DaemonLost())

    def freeze(self, gateway_id: str, frozen: bool = True) -> None:
        """SIGSTOP of a gateway's charon, or SIGCONT."""
        with self.lock:
            for _, daemon in self._of(gateway_id):
                daemon.frozen = frozen

    def cut(self, one: str, other: str) -> None:
        """No packet passes between two addresses any more; whoever watches its peer notices."""
        with self.lock:
            self._cut.add(frozenset((one, other)))
            for daemon, sa in self._between(one, other):
                if sa.state == "ESTABLISHED" and sa.config.dpd_delay:
                    daemon.say(sa.config.name, "sending DPD request", sa.unique_id)
                    if sa.config.version == 2:
                        daemon.say(sa.config.name, "retransmit 1 of request with message ID 2", sa.unique_id)

    def heal(self, one: str, other: str) -> None:
        """Packets pass again: what was sent again and again arrives."""
        with self.lock:
            self._cut.discard(frozenset((one, other)))
            for daemon, sa in self._between(one, other):
                if sa.state == "CONNECTING":
                    self.connect(daemon, sa)
                elif sa.other and sa.config.dpd_delay:
                    daemon.say(sa.config.name, _ANSWERS[sa.config.version], sa.unique_id)

    def send(self, gateway_id: str, source: str, destination: str) -> Fate:
        """What a packet meets at a gateway's outside leg; counted on the child SA that takes it."""
        with self.lock:
            for _, daemon in self._of(gateway_id):
                for sa in daemon.sas:
                    for child in sa.config.children:
                        if child.name in sa.children and _covers(child, source, destination):
                            self._carry(sa, child.name)
                            return "esp"
                if daemon.backend == "kernel":
                    self._acquire(daemon, source, destination)
            for (_, id), pairs in self.guards.items():
                if id == gateway_id and any(_within(source, p.local) and _within(destination, p.remote) for p in pairs):
                    return "dropped"
            return "clear" if any(id == gateway_id for _, id in self.guards) else "dropped"

    # -- what the fake drivers do --------------------------------------------------------------------------------

    def end(self, key: tuple[str, str]) -> None:
        """SIGTERM of a charon: it takes leave of its peers."""
        with self.lock:
            daemon = self.daemons.get(key)
            if daemon is None:
                return
            for sa in list(daemon.sas):
                self.drop(daemon, sa)
            del self.daemons[key]

    def begin(self, daemon: Daemon, config: IkeConfig, child: str) -> None:
        """Initiate a child, in the IKE SA of its connection if there is one."""
        with self.lock:
            sa = next((sa for sa in daemon.sas if sa.config.name == config.name), None)
            if sa is None:
                sa = Sa(next(self._numbers), config, initiator=True)
                daemon.sas.append(sa)
                mode = {2: "", 1: "Aggressive Mode " if config.aggressive else "Main Mode "}[config.version]
                line = f"initiating {mode}IKE_SA {config.name}[{sa.unique_id}] to {config.remote_address}"
                daemon.say(config.name, line, sa.unique_id)
            sa.wanted.append(child)
            if sa.state == "CONNECTING":
                self.connect(daemon, sa)
            else:
                self._make_children(daemon, sa)

    def resend(self) -> None:
        """What nobody answered is sent again, now that somebody may."""
        with self.lock:
            for daemon in list(self.daemons.values()):
                for sa in [sa for sa in daemon.sas if sa.state == "CONNECTING"]:
                    self.connect(daemon, sa)

    def drop(self, daemon: Daemon, sa: Sa) -> None:
        """End an IKE SA; the other end hears of it if it can."""
        with self.lock:
            ends = [(daemon, sa)]
            if sa.other and self._reachable(daemon, sa.other[0], sa.config):
                ends.append(sa.other)
            elif sa.other:
                sa.other[1].other = None
            for end, what in ends:
                if what in end.sas:
                    end.sas.remove(what)
                    end.deliver(SaChanged(owner_of(what.config.name)))

    def drop_child(self, daemon: Daemon, unique_id: int) -> None:
        """End a child SA; the other end hears of it if it can."""
        for sa in daemon.sas:
            for name, child in list(sa.children.items()):
                if child.unique_id != unique_id:
                    continue
                del sa.children[name]
                daemon.deliver(SaChanged(owner_of(name)))
                for other, twin in list(sa.other[1].children.items()) if sa.other else ():
                    if sa.other and twin.spi_in == child.spi_out and self._reachable(daemon, sa.other[0], sa.config):
                        del sa.other[1].children[other]
                        sa.other[0].deliver(SaChanged(owner_of(other)))

    def connect(self, daemon: Daemon, sa: Sa) -> None:
        """One attempt at an IKE SA that is not established."""
        name, mine = sa.config.name, sa.config
        peer = self._peer(daemon, mine)
        if peer is None:
            daemon.say(name, "retransmit 1 of request with message ID 0")
            return
        theirs, refusal = _choose(mine, peer)
        if theirs is None:
            daemon.sas.remove(sa)
            peer.say("(unnamed)", refusal[0])
            daemon.say(name, refusal[1])
            return
        ours, others = daemon.key(mine), peer.key(theirs)
        if ours is None:
            daemon.sas.remove(sa)
            daemon.say(name, f"no shared key found for '{mine.local_id}' - '{mine.remote_id}'")
            return
        if others is None or others.key != ours.key:
            daemon.sas.remove(sa)
            pair = f"for '{theirs.local_id}' - '{theirs.remote_id}'"
            peer.say(
                theirs.name,
                f"tried 1 shared key {pair}, but MAC mismatched" if others else f"no shared key found {pair}",
            )
            daemon.say(name, "received AUTHENTICATION_FAILED notify error")
            return
        end = Sa(next(self._numbers), theirs, initiator=False)
        peer.sas.append(end)
        sa.other, end.other = (peer, end), (daemon, sa)
        sa.state = end.state = "ESTABLISHED"
        peer.deliver(SaChanged(owner_of(theirs.name)))
        daemon.deliver(SaChanged(owner_of(name)))
        self._make_children(daemon, sa)

    def _make_children(self, daemon: Daemon, sa: Sa) -> None:
        wanted, sa.wanted = sa.wanted, []
        for name in wanted:
            if sa.other is None or not self._reachable(daemon, sa.other[0], sa.config):
                daemon.say(sa.config.name, "retransmit 1 of request with message ID 2")
                continue
            child = next(child for child in sa.config.children if child.name == name)
            self._make_child(daemon, sa, child, *sa.other)

    def _make_child(self, daemon: Daemon, sa: Sa, child: ChildConfig, peer: Daemon, end: Sa) -> None:
        fitting = [one for one in end.config.children if one.mode == child.mode and _overlap(one, child)]
        # Without a key exchange of its own the child's group is not negotiated (RFC 7296 1.2).
        bare = sa.config.version == 2 and not sa.children
        agreed = _agree(child, fitting[0], bare) if fitting else None
        if agreed is None:
            theirs = "traffic selectors - === - unacceptable" if not fitting else "no acceptable proposal found"
            notify = "NO_PROPOSAL_CHOSEN" if fitting else "TS_UNACCEPTABLE"
            peer.say(end.config.name, theirs)
            daemon.say(sa.config.name, f"received {notify} notify, no CHILD_SA built")
            return
        self._pair(sa, child.name, end, fitting[0].name, agreed)
        peer.deliver(SaChanged(owner_of(end.config.name)))
        daemon.deliver(SaChanged(owner_of(sa.config.name)))

    def rekey(self, daemon: Daemon, unique_id: int) -> None:
        """Renew one child, now with a key exchange of its own; refused, it stays as it is."""
        with self.lock:
            for sa in daemon.sas:
                for name, child in list(sa.children.items()):
                    if child.unique_id == unique_id and sa.other and self._reachable(daemon, sa.other[0], sa.config):
                        self._renew(daemon, sa, name, *sa.other)

    def _renew(self, daemon: Daemon, sa: Sa, name: str, peer: Daemon, end: Sa) -> None:
        twin = next(twin.name for twin in end.children.values() if twin.spi_in == sa.children[name].spi_out)
        ours = next(child for child in sa.config.children if child.name == name)
        theirs = next(child for child in end.config.children if child.name == twin)
        agreed = _agree(ours, theirs, bare=False)
        if agreed is None:
            peer.say(end.config.name, "no acceptable proposal found")
            daemon.say(sa.config.name, "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built")
            daemon.say(sa.config.name, "CHILD_SA rekeying failed, trying again in 14 seconds")
            return
        self._pair(sa, name, end, twin, agreed)
        peer.deliver(SaChanged(owner_of(twin)))
        daemon.deliver(SaChanged(owner_of(name)))

    def _pair(self, sa: Sa, name: str, end: Sa, other: str, agreed: Agreed) -> None:
        """The two ends of one child SA."""
        spis = (f"{next(self._numbers):08x}", f"{next(self._numbers):08x}")
        for one, child, (spi_in, spi_out) in ((sa, name, spis), (end, other, spis[::-1])):
            made = ChildSa(child, next(self._numbers), "INSTALLED", spi_in, spi_out, 0, 0, 0, 0, -1, *agreed)
            one.children[child] = made

    def _acquire(self, daemon: Daemon, source: str, destination: str) -> None:
        """Traffic meets a trap; the packet itself is lost."""
        for (_, name), config in list(daemon.traps.items()):
            trapped = next(child for child in config.children if child.name == name)
            if _covers(trapped, source, destination):
                self.begin(daemon, config, name)

    def _carry(self, sa: Sa, name: str) -> None:
        child = sa.children[name]
        sa.children[name] = msgspec.structs.replace(
            child, packets_out=child.packets_out + 1, bytes_out=child.bytes_out + 84
        )
        for other, twin in sa.other[1].children.items() if sa.other else ():
            if sa.other and twin.spi_in == child.spi_out:
                sa.other[1].children[other] = msgspec.structs.replace(
                    twin, packets_in=twin.packets_in + 1, bytes_in=twin.bytes_in + 84, idle_in=0
                )

    # -- who is where --------------------------------------------------------------------------------------------

    def _of(self, gateway_id: str) -> list[tuple[tuple[str, str], Daemon]]:
        return [(key, daemon) for key, daemon in self.daemons.items() if key[1] == gateway_id]

    def _between(self, one: str, other: str) -> list[tuple[Daemon, Sa]]:
        return [
            (daemon, sa)
            for daemon in list(self.daemons.values())
            for sa in list(daemon.sas)
            if {sa.config.local_address, sa.config.remote_address} == {one, other}
        ]

    def _peer(self, daemon: Daemon, config: IkeConfig) -> Daemon | None:
        for other in self.daemons.values():
            hosts = {address.partition("/")[0] for address in other.gateway.outside.addresses}
            if config.remote_address in hosts and self._reachable(daemon, other, config):
                return other
        return None

    def _reachable(self, daemon: Daemon, other: Daemon, config: IkeConfig) -> bool:
        apart = frozenset((config.local_address, config.remote_address)) in self._cut
        return not (apart or other.frozen or daemon.frozen) and other in self.daemons.values()

    def _forget(self, daemon: Daemon) -> None:
        for sa in daemon.sas:
            if sa.other:
                sa.other[1].other = None


def _choose(mine: IkeConfig, peer: Daemon) -> tuple[IkeConfig | None, tuple[str, str]]:
    """The responder's configuration for an initiator's, or what responder and initiator say instead."""
    fitting = [
        one
        for one in peer.configs.values()
        if (one.local_address, one.remote_address) == (mine.remote_address, mine.local_address)
        and (one.version, one.aggressive) == (mine.version, mine.aggressive)
    ]
    if not fitting:
        line = f"no IKE config found for {mine.remote_address}...{mine.local_address}, sending NO_PROPOSAL_CHOSEN"
        return None, (line, "received NO_PROPOSAL_CHOSEN notify error")
    agreed = [one for one in fitting if set(one.proposals) & set(mine.proposals)]
    if not agreed:
        return None, ("received proposals unacceptable", "received NO_PROPOSAL_CHOSEN notify error")
    named = [one for one in agreed if (one.local_id, one.remote_id) == (mine.remote_id, mine.local_id)]
    if not named:
        return None, ("no matching peer config found", "received AUTHENTICATION_FAILED notify error")
    return named[0], ("", "")


def _agree(ours: ChildConfig, theirs: ChildConfig, bare: bool) -> Agreed | None:
    """The first of the responder's proposals that the initiator has too; `bare`: without their groups."""
    for offered, taken in (
        (ours.esp_proposals, theirs.esp_proposals),
        (ours.ah_proposals, theirs.ah_proposals),
    ):
        wanted = [_transforms(one, bare) for one in offered]
        for proposal in taken:
            if _transforms(proposal, bare) in wanted:
                return _transforms(proposal, bare)
    return None


def _transforms(proposal: str, bare: bool) -> Agreed:
    encryption, bits, integrity, group = algorithms.transforms(proposal)
    return encryption, bits, integrity, "" if bare else group


def _overlap(one: ChildConfig, other: ChildConfig) -> bool:
    return _meet(one.local_ts, other.remote_ts) and _meet(one.remote_ts, other.local_ts)


def _meet(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    pairs = ((ipaddress.ip_network(one), ipaddress.ip_network(other)) for one in some for other in others)
    return any(one.version == other.version and one.overlaps(other) for one, other in pairs)


def _covers(child: ChildConfig, source: str, destination: str) -> bool:
    inside = any(_within(source, network) for network in child.local_ts)
    return inside and any(_within(destination, network) for network in child.remote_ts)


def _within(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)
