"""What one gateway's guard covers: more before anything is touched, less only after it is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import structlog

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.selectors import SelectorPair, pairs
from linkspan.core.state.desired import Gateway
from linkspan.core.tunnel.tunnel import Tunnel
from linkspan.drivers.ports import LeakGuard


class GuardCoverage:
    """Belongs to a gateway's worker and is used from its thread alone. `orphans` are uuids of connections that run
    and are not desired: with them, what an earlier run guards stays guarded for good."""

    def __init__(self, guard: LeakGuard) -> None:
        self.orphans: frozenset[str] = frozenset()
        self._guard = guard
        self._covered: dict[str, frozenset[SelectorPair]] = {}
        self._stale: frozenset[SelectorPair] = frozenset()
        self._done: tuple[Gateway, frozenset[SelectorPair]] | None = None

    def adopt(self, gateway: Gateway, known: Set[str], loaded: Iterable[frozenset[str]]) -> None:
        """What an earlier run guards stays guarded until it is known to be gone. Raises DriverError.

        `known` are the uuids of the connections that somebody spoke of, `loaded` the children that charon has.
        """
        if self._done is not None:
            return
        self._stale = self._guard.current(gateway.id)
        self.orphans = frozenset(ipsec_config.owner_of(child) for children in loaded for child in children) - known
        if self.orphans:
            log = structlog.get_logger("agent.gateway_worker").bind(gateway=gateway.id)
            log.warning("connections run that are not desired; they stay", connections=sorted(self.orphans))

    def cover(self, gateway: Gateway, old: Mapping[str, Tunnel], new: Mapping[str, Tunnel]) -> set[str]:
        """Cover what runs and what is about to; the uuids of those that are another now. Raises DriverError."""
        changed = {id for id, life in new.items() if id not in old or old[id].connection is not life.connection}
        for id in changed:
            self._covered[id] = pairs(new[id].connection) | self._covered.get(id, frozenset())
        self._apply(gateway)
        return changed

    def uncover(self, gateway: Gateway, lives: Mapping[str, Tunnel], changed: Set[str]) -> None:
        """Uncover what is gone for good, or was before an edit. Raises DriverError."""
        self._covered = {
            id: covered if id not in changed else pairs(lives[id].connection)
            for id, covered in self._covered.items()
            if id in lives
        }
        if not self.orphans:
            self._stale = frozenset()
        self._apply(gateway)

    def _apply(self, gateway: Gateway) -> None:
        covered = self._stale.union(*self._covered.values())
        if self._done != (gateway, covered):
            self._guard.apply(gateway, covered)
            self._done = (gateway, covered)
