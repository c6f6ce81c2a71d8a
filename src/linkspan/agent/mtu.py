"""The MTUs of one gateway's connections: computed when a connection or the outside MTU changes, applied if new."""

from __future__ import annotations

from collections.abc import Mapping

from linkspan.core.ipsec import mtu
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.state.desired import Connection, Gateway
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.tunnel import Tunnel
from linkspan.drivers.ports import MtuRouting


class MtuApplier:
    """Used only on the thread of the gateway's worker. `is_outdated`: the outside MTU has changed since `apply`."""

    def __init__(self, routing: MtuRouting, backend: Backend) -> None:
        self.is_outdated = False
        self._routing = routing
        self._backend = backend
        self._outside_mtu = 0
        self._computed: dict[str, tuple[Connection, int, frozenset[PairMtu]]] = {}
        self._applied: tuple[Gateway, frozenset[PairMtu]] | None = None
        self._adopted: frozenset[PairMtu] | None = None

    def forget(self) -> None:
        """Apply everything again next time: routes may have gone with the network device of the previous charon."""
        self._applied = None

    def restore(self, gateway: Gateway) -> tuple[str, ...]:
        """Restore the MTUs that were applied last, if the outside MTU is the same. Returns what was missing, in words.

        If it is another one, `is_outdated` is set until the next `apply`. Raises DriverError.
        """
        self.is_outdated = self._routing.outside_mtu(gateway.id) != self._outside_mtu
        return self._routing.restore(*self._applied) if self._applied and not self.is_outdated else ()

    def effective(self, id: str) -> int | None:
        """The MTU of a connection in bytes, None if no tunnel is configured for it."""
        computed = self._computed.get(id)
        return computed[1] if computed else None

    def apply(self, gateway: Gateway, tunnels: Mapping[str, Tunnel], orphans: bool) -> set[str]:
        """Apply the MTUs of these tunnels. Returns the uuids of connections whose MTU has changed. Raises DriverError.

        `orphans`: charon has connections that are not desired. The MTUs that are applied before the first call stay
        for them.
        """
        outside_mtu = self._routing.outside_mtu(gateway.id)
        self.is_outdated = False
        before = {id: computed[1] for id, computed in self._computed.items()}
        if outside_mtu != self._outside_mtu:
            self._outside_mtu, self._computed = outside_mtu, {}
        self._computed = {id: self._compute(id, tunnel.connection) for id, tunnel in tunnels.items() if tunnel.config}
        if self._adopted is None:
            self._adopted = self._routing.current(gateway.id) if orphans else frozenset()
        wanted = mtu.merged(pair_mtu for _, _, pair_mtus in self._computed.values() for pair_mtu in pair_mtus)
        if self._adopted:
            pairs = {pair_mtu.pair for pair_mtu in wanted}
            self._adopted = frozenset(pair_mtu for pair_mtu in self._adopted if pair_mtu.pair not in pairs)
            wanted |= self._adopted
        if self._applied is None or self._applied[0] is not gateway or self._applied[1] != wanted:
            self._applied = None
            self._routing.apply(gateway, wanted)
            self._applied = gateway, wanted
        return {id for id, computed in self._computed.items() if before.get(id) != computed[1]}

    def _compute(self, id: str, connection: Connection) -> tuple[Connection, int, frozenset[PairMtu]]:
        computed = self._computed.get(id)
        if computed and computed[0] is connection:
            return computed
        limits = self._backend, self._outside_mtu
        return connection, mtu.effective_mtu(connection, *limits), mtu.pair_mtus(connection, *limits)
