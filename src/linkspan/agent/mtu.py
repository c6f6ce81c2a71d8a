"""The MTUs of one gateway's connections: worked out when something about them changes, and applied when they differ."""

from __future__ import annotations

from collections.abc import Mapping

from linkspan.core.ipsec import mtu
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.state.desired import Connection, Gateway
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.tunnel import Tunnel
from linkspan.drivers.ports import MtuRouting


class MtuApplier:
    """Belongs to a gateway's worker and is used from its thread alone."""

    def __init__(self, paths: MtuRouting, backend: Backend) -> None:
        self._paths = paths
        self._backend = backend
        self._outside = 0
        self._known: dict[str, tuple[Connection, int, frozenset[PairMtu]]] = {}
        self._applied: tuple[Gateway, frozenset[PairMtu]] | None = None
        self._stay: frozenset[PairMtu] | None = None

    def forget(self) -> None:
        """charon was started: what was applied may have gone with the device of the one before."""
        self._applied = None

    def effective(self, id: str) -> int | None:
        """The MTU of a connection in bytes, None for one that does not run."""
        known = self._known.get(id)
        return known[1] if known else None

    def apply(self, gateway: Gateway, lives: Mapping[str, Tunnel], orphans: bool) -> set[str]:
        """Let the MTUs of these connections hold; the uuids of those whose MTU is now another. Raises DriverError.

        `orphans`: connections run that are not desired, and whatever holds when this begins goes on for them.
        """
        outside = self._paths.outside_mtu(gateway.id)
        before = {id: known[1] for id, known in self._known.items()}
        if outside != self._outside:
            self._outside, self._known = outside, {}
        self._known = {id: self._of(id, life.connection) for id, life in lives.items() if life.config}
        if self._stay is None:
            self._stay = self._paths.current(gateway.id) if orphans else frozenset()
        wanted = mtu.merged(path for _, _, found in self._known.values() for path in found)
        if self._stay:
            named = {path.pair for path in wanted}
            self._stay = frozenset(path for path in self._stay if path.pair not in named)
            wanted |= self._stay
        if self._applied is None or self._applied[0] is not gateway or self._applied[1] != wanted:
            self._applied = None
            self._paths.apply(gateway, wanted)
            self._applied = gateway, wanted
        return {id for id, known in self._known.items() if before.get(id) != known[1]}

    def _of(self, id: str, connection: Connection) -> tuple[Connection, int, frozenset[PairMtu]]:
        known = self._known.get(id)
        if known and known[0] is connection:
            return known
        limits = self._backend, self._outside
        return connection, mtu.effective_mtu(connection, *limits), mtu.pair_mtus(connection, *limits)
