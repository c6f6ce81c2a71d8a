"""The probes of one gateway: planned on the worker's thread, sent by a process of their own, kept until the next one.

Used only on the thread of the gateway's worker; results arrive as messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from linkspan.core.ipsec import probe_plan
from linkspan.core.ipsec.probe_plan import ProbePlan
from linkspan.core.state.desired import Gateway
from linkspan.core.state.live_facts import LiveAnswer, LiveFacts
from linkspan.core.state.probes import ProbeRequest, ProbeResult
from linkspan.core.tunnel.tunnel import Tunnels
from linkspan.drivers.ports import Drivers

BUSY: Final = "another probe of the connection is still running: its result will be in the diagnosis"

Deliver = Callable[[LiveAnswer], None]


class Probed(msgspec.Struct, frozen=True):
    """A probe of a connection has ended, with a result or with the reason why there is none."""

    connection_id: str
    result: ProbeResult | str


class _Kept(msgspec.Struct, frozen=True):
    """A result, the time that it is of, and the addresses that it is about."""

    result: ProbeResult
    at: float
    ends: tuple[str, str]


class Probes:
    """`send` puts a message into the worker's inbox, from any thread; `clock` as the worker's."""

    def __init__(
        self,
        gateway_id: str,
        drivers: Drivers,
        send: Callable[[Probed], None],
        clock: Callable[[], float],
    ) -> None:
        self._gateway_id = gateway_id
        self._drivers = drivers
        self._send = send
        self._clock = clock
        self._running: dict[str, tuple[LiveFacts, Deliver, tuple[str, str]]] = {}
        self._kept: dict[str, _Kept] = {}

    def start(
        self,
        request: ProbeRequest,
        id: str,
        facts: LiveFacts,
        gateway: Gateway,
        tunnels: Tunnels,
        effective_mtu: int,
        deliver: Deliver,
    ) -> None:
        """Probe a connection, or say why not. Raises DriverError."""
        tunnel = tunnels[id]
        refusal = probe_plan.refusal(tunnel.connection, tunnel.reason or tunnel.error) or (
            BUSY if id in self._running else ""
        )
        if refusal:
            deliver(LiveAnswer(facts, refusal))
            return
        connection = tunnel.connection
        others = [other.connection for other in tunnels.values()]
        # As the kernel has it now, not as it was applied.
        guarded = self._drivers.leak_guard.current(self._gateway_id)
        plan = ProbePlan(
            source=connection.local_address,
            peer=connection.peer_address,
            version=1 if connection.ike.ike_version == "v1" else 2,
            limit=self._drivers.mtu_routing.outside_mtu(self._gateway_id),
            refusal=probe_plan.path_refusal(connection),
            inside=probe_plan.inside_plan(connection, facts, gateway, guarded, others, effective_mtu, request.target),
        )
        self._running[id] = facts, deliver, (plan.source, plan.peer)
        self._drivers.prober.probe(self._gateway_id, plan, lambda result: self._send(Probed(id, result)))

    def accept(self, probed: Probed) -> None:
        """Take the end of a probe, and answer who has asked for it."""
        running = self._running.pop(probed.connection_id, None)
        if running is None:
            return
        facts, deliver, ends = running
        if isinstance(probed.result, str):
            deliver(LiveAnswer(facts, probed.result))
            return
        self._kept[probed.connection_id] = _Kept(probed.result, self._clock(), ends)
        deliver(LiveAnswer(msgspec.structs.replace(facts, probe=probed.result, probe_age=0)))

    def added(self, id: str, facts: LiveFacts, tunnels: Tunnels) -> LiveFacts:
        """The facts with the newest result about the same two addresses; results of connections that are gone go."""
        self._kept = {other: kept for other, kept in self._kept.items() if other in tunnels}
        kept, connection = self._kept.get(id), tunnels[id].connection
        if kept is None or kept.ends != (connection.local_address, connection.peer_address):
            return facts
        age = max(0, round(self._clock() - kept.at))
        return msgspec.structs.replace(facts, probe=kept.result, probe_age=age)
