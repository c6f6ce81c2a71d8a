"""Restores what other programs have removed or changed in one gateway's network, the leak guard first.

Each driver compares the machine with what was applied last. Used only on the thread of the gateway's worker.
"""

from __future__ import annotations

from linkspan.agent.guard_coverage import GuardCoverage
from linkspan.agent.managed_charon import ManagedCharon
from linkspan.agent.mtu import MtuApplier
from linkspan.agent.tunnels import GatewayTunnels
from linkspan.core.state.desired import Gateway
from linkspan.core.tunnel import kernel_sas
from linkspan.core.tunnel.actions import DeleteIkeSa
from linkspan.core.tunnel.kernel_sas import LostChildren
from linkspan.core.tunnel.precedence import Precedence
from linkspan.drivers.ports import Drivers

CHARONS_DEVICE = "the TUN device of charon, which is started anew"


class Restoration:
    """`drivers` are the node's; the other parts are the gateway's."""

    def __init__(
        self,
        drivers: Drivers,
        charon: ManagedCharon,
        tunnels: GatewayTunnels,
        guard_coverage: GuardCoverage,
        mtus: MtuApplier,
    ) -> None:
        self._drivers = drivers
        self._charon = charon
        self._tunnels = tunnels
        self._guard_coverage = guard_coverage
        self._mtus = mtus

    def network(self, gateway: Gateway) -> list[str]:
        """Restore the leak guard, then the interfaces, addresses and routes. Returns what was missing, in words.

        Raises DriverError; by then the leak guard is restored if there is a namespace.
        """
        missing = [*self._drivers.namespaces.reattach(gateway.id)]
        missing += self._guard_coverage.restore_guard()
        return [*missing, *self._drivers.namespaces.apply(gateway)]

    def charon_routes(self, gateway: Gateway) -> tuple[str, ...]:
        """Restore charon's routes as far as they were seen before, and remember those that are there.

        Returns what was missing, in words. Raises DriverError.
        """
        return self._drivers.charon_network.restore(
            gateway.id, lambda: kernel_sas.remote_networks(self._charon.all_sas())
        )

    def tunnels(self, gateway: Gateway, blocked: Precedence | None) -> list[str]:
        """Restore what belongs to tunnels, while charon runs. Returns what was missing, in words.

        Raises DriverError; Unresponsive if charon has died.
        """
        missing = [*self._guard_coverage.restore_bypass()]
        if blocked is not None:
            missing += self._drivers.traffic_block.restore(gateway, blocked)
        if not self._drivers.charon_network.has_device(gateway.id):
            self._charon.ask()  # a charon that has died took its device along, and nobody else did
            self._charon.end()
            return [*missing, CHARONS_DEVICE]
        missing += self._mtus.restore(gateway)
        missing += self.charon_routes(gateway)
        actions = kernel_sas.mend(self._lost_children(gateway), self._tunnels.by_id)
        for action in actions:
            if isinstance(action, DeleteIkeSa):
                self._charon.delete_sa(action)
            else:
                self._charon.rekey(action.unique_id)
        return [*missing, *(("states or policies of IPsec, by rekeying",) if actions else ())]

    def _lost_children(self, gateway: Gateway) -> LostChildren:
        if self._drivers.backend != "kernel":
            return ()
        sas = self._charon.all_sas()
        kernel = self._drivers.charon_network.kernel_sas(gateway.id)
        lost = kernel_sas.lost_children(sas, kernel) if kernel else ()
        return kernel_sas.still_installed(lost, self._charon.all_sas()) if lost else ()
