"""The tunnels of one gateway: each event goes through the tunnel's state machine, and its actions to charon.

The state machine is `core.tunnel.lifecycle`. Used only on the thread of the gateway's worker.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final

import msgspec

from linkspan.agent.credentials import GatewayCredentials
from linkspan.agent.managed_charon import ManagedCharon
from linkspan.agent.stray_sas import StraySas
from linkspan.agent.tunnel_news import TunnelNews
from linkspan.core.addresses import canonical_host
from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.codes import Details
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.overlaps import Overlaps
from linkspan.core.state.live_facts import LiveFacts
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import (
    certificate_causes,
    charon_events,
    dpd,
    events,
    install_order,
    lifecycle,
    live_facts,
    peer_refusals,
    precedence,
    spares,
    takeover,
)
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
    ReplaceIkeSa,
)
from linkspan.core.tunnel.charon_events import (
    Cause,
    ChildInstalled,
    ConnectionEvent,
    PeerRefused,
    PeerTimedOut,
    RekeyFailed,
    SaChanged,
    TunnelHint,
)
from linkspan.core.tunnel.events import Event
from linkspan.core.tunnel.install_order import InstallOrder
from linkspan.core.tunnel.precedence import Precedence
from linkspan.core.tunnel.sa_views import SaViews
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel, after_charon_restart, configs, traps
from linkspan.drivers.ports import DriverError

TunnelEvent = tuple[str, Event]
"""The uuid of a connection, and an event of its tunnel."""


_NEEDS_LISTING: Final = (Cause, PeerRefused, PeerTimedOut, RekeyFailed)
"""Events that are judged by what is up: a listing that the tunnel has asked for comes first."""


class GatewayTunnels:
    """`by_id`: the tunnels by their connections' uuids. `changed`: uuids whose report may differ. `came_up`: a
    tunnel has come up since the owner cleared it.

    `request_plan` makes the worker reconcile, at once or after some seconds.

    Tunnels that ask for a listing of SAs get it at the end of the call that made them ask: one listing for all with the
    same peer. Methods raise DriverError; events that were not handled by then are lost.
    """

    def __init__(
        self,
        charon: ManagedCharon,
        strays: StraySas,
        credentials: GatewayCredentials,
        clock: Callable[[], float],
        request_plan: Callable[[float], None],
        backend: Backend,
        news: TunnelNews,
    ) -> None:
        self.by_id: dict[str, Tunnel] = {}
        self.changed: set[str] = set()
        self.came_up = False
        self._charon = charon
        self._strays = strays
        self._news = news
        self._credentials = credentials
        self._clock = clock
        self._request_plan = request_plan
        self._backend = backend
        self._timers: list[tuple[float, str]] = []
        self._unlisted: dict[str, None] = {}
        self._ids_by_peer: dict[str, set[str]] = {}
        self._overlaps = Overlaps()
        self._order = InstallOrder()
        self._awaited = frozenset[str]()
        self._came_up_at: dict[str, float] = {}

    # -- events and timers ---------------------------------------------------------------------------------------

    def handle(self, happened: Iterable[ConnectionEvent]) -> None:
        """Step the connections that events of charon are about."""
        kept = charon_events.without_repeats(happened)
        for event in kept:
            if isinstance(event, ChildInstalled):
                self._installed(event)
                continue
            concerned = list(self._concerned(event))
            if isinstance(event, SaChanged):
                self._news.changed(event, [self.by_id[id] for id in concerned])
            for id in concerned:
                self._step(id, event)
        self._list_sas()
        if any(isinstance(event, Cause) and event.code in certificate_causes.OF_PEERS for event in kept):
            self._credentials.forget_peers()

    def _installed(self, event: ChildInstalled) -> None:
        """Note the place of a child. Only spares depend on it; everything else follows the events about SAs."""
        self._order = install_order.installed(self._order, event.unique_id, self._clock())
        if event.about in self._overlaps.rivals:
            self._unlisted[event.about] = None

    def _concerned(self, event: TunnelHint) -> Iterable[str]:
        """The connection that an event of charon names, or all that share the IKE connection that it names.

        Of a refused attempt charon names none: it is for those that the peer may have meant.
        """
        if isinstance(event, PeerRefused):
            connections = [tunnel.connection for tunnel in self.by_id.values()]
            return [connection.id for connection in peer_refusals.concerned(event, connections)]
        if isinstance(event, SaChanged) and not event.down and self._is_unexpected(event.about):
            self._strays.suspect()
        return self.named(event.about)

    def named(self, about: str) -> list[str]:
        """The connections that a name of charon's is about: one, or all that share an IKE connection."""
        if about in self.by_id:
            return [about]
        return sorted(self._ids_by_peer.get(ipsec_config.peer_of(about), ()))

    def _is_unexpected(self, about: str) -> bool:
        """True if charon names a connection that has no configuration, or an IKE connection that is not loaded."""
        tunnel = self.by_id.get(about)
        return tunnel.config is None if tunnel else about not in self._charon.loaded

    def step_all(self, ids: Iterable[str], event: Event) -> None:
        """Give one event to several tunnels."""
        for id in ids:
            self._step(id, event)
        self._list_sas()

    def _step(self, id: str, event: Event) -> None:
        """Give an event to a connection's tunnel, and carry out what follows. Unknown connections are ignored."""
        if id in self._unlisted and isinstance(event, _NEEDS_LISTING):
            self._list_sas()
        pending = deque([(id, event)])
        while pending:
            id, event = pending.popleft()
            before = self.by_id.get(id)
            if before is None:
                continue
            after, actions = lifecycle.step(before, event, self._clock())
            self.by_id[id] = after
            self._news.stepped(before, after)
            if _shares_key(after) and (before.failures, before.attempt_ends_at) != (
                after.failures,
                after.attempt_ends_at,
            ):
                self._credentials.load(self.by_id.values())
            if not isinstance(event, charon_events.SIGNS_OF_LIFE):
                self.changed.add(id)
            self.came_up = self.came_up or bool(after.up - before.up)
            self._await(id, before, after)
            for action in actions:
                pending.extend(self._carry_out(id, action))
            self._charon.set_traps(id, traps(self.by_id[id]))
            self._set_timer(id)
            if id in self._overlaps.rivals and spares.is_to_compare(before, self.by_id[id]):
                self._prefer(id)

    def next_timer(self) -> float | None:
        """The time of the next `tick`, None if no timer is set."""
        return self._timers[0][0] if self._timers else None

    def tick(self) -> None:
        """Step the tunnels whose timers have expired."""
        now = self._clock()
        expired: dict[str, None] = {}
        while self._timers and self._timers[0][0] <= now:
            expired[heapq.heappop(self._timers)[1]] = None
        for id in expired:
            tunnel = self.by_id.get(id)
            if tunnel is None:
                continue
            due_at: tuple[tuple[Event, float | None], ...] = (
                (events.Tick(), lifecycle.wake_at(tunnel)),
                (events.WatchDue(), lifecycle.watch_at(tunnel)),
            )
            for event, due in due_at:
                if due is not None and due <= now:
                    self._step(id, event)
        self._list_sas()

    def recheck(self, ids: Iterable[str]) -> None:
        """Authenticate the peers of these tunnels again. Of those that share an IKE connection, one does it for all."""
        by_name = {config.name: id for id in ids if id in self.by_id for config in configs(self.by_id[id])}
        self.step_all(sorted(set(by_name.values())), events.RecheckPeer())

    def _set_timer(self, id: str) -> None:
        for due in (lifecycle.wake_at(self.by_id[id]), lifecycle.watch_at(self.by_id[id])):
            if due is not None:
                heapq.heappush(self._timers, (due, id))

    # -- takeovers -----------------------------------------------------------------------------------------------

    def unsettled(self) -> frozenset[str]:
        """The uuids of tunnels that have come up so recently that the peer may not use them yet."""
        now = self._clock()
        connections = {id: self.by_id[id].connection for id in self._came_up_at if id in self.by_id}
        until = {id: self._came_up_at[id] + takeover.overlap(connections[id], self.by_id) for id in connections}
        self._came_up_at = {id: self._came_up_at[id] for id in until if now < until[id]}
        if self._came_up_at:
            self._request_plan(min(until[id] for id in self._came_up_at) - now)
        return frozenset(self._came_up_at)

    def _wait_until_settled(self, id: str) -> None:
        tunnel = self.by_id.get(id)
        if tunnel and tunnel.config:
            settles_at = self._clock() + takeover.settled(tunnel.connection)
            self.by_id[id] = msgspec.structs.replace(tunnel, settles_at=settles_at)
            self._set_timer(id)

    def _await(self, id: str, before: Tunnel, after: Tunnel) -> None:
        """Request a new plan if a tunnel has changed that is to supersede another one, or to be superseded."""
        if id not in self._awaited or (before.up, before.missing) == (after.up, after.missing):
            return
        if after.up and not before.up:
            self._came_up_at[id] = self._clock()
        self._request_plan(0.0)

    # -- spares --------------------------------------------------------------------------------------------------

    def spare_note(self, tunnel: Tunnel) -> str:
        """The connections whose spare a tunnel is, in words; empty if there are none."""
        return spares.note(tunnel, self._rivals(tunnel.connection.id), self._backend)

    def precedence(self, unknown: Container[str] = ()) -> Precedence:
        """The traffic to block; tunnels in `unknown` may be up without being listed yet."""
        return precedence.precedence(self.by_id, self._overlaps.nested, unknown)

    def _rivals(self, id: str) -> list[Tunnel]:
        return [self.by_id[rival] for rival in self._overlaps.rivals.get(id, ()) if rival in self.by_id]

    def _prefer(self, id: str) -> None:
        """Rekey the preferred tunnels among one that has changed and its rivals, and report all of them."""
        for each in (id, *self._overlaps.rivals.get(id, ())):
            if each in self.by_id:
                rivals = self._rivals(each)
                self.by_id[each], rekeys = spares.prefer(self.by_id[each], rivals, self._clock(), self._backend)
                for action in rekeys:
                    self._carry_out(each, action)
                self._set_timer(each)
                self.changed.add(each)

    # -- actions -------------------------------------------------------------------------------------------------

    def _carry_out(self, id: str, action: Action) -> Iterable[TunnelEvent]:
        """Carry out one action of a connection's tunnel. Returns the events that follow from it."""
        match action:
            case ListSas():
                self._unlisted[id] = None
            case DeclarePeerDead():
                address = canonical_host(self.by_id[id].connection.peer_address)
                return [
                    (other, events.PeerDeclaredDead())
                    for other, tunnel in self.by_id.items()
                    if canonical_host(tunnel.connection.peer_address) == address and other != id
                ]
            case Initiate(name, child):
                if refusal := self._charon.initiate(name, child):
                    text = causes.sentence("CHILD_REFUSED", "here", ours=refusal)
                    return [(id, Cause(id, "CHILD_REFUSED", text, details=Details(ours=refusal)))]
            case GiveUpSa(number):
                self._delete_if_given_up(id, number)
            case Rekey(child_id):
                self._charon.rekey(child_id)
            case ReplaceIkeSa(number):
                self._charon.replace(number)
            case Reconcile():
                # What it has deleted may stay: a dead peer does not answer.
                self._strays.suspect()
            case DeleteIkeSa() | DeleteChildSa():
                self._charon.delete_sa(action)
        return ()

    def _list_sas(self) -> None:
        """List the SAs for the tunnels that have asked for it, until none asks again."""
        while self._unlisted:
            asking, self._unlisted = self._unlisted, {}
            ids_by_names: dict[frozenset[str], list[str]] = {}
            for id in (id for id in asking if id in self.by_id):
                names = self._charon.names_with_peers(configs(self.by_id[id]))
                ids_by_names.setdefault(names, []).append(id)
            listed: dict[str, list[IkeSa]] = {}
            for sa in self._charon.sas(frozenset[str]().union(*ids_by_names)):
                listed.setdefault(sa.name, []).append(sa)
            self._strays.check(sa for sas in listed.values() for sa in sas)
            self._order = install_order.listed(self._order, _highest(sa for sas in listed.values() for sa in sas))
            for names, ids in ids_by_names.items():
                views = SaViews(sa for name in sorted(names) for sa in listed.get(name, ()))
                for id in ids:
                    self._step(id, events.SasListed(views.of(id), self._order))

    def _delete_if_given_up(self, id: str, number: int) -> None:
        """Delete an IKE SA whose peer is dead, unless another connection in it has not given it up."""
        for sa in self._charon.sas(self._charon.names_with_peers(configs(self.by_id[id]))):
            owners = {ipsec_config.owner_of(child.name) for child in sa.children} & self.by_id.keys()
            watches = {owner: (self.by_id[owner].connection, self.by_id[owner].dpd_state) for owner in owners}
            if sa.unique_id == number and dpd.all_gave_up(sa, watches):
                self._charon.delete_dead_sa(number)

    def live_facts(self, id: str) -> LiveFacts:
        """What charon has of a connection now. Raises DriverError, also if there is no such connection here."""
        tunnel = self.by_id.get(id)
        if tunnel is None:
            raise DriverError("the node has not applied this connection yet")
        names = self._charon.names_with_peers(configs(tunnel)) if self._charon.running else ()
        listed = [message for name in sorted(names) for message in self._charon.listing(name)]
        return live_facts.facts_of(tunnel, listed, self._clock())

    # -- all tunnels ---------------------------------------------------------------------------------------------

    def replace(self, tunnels: Mapping[str, Tunnel], found: Overlaps, awaited: frozenset[str]) -> None:
        """Go on with the tunnels of a new plan and their overlaps, and list the SAs of those that were edited.

        `awaited`: uuids of tunnels after whose next change a new plan is due.
        """
        edited = [id for id, tunnel in tunnels.items() if id in self.by_id and self.by_id[id] is not tunnel]
        self.by_id = dict(tunnels)
        self._news.replaced(tunnels)
        for id in self._awaited | awaited:
            self._wait_until_settled(id)
        self._awaited = awaited
        self._ids_by_peer = {}
        for id, tunnel in self.by_id.items():
            for config in configs(tunnel):
                self._ids_by_peer.setdefault(config.peer, set()).add(id)
        before, self._overlaps = self._overlaps, found
        self.changed |= before.rivals.keys() | self._overlaps.rivals.keys()
        self._charon.keep_traps_of(self.by_id)
        self.changed.update(edited)
        for id in edited:
            self._charon.set_traps(id, traps(self.by_id[id]))
            if _has_configuration(self.by_id[id]):
                self._unlisted[id] = None
        self._list_sas()

    def reset(self) -> None:
        """Reset every tunnel: charon was started and has nothing loaded."""
        self._order = InstallOrder()
        self._news.lost(self.by_id)
        self.by_id = {id: after_charon_restart(tunnel) for id, tunnel in self.by_id.items()}
        self.changed.update(self.by_id)

    def adopted(self, children: Iterable[str]) -> None:
        """charon was adopted, with these children that carry traffic."""
        self._news.adopted(children)

    def refresh(self) -> None:
        """List the SAs of every tunnel: events and timers may have been lost."""
        for id in [id for id, tunnel in self.by_id.items() if _has_configuration(tunnel)]:
            self._step(id, events.EventsLost())
            self._unlisted[id] = None
        self._list_sas()


def _highest(sas: Iterable[IkeSa]) -> int:
    """The highest unique id of the children that carry traffic, 0 without any."""
    return max((child.unique_id for sa in sas for child in sa.children if child.carries), default=0)


def _shares_key(tunnel: Tunnel) -> bool:
    """True if the private key in charon depends on how far an attempt has come (`core.tunnel.credentials`)."""
    return bool(tunnel.previous and tunnel.config and tunnel.config.certificates and tunnel.config.version == 1)


def _has_configuration(tunnel: Tunnel) -> bool:
    """True if charon has taken the configuration of this revision."""
    return tunnel.applied and tunnel.config is not None
