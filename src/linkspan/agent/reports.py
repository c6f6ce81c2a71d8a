"""Reports of one gateway's worker: the state of the gateway and of its connections, into the outbox.

Every report has the generation of the gateway that is applied on this node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from linkspan.agent.outbox import Outbox
from linkspan.core.diagnosis.causes import declaration, sentence
from linkspan.core.state import admin_state
from linkspan.core.state.desired import Connection, Gateway, Gone
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.tunnel import reports
from linkspan.core.tunnel.tunnel import Tunnel
from linkspan.drivers.ports import PathFault

_STOPPED = sentence("AGENT_STOPPED")


class Reports:
    """`gateway`: the gateway as it is applied, at first the one that the worker was made for. `note`: what was done to
    it, for every reason. `network_error`: why its network cannot be restored, empty if it is whole.
    """

    def __init__(self, gateway: Gateway, outbox: Outbox) -> None:
        self.gateway = gateway
        self.note = ""
        self.network_error = ""
        self._outbox = outbox

    def ready(self) -> None:
        """Report that the gateway is as desired, which may be down."""
        disabled = admin_state.outside_reason(self.gateway)
        state: Literal["ready", "disabled"] = "disabled" if disabled else "ready"
        reason = "; ".join(filter(None, (disabled, self.note)))
        self._outbox.put(GatewayReport(self.gateway.id, self.gateway.generation, self.gateway.revision, state, reason))

    def failed(self, desired: Gateway, reason: str) -> None:
        """Report that the desired gateway could not be made, and why."""
        self._outbox.put(GatewayReport(desired.id, desired.generation, desired.revision, "error", reason))

    def connections(
        self,
        tunnels: Iterable[Tunnel],
        effective_mtu: Callable[[str], int | None],
        spare_note: Callable[[Tunnel], str],
        path_fault: Callable[[Connection], PathFault | None],
    ) -> None:
        """Report the state of these tunnels, as far as their revision is applied.

        `path_fault`: what explains the silence of a peer.
        """
        for state in tunnels:
            report = reports.report(state, self.gateway.generation)
            if report:
                spare = spare_note(state) if report.state == "up" else ""
                reported = "down" if report.state == "up" and self.network_error else report.state
                error, code = self.network_error if reported == "down" else "", report.code
                if error:
                    code = "LOCAL_LINK_DOWN"
                elif report.state == "down" and (fault := _explained(code, state, path_fault)):
                    error, code = _sentence(fault, state.connection), fault.code
                note = self.note if report.state in ("up", "down") else ""
                reason = "; ".join(filter(None, (error, spare, report.reason, note)))
                effective = effective_mtu(report.id)
                changes = {"state": reported, "reason": reason, "effective_mtu": effective, "code": code}
                self._outbox.put(msgspec.structs.replace(report, **changes))

    def gone(self, tombstones: Iterable[Gone]) -> None:
        """Answer tombstones: nothing of these objects is left on this node."""
        for tombstone in tombstones:
            report = GatewayReport if tombstone.kind == "gateway" else ConnectionReport
            self._outbox.put(report(tombstone.id, self.gateway.generation, tombstone.revision, "gone"))

    def removed(self, tunnels: Iterable[Tunnel]) -> None:
        """Report everything down after a teardown, so that the API does not show ACTIVE until the lease ends."""
        self.failed(self.gateway, _STOPPED)
        for state in tunnels:
            if state.applied:
                connection, generation = state.connection, self.gateway.generation
                self._outbox.put(
                    ConnectionReport(
                        connection.id, generation, connection.revision, "down", _STOPPED, code="AGENT_STOPPED"
                    )
                )


def _explained(code: str, state: Tunnel, path_fault: Callable[[Connection], PathFault | None]) -> PathFault | None:
    """The fault that explains a cause, if there is one."""
    declared = declaration(code)
    if declared is None or not declared.depends_on:
        return None
    fault = path_fault(state.connection)
    return fault if fault and fault.code in declared.depends_on else None


def _sentence(fault: PathFault, connection: Connection) -> str:
    ours, peer = connection.local_address, connection.peer_address
    # This machine says so itself of a neighbour that does not answer (ARP, neighbour discovery).
    variant = "neighbour" if fault.code == "PEER_UNREACHABLE_ICMP" and fault.reporter == ours else ""
    return sentence(fault.code, variant, ours=ours, peer=peer, reporter=fault.reporter)
